//! The values that etcd gets.

use super::sealed::{K3S, Provider};

/// A key and its value.
#[derive(Clone)]
pub(crate) struct Stored {
    pub key: String,
    pub value: Vec<u8>,
    pub provider: Provider,
    pub plaintext: Vec<u8>,
}

impl Stored {
    pub(crate) fn new(
        key: String,
        provider: Provider,
        plaintext: Vec<u8>,
        bytes: &mut Bytes,
    ) -> Self {
        let value = provider.seal(&key, &plaintext, bytes);
        Self { key, value, provider, plaintext }
    }
}

/// The prefix of the keys of [`many`].
pub(crate) const MANY_PREFIX: &str = "/registry/secrets/many/";

/// One value of each provider, of k3s' key names and of identity, with awkward last bytes.
pub(crate) fn of_every_provider() -> Vec<Stored> {
    let mut bytes = Bytes(1);
    let table: [(&str, Provider, usize, &[u8]); 11] = [
        ("aescbc", Provider::AesCbc("key1"), 70, b""),
        ("aescbc-k3s", Provider::AesCbc(K3S), 140, b""),
        ("aesgcm", Provider::AesGcm, 70, b""),
        ("aesgcm-cr", Provider::AesGcm, 62, b"\r"),
        ("aesgcm-crlf", Provider::AesGcm, 62, b"\r\n"),
        ("aesgcm-lf", Provider::AesGcm, 62, b"\n"),
        ("aesgcm-nul", Provider::AesGcm, 62, b"\0"),
        ("kms-v1", Provider::KmsV1, 70, b""),
        ("kms-v2", Provider::KmsV2, 70, b""),
        ("large", Provider::AesGcm, 300_000, b""),
        ("secretbox", Provider::Secretbox, 80, b""),
    ];
    let key = |name: &str| format!("/registry/secrets/default/{name}");
    let mut values: Vec<Stored> = table
        .into_iter()
        .map(|(name, provider, len, end)| {
            let (key, plaintext) = (key(name), protobuf(&bytes.take(len)));
            let value = provider.seal_ending(&key, &plaintext, end, &mut bytes);
            Stored { key, value, provider, plaintext }
        })
        .collect();
    let json = [json(&bytes.take(20)), b"\n".to_vec()].concat();
    let protobuf = protobuf(&bytes.take(300));
    for (name, plaintext) in [("identity-json", json), ("identity-protobuf", protobuf)] {
        values.push(Stored::new(key(name), Provider::Identity, plaintext, &mut bytes));
    }
    values.sort_by(|a, b| a.key.cmp(&b.key));
    values
}

/// So many values, of all providers in turn.
pub(crate) fn many(count: usize) -> Vec<Stored> {
    let mut bytes = Bytes(2);
    let one = |index: usize| {
        let content = bytes.take(60 + index % 16 * 16);
        let (provider, plaintext) = match index % 7 {
            0 => (Provider::AesCbc("key1"), protobuf(&content)),
            1 => (Provider::AesGcm, protobuf(&content)),
            2 => (Provider::Secretbox, protobuf(&content)),
            3 => (Provider::KmsV1, protobuf(&content)),
            4 => (Provider::KmsV2, protobuf(&content)),
            5 => (Provider::Identity, protobuf(&content)),
            _ => (Provider::Identity, json(&content)),
        };
        Stored::new(format!("{MANY_PREFIX}{index:04}"), provider, plaintext, &mut bytes)
    };
    (0..count).map(one).collect()
}

/// The last value that is put. A watch that has printed it has printed everything before it.
pub(crate) fn last() -> Stored {
    let key = "/registry/secrets/zzz/last".to_owned();
    Stored::new(key, Provider::AesGcm, b"the very last of all".to_vec(), &mut Bytes(3))
}

/// A Secret: `"k8s\0" ‖ Unknown`, with a random `raw`.
fn protobuf(raw: &[u8]) -> Vec<u8> {
    let mut len = raw.len();
    let mut object = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12".to_vec();
    while len > 0x7f {
        object.push(len as u8 | 0x80);
        len >>= 7;
    }
    object.push(len as u8);
    object.extend_from_slice(raw);
    object.extend_from_slice(b"\x1a\0\"\0");
    object
}

fn json(data: &[u8]) -> Vec<u8> {
    let text: String = data.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("{{\"apiVersion\":\"stable.example.com/v1\",\"kind\":\"CronTab\",\"spec\":\"{text}\"}}")
        .into()
}

/// Bytes that look random and are always the same: in plain output, a random value could look like two once in millions of runs.
pub(crate) struct Bytes(u64);

impl Bytes {
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next()).take(len).collect()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next())
    }

    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 56) as u8
    }
}
