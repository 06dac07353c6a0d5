//! Values that end within their prefix or within the name after it.

use alloc::string::{String, ToString};

use super::error::{InspectError, InspectFault};
use super::formats::FORMATS;
use super::found::Format;
use super::partial::Partial;

/// The least length of a value that counts as the beginning of a prefix, 4 bytes: `k8s:`.
const PREFIX_BEGIN_MIN: usize = 4;
/// The greatest length of a name that is shown, 1 KiB. Longer text is not a name.
const NAME_MAX: usize = 1024;

/// Returns the error for a value that ends within the prefix of a provider.
pub(super) fn prefix(stored: &[u8]) -> Option<InspectError> {
    let size = stored.len();
    let mut formats = FORMATS.iter().map(|(format, _)| format).filter(|format| {
        let prefix = format.prefix.as_bytes();
        (PREFIX_BEGIN_MIN..prefix.len()).contains(&size) && prefix.starts_with(stored)
    });
    let first = formats.next()?;
    let missing = |format: &Format| format.prefix.len() - size + shortest(format, 0);
    let mut least = missing(first);
    let mut known = first.partial(size);
    for format in formats {
        least = least.min(missing(format));
        known = Partial { size, ..Partial::default() };
    }
    let fault = InspectFault::CutInPrefix { begin: String::from_utf8_lossy(stored).into() };
    let known = Partial { missing_at_least: Some(least as u64), ..known };
    Some(InspectError::new(fault, known))
}

/// Returns the error for a value without a complete name. `rest` is what follows the prefix.
pub(super) fn name(format: Format, rest: &[u8], size: usize) -> InspectError {
    let prefix = format.prefix;
    let known = format.partial(size);
    let is_begin =
        |text: &&str| text.len() <= NAME_MAX && !text.chars().any(|c| c == ':' || c.is_control());
    match core::str::from_utf8(rest).ok().filter(is_begin) {
        Some(begin) => {
            let fault = InspectFault::CutInName { prefix, begin: begin.to_string() };
            let missing_at_least = Some(shortest(&format, begin.len()) as u64);
            InspectError::new(fault, Partial { missing_at_least, ..known })
        }
        None => InspectError::new(InspectFault::Name { prefix }, known),
    }
}

/// Returns whether what follows a name and its colon begins as a name that contains the colon would go on: `46:54+01:00:` after `key-2026-03-09T09`.
pub(super) fn may_go_on(payload: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let part = payload.split(|byte| *byte == b':').next().unwrap_or_default();
    part.iter().all(is_name) && (part.len() >= 2 || part.len() == payload.len())
}

/// Returns the least number of bytes after a prefix and `name` bytes of a name: the rest of the name, its colon, and the shortest value.
fn shortest(format: &Format, name: usize) -> usize {
    usize::from(name == 0) + 1 + format.least
}
