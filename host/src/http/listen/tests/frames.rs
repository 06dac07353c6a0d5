//! HTTP/2 frames for clients that need not follow the protocol. Layout: RFC 9113 §4.1.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The preface and empty settings.
pub(super) const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The preface, and settings that give streams no window: INITIAL_WINDOW_SIZE (4) is 0.
pub(super) const NEVER_READS: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = len[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request's header. Without `is_end` it is a POST whose body never arrives.
pub(super) fn request(stream: u32, path: &str, is_end: bool) -> Vec<u8> {
    // HPACK (RFC 7541): indexed :method and :scheme, then :path and :authority as literals with indexed names.
    let method = if is_end { 0x82 } else { 0x83 };
    let mut header = vec![method, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    header.extend(path.as_bytes());
    header.extend([0x01, 1, b'x']);
    let flags = END_HEADERS | if is_end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &header)
}

/// Cancels a request: CANCEL (8).
pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The server's frames, read from a connection.
pub(super) struct Frames<'a>(&'a mut DuplexStream);

impl<'a> Frames<'a> {
    pub(super) fn new(connection: &'a mut DuplexStream) -> Self {
        Self(connection)
    }

    /// Returns the kind, flags and payload of the next frame.
    async fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, ..] = head;
        let len = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, payload))
    }

    /// Reads to the end of the first answer.
    pub(super) async fn until_answered(&mut self) {
        while let Some((kind, flags, _)) = self.next().await {
            if kind == DATA && flags & END_STREAM != 0 {
                return;
            }
        }
        panic!("the connection ended before an answer");
    }

    /// Answers pings until the server closes the connection.
    pub(super) async fn pong_to_the_end(&mut self) {
        while let Some((kind, flags, payload)) = self.next().await {
            if kind == PING && flags & ACK == 0 {
                let pong = frame(PING, ACK, 0, &payload);
                let _ = self.0.write_all(&pong).await;
            }
        }
    }
}
