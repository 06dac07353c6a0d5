//! The subset of JSON that core reads and writes. A general library would make up a tenth of the component, most of it for numbers, which core does
//! not use.

mod read;
mod write;

pub(crate) use read::check;
pub(crate) use write::{Writer, push_text};
