//! What an input contains, as the commands show it: JSON members and notes.

use dekker_forms::{Entry, Fault, Form, Place};
use serde_json::Value;

/// A JSON object, written member by member.
pub(crate) struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a member.
    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.begin(name);
        self.0.push_str(&value.into().to_string());
    }

    /// Adds the members of another object, which is given as text.
    pub(crate) fn put_all(&mut self, object: &str) {
        let members = object.trim();
        let members = members.strip_prefix('{').unwrap_or(members);
        let members = members.strip_suffix('}').unwrap_or(members);
        if !members.is_empty() {
            self.separate();
            self.0.push_str(members);
        }
    }

    /// Returns the text of the object without its end, up to and with the name of one more member, whose value the caller writes.
    pub(crate) fn open_with(mut self, name: &str) -> String {
        self.begin(name);
        self.0
    }

    /// Returns the text of the object.
    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn begin(&mut self, name: &str) {
        self.separate();
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
    }

    fn separate(&mut self) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
    }
}

/// The members that every value has: `key`, `revision`, `form`, `within`, `line`, `offset` and `notes`, as far as they are known.
pub(crate) fn value_object(entry: &Entry, key: Option<&[u8]>, notes: &[String]) -> Object {
    let mut object = Object::new();
    if let Some(key) = key {
        object.put("key", String::from_utf8_lossy(key));
    }
    if let Some(revision) = entry.revision {
        object.put("revision", revision);
    }
    put_form(&mut object, Some(entry.form), &entry.within);
    put_place(&mut object, entry.place);
    if !notes.is_empty() {
        object.put("notes", notes);
    }
    object
}

/// A fault: `key`, `form`, `within`, `line`, `offset`, `error` and `command`, as far as they are known.
pub(crate) fn fault_object(fault: &Fault) -> Object {
    let mut object = Object::new();
    if let Some(key) = &fault.key {
        object.put("key", String::from_utf8_lossy(key));
    }
    put_form(&mut object, fault.form, &fault.within);
    put_place(&mut object, fault.place);
    object.put("error", without_place(fault));
    if let Some(command) = fault.command() {
        object.put("command", command);
    }
    object
}

fn put_form(object: &mut Object, form: Option<Form>, within: &[Form]) {
    if let Some(form) = form {
        object.put("form", form.name());
    }
    if !within.is_empty() {
        object.put("within", within.iter().map(|form| form.name()).collect::<Vec<_>>());
    }
}

fn put_place(object: &mut Object, place: Place) {
    object.put("line", place.line);
    object.put("offset", place.offset);
}

/// The text of a fault without the place at its beginning.
pub(crate) fn without_place(fault: &Fault) -> String {
    let text = fault.to_string();
    let place = place(fault.place) + ": ";
    text.strip_prefix(&place).map(str::to_owned).unwrap_or(text)
}

/// `line 3, byte 42`
pub(crate) fn place(place: Place) -> String {
    format!("line {}, byte {}", place.line, place.offset)
}

/// `etcdctl in hexdump -C`
pub(crate) fn forms(entry: &Entry) -> String {
    let is_plain_content = entry.form == Form::Raw && !entry.within.is_empty();
    let inner = (!is_plain_content).then_some(entry.form);
    let outer = entry.within.iter().rev().copied();
    inner.into_iter().chain(outer).map(Form::name).collect::<Vec<_>>().join(" in ")
}

/// Whether the value is the whole input, without any encoding around it.
pub(crate) fn is_bare(entry: &Entry) -> bool {
    entry.form == Form::Raw && entry.within.is_empty() && entry.place.offset == 0
}

/// The note of a value of which only the beginning was found.
pub(crate) const CUT_SHORT: &str = "the value is cut short, or the last line of the dump is missing: the input ends before the value does";

/// Returns sentences about the value that its bytes do not say. `reading` is the one that is shown or decrypted.
pub(crate) fn notes(entry: &Entry, reading: &[u8]) -> Vec<String> {
    let mut notes = Vec::new();
    let removed = entry.bytes.get(reading.len()..).unwrap_or_default();
    if !removed.is_empty() {
        notes.push(format!(
            "the line end after the value ({}) was removed: etcdctl and other tools add one",
            removed.escape_ascii()
        ));
    }
    if entry.cut_short {
        notes.push(CUT_SHORT.to_owned());
    }
    if entry.crlf_undone {
        notes.push(
            "each \\r\\n was read as \\n, because the output went through a terminal (`kubectl exec -t`); if the value does not decrypt, get it without -t"
                .to_owned(),
        );
    }
    notes
}

/// Replaces control characters, because text from storage must not control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The same for a storage key, which may be any bytes.
pub(crate) fn printable_key(key: &[u8]) -> String {
    printable(&String::from_utf8_lossy(key))
}
