//! What a found value may be, the most probable first.

use alloc::vec::Vec;

use crate::entry::{Content, Entry};
use crate::prefix::{KeyName, Stored, split};
use crate::{PROTOBUF_PREFIX, protobuf};

impl Entry {
    /// Returns the readings of the value that are to be tried, the most probable first. `names` are those of a configuration, if there is one.
    ///
    /// A tool may have added the line end of an encrypted value or of one in protobuf. Without it, the value is more probable, unless only the other
    /// bytes have a structure that the provider or protobuf writes. Other plaintext is taken as it is: JSON in etcd ends with a line end.
    ///
    /// ```
    /// use dekker_forms::{Limits, read_all};
    ///
    /// // Whole blocks of aescbc follow the name, and their last byte is a line end.
    /// let value = [b"k8s:enc:aescbc:v1:key1:".as_slice(), &[7; 31], b"\n"].concat();
    /// let entry = read_all(&value, Limits::default()).remove(0).unwrap();
    /// assert_eq!(entry.probable_readings(&[]), [&value[..], &value[..value.len() - 1]]);
    /// ```
    pub fn probable_readings(&self, names: &[KeyName<'_>]) -> Vec<&[u8]> {
        let readings: Vec<_> = match self.content {
            Content::Encrypted | Content::Protobuf => self.readings().collect(),
            Content::Json | Content::Cbor | Content::Other => Vec::from([&self.bytes[..]]),
        };
        // A sort would take five kilobytes of a WebAssembly module.
        let is_well_formed = |bytes: &&[u8]| is_well_formed(self.content, bytes, names);
        let (mut readings, others): (Vec<_>, Vec<_>) =
            readings.into_iter().partition(is_well_formed);
        readings.extend(others);
        readings
    }
}

fn is_well_formed(content: Content, bytes: &[u8], names: &[KeyName<'_>]) -> bool {
    match content {
        Content::Protobuf => bytes.strip_prefix(PROTOBUF_PREFIX).is_some_and(protobuf::is_message),
        Content::Encrypted => {
            matches!(split(bytes, names), Stored::Value { well_formed: true, .. })
        }
        // They have one reading.
        Content::Json | Content::Cbor | Content::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Form, LineEnd, Place, Provider};

    fn entry(content: Content, bytes: &[u8]) -> Entry {
        Entry {
            key: None,
            revision: None,
            bytes: bytes.to_vec(),
            place: Place { offset: 0, line: 1 },
            form: Form::Raw,
            within: Vec::new(),
            content,
            line_end: LineEnd::of(bytes),
            cut_short: false,
            crlf_undone: false,
        }
    }

    /// How many bytes each reading is without.
    fn removed(entry: &Entry, names: &[KeyName<'_>]) -> Vec<usize> {
        let readings = entry.probable_readings(names);
        readings.iter().map(|bytes| entry.bytes.len() - bytes.len()).collect()
    }

    #[test]
    fn structure_decides_whether_a_line_end_belongs_to_the_value() {
        let cbc = |len| [&b"k8s:enc:aescbc:v1:key1:"[..], &[7; 48][..len], b"\n"].concat();
        let object = b"k8s\0\x0a\x02ab";
        for (desc, content, bytes, expected) in [
            ("no line end", Content::Protobuf, object.to_vec(), &[0][..]),
            ("after whole blocks", Content::Encrypted, cbc(32), &[1, 0]),
            ("within whole blocks", Content::Encrypted, cbc(31), &[0, 1]),
            ("after an object", Content::Protobuf, [&object[..], b"\n"].concat(), &[1, 0]),
            ("after \\r\\n", Content::Protobuf, [&object[..], b"\r\n"].concat(), &[2, 1, 0]),
            ("in a string", Content::Protobuf, b"k8s\0\x0a\x02a\n".to_vec(), &[0, 1]),
            ("in a number", Content::Protobuf, b"k8s\0\x08\n".to_vec(), &[0, 1]),
            ("in 8 bytes", Content::Protobuf, b"k8s\0\x09.......\n".to_vec(), &[0, 1]),
            ("in 4 bytes", Content::Protobuf, b"k8s\0\x0d...\n".to_vec(), &[0, 1]),
            ("not protobuf", Content::Protobuf, b"k8s\0\x0f\n".to_vec(), &[1, 0]),
            ("JSON", Content::Json, b"{}\n".to_vec(), &[0]),
            ("CBOR", Content::Cbor, b"\xd9\xd9\xf7\n".to_vec(), &[0]),
            ("another value", Content::Other, b"compact\n".to_vec(), &[0]),
        ] {
            assert_eq!(removed(&entry(content, &bytes), &[]), expected, "{desc}");
        }
    }

    #[test]
    fn an_object_that_ends_with_a_line_end_is_whole() {
        let object = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x03ab\n";
        for (input, expected) in
            [(object.to_vec(), &[0, 1][..]), ([&object[..], b"\n"].concat(), &[1, 2, 0])]
        {
            let items = crate::read_all(&input, crate::Limits::default());
            let [Ok(entry)] = items.as_slice() else { panic!("{items:?}") };
            assert_eq!((entry.content, &*removed(entry, &[])), (Content::Protobuf, expected));
        }
    }

    #[test]
    fn names_of_a_configuration_decide_too() {
        // Without the names, the name is "a" or "a:b", and the whole value is well-formed with one of them.
        let value = [&b"k8s:enc:aescbc:v1:a:b:"[..], &[7; 32], b"\n"].concat();
        let names = |name| [KeyName { provider: Provider::AesCbc, name }];
        assert_eq!(removed(&entry(Content::Encrypted, &value), &names("a:b")), [1, 0]);
        let value = [&b"k8s:enc:aescbc:v1:a:b:"[..], &[7; 29], b"\n"].concat();
        assert_eq!(removed(&entry(Content::Encrypted, &value), &names("a")), [0, 1]);
        assert_eq!(removed(&entry(Content::Encrypted, &value), &names("a:b")), [1, 0]);
    }
}
