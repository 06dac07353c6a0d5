//! Why no value could be read at a place.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use crate::entry::Place;
use crate::form::Form;

/// Why no value could be read at a place in the input.
///
/// The text names the place, the cause, and a command that gives a better input.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// The storage key, if the input contains it.
    pub key: Option<Vec<u8>>,
    /// The form that the input has or resembles.
    pub form: Option<Form>,
    /// The forms around it, from the outside in.
    pub within: Vec<Form>,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The input is empty or contains only white space.
    Empty,
    /// The input has a known form, and no value in it: etcd has none under this key.
    NoValues,
    /// A key without a value: `--keys-only`, or an empty value.
    NoValue,
    /// A value or a line is longer than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// JSON is nested too deep, or forms are within forms.
    TooDeep,
    /// The text does not follow the grammar of its form.
    Syntax(&'static str),
    /// The input ends in the middle of a value.
    CutShort,
    /// Something follows the values that is not understood.
    Trailing,
    /// A dump does not begin at offset 0, or lines are missing.
    Gap {
        /// The offset that must come next.
        expected: u64,
    },
    /// A string that should encode a value is not hex or base64.
    NotEncoded,
    /// The bytes were read as Latin-1 or Windows-1252 text and saved as UTF-8.
    Mangled,
    /// Bytes were replaced by U+FFFD (`\u{fffd}`), because a tool read them as text. They are lost.
    Replaced,
    /// A plaintext object in protobuf whose beginning is not one.
    Damaged,
    /// Another encrypted value begins inside an encrypted value: nothing separates them, or other text follows.
    Joined,
    /// A value was printed as text, which a value's bytes do not survive.
    PrintedAsText,
    /// Plaintext that contains `k8s:enc:`, encoded or not, somewhere after its beginning.
    EncryptedInside,
    /// The output of kubectl, whose data contains an encrypted value: what the API server decrypted was encrypted once more.
    KubernetesData,
    /// The output of kubectl, which the API server has already decrypted.
    Kubernetes,
    /// An encryption configuration.
    Configuration,
    /// An error message of etcdctl, or its log.
    EtcdctlError,
    /// Another kind of file.
    File(FileKind),
    /// Not a form that is known.
    Unrecognized,
    /// Not a form that is known, and `k8s:enc:` is in it.
    UnrecognizedEncrypted,
}

/// A kind of file that is recognized and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A file of etcd's storage, bbolt: a snapshot of `etcdctl snapshot save`, or `snap/db` of a member. A snapshot's length modulo 512 is 32.
    EtcdDatabase,
    /// A SQLite database, such as kine's `state.db`.
    Sqlite,
    /// A dump of `pg_dump` in its custom format.
    PostgresDump,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// zip.
    Zip,
    /// tar.
    Tar,
}

impl Fault {
    pub(crate) fn new(place: Place, form: Option<Form>, kind: FaultKind) -> Self {
        Self { place, key: None, form, within: Vec::new(), kind }
    }

    /// The command that gives a good input, if one does.
    pub fn command(&self) -> Option<&'static str> {
        match self.kind {
            FaultKind::File(kind) => Some(kind.command()),
            FaultKind::Configuration | FaultKind::EncryptedInside => None,
            FaultKind::NoValues | FaultKind::Empty => Some("etcdctl get <key> --prefix -w json"),
            FaultKind::NoValue
            | FaultKind::TooLong { .. }
            | FaultKind::TooDeep
            | FaultKind::Syntax(_)
            | FaultKind::CutShort
            | FaultKind::Trailing
            | FaultKind::Gap { .. }
            | FaultKind::NotEncoded
            | FaultKind::Mangled
            | FaultKind::Replaced
            | FaultKind::Damaged
            | FaultKind::Joined
            | FaultKind::PrintedAsText
            | FaultKind::KubernetesData
            | FaultKind::Kubernetes
            | FaultKind::EtcdctlError
            | FaultKind::Unrecognized
            | FaultKind::UnrecognizedEncrypted => {
                Some(self.seen().map_or("etcdctl get <key> -w json", Form::command))
            }
        }
    }

    /// The key, if a shell and SQL take it as it is.
    fn shell_key(&self) -> Option<&str> {
        let key = core::str::from_utf8(self.key.as_deref()?).ok()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+".contains(&byte);
        key.bytes().all(is_plain).then_some(key)
    }

    /// The outermost form: the one that the user sees.
    fn seen(&self) -> Option<Form> {
        self.within.first().copied().or(self.form)
    }
}

impl FileKind {
    const fn words(self) -> &'static str {
        match self {
            Self::EtcdDatabase => {
                "this is an etcd database: a snapshot, or the file snap/db of a member"
            }
            Self::Sqlite => "this is a SQLite database",
            Self::PostgresDump => "this is a dump of pg_dump",
            Self::Gzip => "this is gzip, not a stored value of Kubernetes",
            Self::Zstd => "this is zstd, not a stored value of Kubernetes",
            Self::Xz => "this is xz, not a stored value of Kubernetes",
            Self::Bzip2 => "this is bzip2, not a stored value of Kubernetes",
            Self::Zip => "this is zip, not a stored value of Kubernetes",
            Self::Tar => "this is tar, not a stored value of Kubernetes",
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Self::EtcdDatabase => {
                "etcdutl snapshot restore <file>, start etcd on it, then etcdctl get <key> -w json"
            }
            Self::Sqlite => Form::SqliteHex.command(),
            Self::PostgresDump => Form::PostgresHex.command(),
            Self::Gzip => "gzip -dc <file>",
            Self::Zstd => "zstd -dc <file>",
            Self::Xz => "xz -dc <file>",
            Self::Bzip2 => "bzip2 -dc <file>",
            Self::Zip => "unzip -p <file>",
            Self::Tar => "tar -xOf <file> <member>",
        }
    }
}

impl FaultKind {
    const fn words(self) -> &'static str {
        match self {
            Self::Empty => "there is no value: the input is empty",
            Self::NoValues => "there is no value in the input: etcd has none under this key",
            Self::NoValue => "the key has no value: `--keys-only` leaves values out",
            Self::TooLong { .. } => "the value is too long",
            Self::TooDeep => "the input is nested too deep",
            Self::Syntax(words) => words,
            Self::CutShort => "the input ends in the middle of a value",
            Self::Trailing => "text that is not a value follows",
            Self::Gap { .. } => "lines of the dump are missing",
            Self::NotEncoded => "the string is not a stored value in base64 or hex",
            Self::Mangled => {
                "the bytes were read as Latin-1 text and saved as UTF-8; a terminal, an editor or a script did this"
            }
            Self::Replaced => {
                "bytes were replaced by U+FFFD, because a tool read them as UTF-8 text; they are lost"
            }
            Self::Damaged => {
                "the value begins as a Kubernetes object in protobuf does, and is not one"
            }
            Self::Joined => {
                "another encrypted value begins within the value: several were joined, or other text follows"
            }
            Self::PrintedAsText => {
                "the value was printed as text, and its bytes do not survive that"
            }
            Self::EncryptedInside => {
                "a plaintext object whose data contains `k8s:enc:`: an encrypted value is inside it"
            }
            Self::KubernetesData => {
                "output of kubectl whose data contains an encrypted value: it was encrypted twice, or a stored value was saved in an object"
            }
            Self::Kubernetes => {
                "output of kubectl: the API server has decrypted it already, and stored values look different"
            }
            Self::Configuration => "this is an encryption configuration, not a stored value",
            Self::EtcdctlError => "an error message of etcdctl instead of a value",
            Self::File(kind) => kind.words(),
            Self::Unrecognized => "not a stored value of Kubernetes in a known form",
            Self::UnrecognizedEncrypted => {
                "an encrypted value is in the input, in a form that is not understood"
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != FaultKind::Empty {
            write!(f, "line {}, byte {}: ", self.place.line, self.place.offset)?;
        }
        if let Some(key) = &self.key {
            // A key may contain anything, also what a terminal obeys.
            for char in String::from_utf8_lossy(key).escape_debug() {
                f.write_char(char)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(self.kind.words())?;
        if let FaultKind::TooLong { limit } = self.kind {
            write!(f, " (the limit is {limit} bytes)")?;
        }
        if let FaultKind::Gap { expected } = self.kind {
            write!(f, " (the next offset must be {expected})")?;
        }
        if let Some(form) = self.seen() {
            write!(f, " (read as {})", form.name())?;
        }
        let Some(command) = self.command() else {
            return Ok(());
        };
        f.write_str("; use ")?;
        match (split_at_key(command), self.shell_key()) {
            (Some((before, after)), Some(key)) => write!(f, "{before}{key}{after}"),
            _ => f.write_str(command),
        }
    }
}

/// Returns what is before and after `<key>`. The standard library's search for text would take three kilobytes of a WebAssembly module.
fn split_at_key(command: &str) -> Option<(&str, &str)> {
    const KEY: &str = "<key>";
    let at = command.as_bytes().windows(KEY.len()).position(|part| part == KEY.as_bytes())?;
    Some((command.get(..at)?, command.get(at + KEY.len()..)?))
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?}, {self})", self.kind)
    }
}

impl core::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_text_names_place_key_cause_form_and_command() {
        let place = Place { offset: 42, line: 3 };
        let fault = |key: Option<&[u8]>, form, kind| {
            let key = key.map(<[u8]>::to_vec);
            Fault { key, ..Fault::new(place, form, kind) }.to_string()
        };
        assert_eq!(
            fault(Some(b"/registry/secrets/a/b"), Some(Form::EtcdctlPlain), FaultKind::NoValue),
            "line 3, byte 42: /registry/secrets/a/b: the key has no value: `--keys-only` leaves values out (read as etcdctl); use etcdctl get \
             /registry/secrets/a/b -w json"
        );
        assert_eq!(
            fault(Some(b"/a\x1b[2J$(x)"), None, FaultKind::CutShort),
            "line 3, byte 42: /a\\u{1b}[2J$(x): the input ends in the middle of a value; use etcdctl get <key> -w json"
        );
        assert_eq!(
            fault(None, Some(Form::Xxd), FaultKind::Gap { expected: 16 }),
            "line 3, byte 42: lines of the dump are missing (the next offset must be 16) (read as xxd); use etcdctl get <key> -w json, or the whole \
             output of xxd -p"
        );
        assert_eq!(
            fault(None, None, FaultKind::Configuration),
            "line 3, byte 42: this is an encryption configuration, not a stored value"
        );
        assert!(fault(None, None, FaultKind::Empty).starts_with("there is no value"));
    }
}
