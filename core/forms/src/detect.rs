//! Chooses the form by the first bytes of an input.

use crate::digits::{self, Kind};
use crate::dump;
use crate::fault::FaultKind;
use crate::fields;
use crate::form::Form;
use crate::guard::Guard;
use crate::nested::DEPTH_MAX;
use crate::protobuf;
use crate::rows;
use crate::text::{self, Word};
use crate::{ENCRYPTED_PREFIX, PROTOBUF_PREFIX};

/// What the input is.
pub(crate) enum Choice {
    Plain,
    Json,
    /// Members of an object of JSON, without its brackets.
    JsonMembers,
    Protobuf,
    Fields,
    Dump,
    Rows,
    Digits(Kind),
    Utf16 {
        little: bool,
    },
    Fault {
        kind: FaultKind,
        form: Option<Form>,
    },
}

/// A choice, and how many bytes stand before the form: a byte order mark, prompts, empty lines.
pub(crate) struct Found {
    pub(crate) choice: Choice,
    pub(crate) skip: usize,
}

/// As many prompts and other lines may stand before the form.
const MARGIN_LINES: usize = 16;

/// Returns the form of an input that a few bytes prove: what etcdctl and the gateway print may go on for ever, and long pauses may be in it.
pub(crate) fn certain(head: &[u8], depth: u8) -> Option<Choice> {
    const JSON: [&[u8]; 3] = [b"{\"header\":", b"{\"Header\":", b"{\"result\":{\"header\":"];
    const FIELDS: [&[u8]; 1] = [b"\"ClusterID\" :"];
    const PLAIN: [&[u8]; 2] = [b"PUT\n/", b"DELETE\n/"];
    const HEX: [&[u8]; 2] = [b"PUT\n\\x", b"DELETE\n\\x"];
    let begins = |heads: &[&[u8]]| heads.iter().any(|begin| head.starts_with(begin));
    if depth > 0 {
        // Inside another form, all of its text arrives soon.
        None
    } else if begins(&JSON) {
        Some(Choice::Json)
    } else if begins(&FIELDS) {
        Some(Choice::Fields)
    } else if begins(&PLAIN) {
        Some(Choice::Plain)
    } else {
        begins(&HEX).then_some(Choice::Digits(Kind::Hex))
    }
}

/// Chooses the form of an input that begins with `head`. `whole` says that nothing follows it.
pub(crate) fn detect(head: &[u8], whole: bool, depth: u8) -> Found {
    let fault = |kind| Choice::Fault { kind, form: None };
    let found = |choice| Found { choice, skip: 0 };
    if let Some(choice) = certain(head, depth) {
        return found(choice);
    }
    let inside = |choice| if depth < DEPTH_MAX { choice } else { fault(FaultKind::TooDeep) };
    if head.trim_ascii().is_empty() && whole {
        return found(fault(FaultKind::Empty));
    }
    if let Some(little) = utf16(head) {
        return found(inside(Choice::Utf16 { little }));
    }
    let bom: &[u8] = b"\xef\xbb\xbf";
    let mut skip = if head.starts_with(bom) { bom.len() } else { 0 };
    let at = |skip: usize| head.get(skip..).unwrap_or_default();
    if let Some(kind) = text::file_kind(at(skip)) {
        return Found { choice: fault(FaultKind::File(kind)), skip };
    }
    if protobuf::begins(at(skip)) {
        return Found { choice: Choice::Protobuf, skip };
    }
    let start = skip;
    let mut resembles = None;
    let mut has_log = false;
    // Where the first line begins that is not understood.
    let mut prose = None;
    let mut has_heading = false;
    for _ in 0..MARGIN_LINES {
        let rest = at(skip);
        let len = rest.iter().position(|byte| *byte == b'\n');
        let (line, _) = rest.split_at(len.unwrap_or(rest.len()));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // `jq --seq`.
        if rest.starts_with(b"\x1e") {
            skip += 1;
            continue;
        }
        let is_complete = len.is_some() || whole;
        has_heading |= dump::is_heading(line);
        let is_rule = || line.iter().all(|byte| b"- ".contains(byte));
        if text::is_log(line) {
            has_log = true;
        } else if has_heading && is_rule() {
            // `Format-Hex` underlines its headings.
        } else if !line.trim_ascii().is_empty() {
            match classify(line, rest, is_complete, whole, depth) {
                Some(choice @ Choice::Fault { .. }) => return Found { choice, skip },
                Some(choice @ (Choice::Digits(_) | Choice::Dump)) => {
                    return Found { choice: inside(choice), skip };
                }
                Some(choice) => return Found { choice, skip },
                None => {}
            }
            if !text::is_prompt(line) && !digits::is_margin(line) && !dump::is_heading(line) {
                prose.get_or_insert(skip);
                resembles = resemblance(line);
                if !is_prose(line) || is_document(at(start)) {
                    break;
                }
            }
        }
        let Some(len) = len else { break };
        skip += len + 1;
    }
    if at(start).trim_ascii().is_empty() {
        // psql centers the name of a column over long values.
        return Found { choice: Choice::Rows, skip: start };
    }
    let kind = match unrecognized(at(start)) {
        FaultKind::Unrecognized if has_log => FaultKind::EtcdctlError,
        kind => kind,
    };
    let form = if kind == FaultKind::Unrecognized { resembles } else { None };
    Found { choice: Choice::Fault { kind, form }, skip: prose.unwrap_or(skip) }
}

/// Whether the text is UTF-16, and little-endian: by its byte order mark, or because every other of its first bytes is 0.
fn utf16(head: &[u8]) -> Option<bool> {
    let plain = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match head {
        [0xff, 0xfe, ..] => Some(true),
        [0xfe, 0xff, ..] => Some(false),
        [a, 0, b, 0, ..] if plain(a) && plain(b) => Some(true),
        [0, a, 0, b, ..] if plain(a) && plain(b) => Some(false),
        _ => None,
    }
}

/// Chooses the form by a line. `rest` is the line and everything after it.
fn classify(line: &[u8], rest: &[u8], is_complete: bool, whole: bool, depth: u8) -> Option<Choice> {
    let fault = |kind| Some(Choice::Fault { kind, form: None });
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if [ENCRYPTED_PREFIX, PROTOBUF_PREFIX, text::CBOR_PREFIX]
        .iter()
        .any(|prefix| rest.starts_with(prefix))
    {
        return Some(Choice::Plain);
    }
    let trimmed = line.trim_ascii();
    if whole && trimmed.len() >= 3 && ENCRYPTED_PREFIX.starts_with(rest.trim_ascii()) {
        return fault(FaultKind::CutShort);
    }
    if trimmed.starts_with(b"Error: ") {
        return fault(FaultKind::EtcdctlError);
    }
    let after_first = rest.trim_ascii_start().get(1..).unwrap_or_default().trim_ascii_start();
    match trimmed.first()? {
        b'[' if trimmed.starts_with(b"[]byte{") => {}
        b'{' if matches!(after_first.first(), None | Some(b'"' | b'}')) => {
            return Some(Choice::Json);
        }
        b'[' if matches!(after_first.first(), None | Some(b'"' | b'{' | b'[' | b']')) => {
            return Some(Choice::Json);
        }
        b'"' => return quoted(line, trimmed),
        _ => {}
    }
    let is_key = if is_complete {
        text::is_key(line, 4096)
    } else {
        line.first() == Some(&b'/') && text::is_graphic(line)
    };
    // A key, a separator and a value are a row.
    if is_key && !Guard::finds(line) {
        return Some(Choice::Plain);
    }
    if Word::of(trimmed).is_some() && is_complete {
        let next = rest.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let next = next.skip(1).find(|line| !line.is_empty() && Word::of(line).is_none());
        return Some(match next {
            Some(line) if line.starts_with(b"\\x") => Choice::Digits(Kind::Hex),
            _ => Choice::Plain,
        });
    }
    match dump::is_first_line(line) {
        Some(true) => return Some(Choice::Dump),
        Some(false) => {
            // Digits in groups.
            if let Some(kind) = digits(rest, whole, depth) {
                return Some(Choice::Digits(kind));
            }
            let kind = FaultKind::Gap { expected: 0 };
            return Some(Choice::Fault { kind, form: Some(Form::HexdumpC) });
        }
        None => {}
    }
    if text::is_prompt(line) {
        return None;
    }
    if let Some(kind) = digits(rest, whole, depth) {
        return Some(Choice::Digits(kind));
    }
    rows::is_first_line(line).then_some(Choice::Rows)
}

/// Returns the digits of the text, if they decode to a form that is known: those of the first line, or of all lines.
fn digits(text: &[u8], whole: bool, depth: u8) -> Option<Kind> {
    if depth >= DEPTH_MAX {
        return None;
    }
    let is_known = |kind: &Kind, lines| {
        let Some(bytes) = digits::decode_head(text, *kind, lines, whole) else {
            return false;
        };
        !matches!(
            detect(&bytes, false, depth + 1).choice,
            Choice::Fault { kind: FaultKind::Unrecognized | FaultKind::UnrecognizedEncrypted, .. }
        )
    };
    let kinds = [Kind::Hex, Kind::Base64];
    kinds
        .into_iter()
        .find(|kind| is_known(kind, 1))
        .or_else(|| kinds.into_iter().find(|kind| is_known(kind, usize::MAX)))
}

/// A line that begins with a quotation mark: a field of etcdctl, a row, a string of JSON, or digits in quotes.
fn quoted(line: &[u8], trimmed: &[u8]) -> Option<Choice> {
    if let Some((name, _)) = fields::split(line) {
        // etcdctl's fields begin with a capital letter, members of JSON do not.
        let is_member = name.first().is_some_and(u8::is_ascii_lowercase);
        return Some(if is_member { Choice::JsonMembers } else { Choice::Fields });
    }
    let inner = trimmed.get(1..)?;
    let Some(end) = inner.iter().position(|byte| *byte == b'"') else {
        return Some(Choice::Json);
    };
    let after = inner.get(end + 1..)?.trim_ascii_start();
    match after {
        [] if inner.first() != Some(&b'\\') => Some(Choice::Json),
        [] | [b',' | b';'] => {
            let kinds = [Kind::Hex, Kind::Base64].into_iter();
            let mut kinds =
                kinds.filter(|kind| digits::decode_head(line, *kind, 1, true).is_some());
            kinds.next().map(Choice::Digits)
        }
        _ => rows::is_first_line(line).then_some(Choice::Rows),
    }
}

/// The form that a line resembles, which does not decode to anything known.
fn resemblance(line: &[u8]) -> Option<Form> {
    [(Kind::Hex, Form::Hex), (Kind::Base64, Form::Base64)]
        .into_iter()
        .find(|(kind, _)| line.len() >= 16 && digits::decode_head(line, *kind, 1, true).is_some())
        .map(|(_, form)| form)
}

/// Whether the line is text around a form, in which there is no value: a sentence, the names of columns.
fn is_prose(line: &[u8]) -> bool {
    line.len() <= 1000
        && text::is_printable(line)
        && longest_run(line) <= 48
        && resemblance(line).is_none()
        && !Guard::finds(line)
}

/// The most digits of base64 in a row: more than a word has, or a part of a path, are a value that was damaged.
fn longest_run(line: &[u8]) -> usize {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    line.split(|byte| !is_digit(byte)).map(<[u8]>::len).max().unwrap_or_default()
}

/// Whether the text is YAML of Kubernetes, in which another form may stand.
fn is_document(text: &[u8]) -> bool {
    matches!(
        unrecognized(text),
        FaultKind::Configuration | FaultKind::KubernetesData | FaultKind::Kubernetes
    )
}

/// What a text is that has no form.
fn unrecognized(text: &[u8]) -> FaultKind {
    let has_encrypted = Guard::finds(text);
    let is_yaml = text.starts_with(b"apiVersion:")
        || text.starts_with(b"kind:")
        || text::contains(text, b"\napiVersion:")
        || text::contains(text, b"\nkind:");
    match (is_yaml, has_encrypted) {
        (true, _) if text::contains(text, b"EncryptionConfiguration") => FaultKind::Configuration,
        (true, true) => FaultKind::KubernetesData,
        (true, false) => FaultKind::Kubernetes,
        (false, true) => FaultKind::UnrecognizedEncrypted,
        (false, false) => FaultKind::Unrecognized,
    }
}
