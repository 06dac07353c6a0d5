//! The values that etcd gets.

/// A key and its value.
pub(crate) struct Stored {
    pub key: String,
    pub value: Vec<u8>,
}

/// The prefix of the keys of [`many`].
pub(crate) const MANY_PREFIX: &str = "/registry/secrets/many/";

/// One value of each provider, of k3s' key names and of identity, with awkward last bytes.
pub(crate) fn of_every_provider() -> Vec<Stored> {
    let mut bytes = Bytes(1);
    let stored = |(name, value): (&str, Vec<u8>)| {
        let key = format!("/registry/secrets/default/{name}");
        Stored { key, value }
    };
    let with_end = |mut value: Vec<u8>, end: &[u8]| {
        value.extend_from_slice(end);
        value
    };
    let mut values = vec![
        ("aescbc", value("aescbc:v1:key1", &bytes.take(96))),
        ("aescbc-k3s", value("aescbc:v1:aescbckey-2026-03-09T09:46:54+01:00", &bytes.take(160))),
        ("aesgcm", value("aesgcm:v1:key1", &bytes.take(98))),
        ("aesgcm-cr", with_end(value("aesgcm:v1:key1", &bytes.take(90)), b"\r")),
        ("aesgcm-crlf", with_end(value("aesgcm:v1:key1", &bytes.take(90)), b"\r\n")),
        ("aesgcm-lf", with_end(value("aesgcm:v1:key1", &bytes.take(90)), b"\n")),
        ("aesgcm-nul", with_end(value("aesgcm:v1:key1", &bytes.take(90)), b"\0")),
        ("identity-json", with_end(json(&bytes.take(20)), b"\n")),
        ("identity-protobuf", protobuf(&bytes.take(300))),
        ("kms-v1", value("kms:v1:old", &[&[0, 40], &*bytes.take(140)].concat())),
        ("kms-v2", value("kms:v2:vault", &encrypted_object(&mut bytes))),
        ("large", value("aesgcm:v1:key1", &bytes.take(300_000))),
        ("secretbox", value("secretbox:v1:key1", &bytes.take(120))),
    ];
    values.sort_by_key(|(name, _)| *name);
    values.into_iter().map(stored).collect()
}

/// So many values, of all providers in turn.
pub(crate) fn many(count: usize) -> Vec<Stored> {
    let mut bytes = Bytes(2);
    let one = |index: usize| {
        let len = 60 + index % 16 * 16;
        let value = match index % 7 {
            0 => value("aescbc:v1:key1", &bytes.take(len.next_multiple_of(16))),
            1 => value("aesgcm:v1:key1", &bytes.take(len)),
            2 => value("secretbox:v1:key1", &bytes.take(len)),
            3 => value("kms:v1:old", &[&[0, 16], &*bytes.take(len)].concat()),
            4 => value("kms:v2:vault", &encrypted_object(&mut bytes)),
            5 => protobuf(&bytes.take(len)),
            _ => json(&bytes.take(len)),
        };
        Stored { key: format!("{MANY_PREFIX}{index:04}"), value }
    };
    (0..count).map(one).collect()
}

fn value(head: &str, payload: &[u8]) -> Vec<u8> {
    [b"k8s:enc:", head.as_bytes(), b":", payload].concat()
}

/// `EncryptedObject`: data, key ID, DEK source.
fn encrypted_object(bytes: &mut Bytes) -> Vec<u8> {
    [b"\x0a\x50", &*bytes.take(80), b"\x12\x05key-1\x1a\x28", &bytes.take(40)].concat()
}

/// A Secret: `"k8s\0" ‖ Unknown`, with a random `raw`.
fn protobuf(raw: &[u8]) -> Vec<u8> {
    let len = [raw.len() as u8 & 0x7f | 0x80, (raw.len() >> 7) as u8];
    [b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12", &len[..], raw, b"\x1a\0\"\0"].concat()
}

fn json(data: &[u8]) -> Vec<u8> {
    let text: String = data.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("{{\"apiVersion\":\"stable.example.com/v1\",\"kind\":\"CronTab\",\"spec\":\"{text}\"}}")
        .into()
}

/// Bytes that look random and are always the same: in plain output, a random value could look like two once in millions of runs.
struct Bytes(u64);

impl Bytes {
    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (self.0 >> 56) as u8
            })
            .collect()
    }
}
