//! The input of `inspect` and `decrypt`: a stream in any form, of which one value at a time is in memory.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use dekker_forms::{Item, Limits, Reader};
use zeroize::Zeroizing;

/// 64 KiB: the most that one read takes from the input.
const PIECE: usize = 64 * 1024;

/// The values and faults of an input, which may have any length.
pub(crate) struct Input {
    source: Box<dyn Read>,
    name: String,
    reader: Reader,
    buffer: Zeroizing<Vec<u8>>,
    /// The part of the buffer that the reader has not taken yet.
    unread: Range<usize>,
    ended: bool,
}

impl Input {
    /// Opens a file, or standard input if `path` is `-` or `None`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) if path != Path::new("-") => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
                Ok(Self::new(Box::new(file), name))
            }
            Some(_) | None => {
                Ok(Self::new(Box::new(std::io::stdin()), "standard input".to_owned()))
            }
        }
    }

    /// Reads from any source. Errors name it.
    pub(crate) fn new(source: Box<dyn Read>, name: String) -> Self {
        Self {
            source,
            name,
            reader: Reader::new(Limits::default()),
            buffer: Zeroizing::new(vec![0; PIECE]),
            unread: 0..0,
            ended: false,
        }
    }

    /// Returns the next value or fault. Returns `None` at the end. There is at least one item: an empty input is a fault.
    ///
    /// A pipe may give its next bytes much later. So `flush` is called before each read: it writes what is known of the items so far. A read takes up
    /// to [`PIECE`] bytes, however many values they contain.
    ///
    /// # Errors
    /// Returns an error if the input cannot be read, or the error of `flush`.
    pub(crate) fn next(
        &mut self,
        flush: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Item>> {
        loop {
            if self.ended {
                return Ok(self.reader.finish());
            }
            let mut rest = self.buffer.get(self.unread.clone()).unwrap_or_default();
            let item = self.reader.push(&mut rest);
            self.unread.start = self.unread.end - rest.len();
            if item.is_some() {
                return Ok(item);
            }
            flush()?;
            match self.source.read(&mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(len) => self.unread = 0..len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", self.name));
                }
            }
        }
    }
}
