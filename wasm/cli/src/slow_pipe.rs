//! The input of the tests of slow pipes: it gives the next value only after the output about the ones before it has arrived.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::core_engine::case;
use crate::input::Input;

/// The key of each value.
const KEY: &str = "/registry/secrets/default/token";

/// How many values come.
pub(crate) const VALUES: usize = 5;

/// What has arrived behind all buffers of the command.
#[derive(Clone, Default)]
pub(crate) struct Arrived(Rc<RefCell<Vec<u8>>>);

impl Arrived {
    /// How many values have arrived. Each format prints a key once.
    pub(crate) fn values(&self) -> usize {
        String::from_utf8_lossy(&self.0.borrow()).matches(KEY).count()
    }
}

impl Write for Arrived {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a pipe of [`VALUES`] values. It fails when it is read before all values that it gave have arrived.
pub(crate) fn open(arrived: &Arrived) -> Input {
    let pipe = SlowPipe { arrived: arrived.clone(), row: case("w-json.txt"), given: 0 };
    Input::new(Box::new(pipe), "the pipe".to_owned())
}

struct SlowPipe {
    arrived: Arrived,
    row: Vec<u8>,
    given: usize,
}

impl Read for SlowPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let arrived = self.arrived.values();
        if arrived != self.given {
            let text = format!("{} values were given, and {arrived} have arrived", self.given);
            return Err(io::Error::other(text));
        }
        if self.given == VALUES {
            return Ok(0);
        }
        let mut piece = self.row.clone();
        if self.given == 0 {
            // The reader chooses a form by so many bytes.
            piece.resize(piece.len().max(dekker_forms::HEAD), b'\n');
        }
        self.given += 1;
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
