//! JSON, as much of it as is written and read here. A general library would be a tenth of the component, most of it for numbers that
//! nothing here looks at.

mod read;
mod write;

pub(crate) use read::{check, elements, members, text};
pub(crate) use write::{Writer, push_text};
