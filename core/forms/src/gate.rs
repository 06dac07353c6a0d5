//! The gate that every value passes: nothing that may be encrypted leaves as plaintext.

use crate::context::Candidate;
use crate::entry::{Content, Entry};
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::kubernetes;
use crate::prefix::{Stored, split};
use crate::reader::{Item, Limits};
use crate::resource;
use crate::text;
use crate::{ENCRYPTED_PREFIX, PROTOBUF_PREFIX};

/// Returns the entry if its content is certain.
pub(crate) fn admit(candidate: Candidate, limits: &Limits) -> Item {
    let verdict = if candidate.bytes.len() > limits.value {
        Err(FaultKind::TooLong { limit: limits.value })
    } else {
        judge(&candidate, limits)
    };
    let Candidate { key, revision, bytes, place, form, line_end, crlf_undone, exact: _ } =
        candidate;
    match verdict {
        Ok(content) => Ok(Entry {
            key,
            revision,
            bytes,
            place,
            form,
            within: alloc::vec::Vec::new(),
            content,
            line_end,
            cut_short: false,
            crlf_undone,
        }),
        Err(kind) => {
            let form = (form != Form::Raw).then_some(form);
            Err(Fault { key, ..Fault::new(place, form, kind) })
        }
    }
}

fn judge(candidate: &Candidate, limits: &Limits) -> Result<Content, FaultKind> {
    let bytes = candidate.bytes.as_slice();
    // Below Kubernetes' prefixes, there are only Kubernetes' values: anything else is damaged.
    let exact = candidate.exact
        && candidate.key.as_ref().is_some_and(|key| !resource::has_known_prefix(key));
    if bytes.starts_with(ENCRYPTED_PREFIX) {
        if let Some(kind) = text_damage(bytes) {
            return Err(kind);
        }
        let rest = bytes.get(ENCRYPTED_PREFIX.len()..).unwrap_or_default();
        // Where nothing states the bounds of a value, another one or other text may follow it.
        return if !candidate.exact && holds_another(rest) {
            Err(FaultKind::Joined)
        } else {
            Ok(Content::Encrypted)
        };
    }
    if bytes.is_empty() {
        return Err(FaultKind::NoValue);
    }
    if ENCRYPTED_PREFIX.starts_with(bytes) {
        return Err(FaultKind::CutShort);
    }
    let encrypted_inside = Guard::finds(bytes);
    if bytes.starts_with(PROTOBUF_PREFIX) && !encrypted_inside {
        match kubernetes::begins_object(bytes) {
            Some(true) => {}
            Some(false) => return Err(FaultKind::Damaged),
            None => return Err(FaultKind::CutShort),
        }
        if let Some(kind) = plaintext_damage(bytes) {
            return Err(kind);
        }
    }
    for (prefix, content) in
        [(PROTOBUF_PREFIX, Content::Protobuf), (text::CBOR_PREFIX, Content::Cbor)]
    {
        if bytes.starts_with(prefix) {
            return if encrypted_inside { Err(FaultKind::EncryptedInside) } else { Ok(content) };
        }
    }
    if bytes.first() == Some(&b'{')
        && let Some(object) = kubernetes::json_object(bytes, limits)
    {
        return object.verdict(encrypted_inside).map(|()| Content::Json);
    }
    if encrypted_inside {
        return Err(if exact {
            FaultKind::EncryptedInside
        } else {
            FaultKind::UnrecognizedEncrypted
        });
    }
    match text::file_kind(bytes) {
        Some(kind) if !exact => Err(FaultKind::File(kind)),
        None if !exact => Err(FaultKind::Unrecognized),
        _ => Ok(Content::Other),
    }
}

/// Whether another stored value begins within what follows the beginning of an encrypted value.
fn holds_another(mut rest: &[u8]) -> bool {
    if Guard::finds(rest) {
        return true;
    }
    while let Some(at) = text::find(rest, PROTOBUF_PREFIX) {
        rest = rest.get(at..).unwrap_or_default();
        if kubernetes::begins_object(rest) == Some(true) {
            return true;
        }
        rest = rest.get(PROTOBUF_PREFIX.len()..).unwrap_or_default();
    }
    false
}

/// Returns how a plaintext object in protobuf was damaged by tools that took it for text. The lengths in it do not fit then.
fn plaintext_damage(bytes: &[u8]) -> Option<FaultKind> {
    core::str::from_utf8(bytes).ok().filter(|text| !text.is_ascii())?;
    if kubernetes::is_whole_object(bytes) == Some(true) {
        return None;
    }
    let is_replaced = text::contains(bytes, "\u{fffd}".as_bytes());
    Some(if is_replaced { FaultKind::Replaced } else { FaultKind::Mangled })
}

/// Returns how an encrypted value was damaged by tools that took it for text.
///
/// Ciphertext is random: 28 bytes of it are valid UTF-8 with eight characters above U+007F once in 10⁹ values, and 32 bytes are all printable once in
/// 10¹³ values.
fn text_damage(bytes: &[u8]) -> Option<FaultKind> {
    let valid = match core::str::from_utf8(bytes) {
        Ok(valid) => valid,
        // Cut off inside the last character.
        Err(error) if error.error_len().is_none() => {
            core::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let mut wide = 0_u32;
    let mut replaced = false;
    for char in valid.chars() {
        wide += u32::from(!char.is_ascii());
        replaced |= char == char::REPLACEMENT_CHARACTER;
    }
    match (wide >= 8, replaced) {
        (true, true) => Some(FaultKind::Replaced),
        (true, false) => Some(FaultKind::Mangled),
        // `cat -v`, `less` and `strings` leave printable characters only.
        (false, _) => match split(bytes, &[]) {
            Stored::Value { payload, .. }
                if payload.len() >= 32 && text::is_printable_ascii(payload) =>
            {
                Some(FaultKind::PrintedAsText)
            }
            _ => None,
        },
    }
}
