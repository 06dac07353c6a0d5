//! What goes to the client, read only for the codes with which h2 refuses something.

use super::{HEAD, kind};

/// 8 bytes: the length of a GOAWAY's payload up to the end of its error code. An RST_STREAM's payload is shorter.
const CODE_END: usize = 8;

/// The data that goes to the client. It is not changed.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// The head of a frame, and the beginning of its payload up to the error code.
    frame: [u8; HEAD + CODE_END],
    have: usize,
    /// The number of bytes of the payload that are still to be written.
    left: usize,
}

impl Writing {
    /// Processes bytes that were written. Calls `refused` with the error code of each RST_STREAM and GOAWAY.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut refused: impl FnMut(u32)) {
        while !bytes.is_empty() {
            if self.have < HEAD {
                let some = bytes.len().min(HEAD - self.have);
                self.frame[self.have..self.have + some].copy_from_slice(&bytes[..some]);
                self.have += some;
                bytes = &bytes[some..];
                if self.have == HEAD {
                    let [a, b, c, ..] = self.frame;
                    self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                }
            } else {
                let some = bytes.len().min(self.left);
                let kept = some.min(self.frame.len() - self.have);
                self.frame[self.have..self.have + kept].copy_from_slice(&bytes[..kept]);
                self.have += kept;
                self.left -= some;
                bytes = &bytes[some..];
            }
            if self.have >= HEAD && self.left == 0 {
                let payload = &self.frame[HEAD..self.have];
                let code = match self.frame[3] {
                    kind::RST_STREAM => payload.first_chunk(),
                    kind::GOAWAY => payload.last_chunk().filter(|_| payload.len() == CODE_END),
                    _ => None,
                };
                if let Some(code) = code {
                    refused(u32::from_be_bytes(*code));
                }
                self.have = 0;
            }
        }
    }
}
