//! JSON, wherever core and dekker-forms parse it: the same verdict, position and texts as serde_json's.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::config::{Config, NamedKey, Provider, check};
use dekker_forms::{Form, Item, Limits, read_all};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Treats any bytes as etcdctl's output, and as a configuration in JSON.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    etcdctl(input);
    if let Ok(text) = str::from_utf8(input)
        && text.trim_start().starts_with('{')
    {
        configuration(text);
    }
}

/// A file that begins with `{` must be JSON; otherwise the error names the position.
fn configuration(text: &str) {
    let report = check(text.as_bytes(), false);
    let syntax = report.faults.first().and_then(|fault| {
        let words = fault.message.strip_prefix("json: ")?;
        let words = words.strip_suffix(" (a file that starts with '{' must be JSON)")?;
        Some((words.to_owned(), fault.position.expect("a place")))
    });
    match (serde_json::from_str::<IgnoredAny>(text), syntax) {
        (Ok(_), None) => {}
        (Err(error), Some((words, at))) => {
            let theirs = error.to_string();
            let theirs = theirs.split(" at line ").next().unwrap_or_default();
            assert_eq!(words, theirs);
            let place = (at.line as usize, at.column as usize);
            assert_eq!(place, (error.line(), error.column().max(1)));
        }
        (theirs, ours) => panic!("serde_json: {theirs:?}, ours: {ours:?}"),
    }
    let (Ok(config), Ok(value)) =
        (Config::load(text.as_bytes(), false), serde_json::from_str::<Value>(text))
    else {
        return;
    };
    for (at, rule) in config.rules.iter().enumerate() {
        for (nth, provider) in rule.providers.iter().enumerate() {
            let theirs = &value["resources"][at]["providers"][nth];
            match provider {
                Provider::Kms(kms) => {
                    same(&kms.name, &theirs["kms"]["name"]);
                    same(&kms.endpoint, &theirs["kms"]["endpoint"]);
                }
                Provider::AesGcm(keys) => names(keys, &theirs["aesgcm"]),
                Provider::AesCbc(keys) => names(keys, &theirs["aescbc"]),
                Provider::Secretbox(keys) => names(keys, &theirs["secretbox"]),
                Provider::Identity => {}
            }
        }
    }
}

fn names(keys: &[NamedKey], theirs: &Value) {
    for (at, key) in keys.iter().enumerate() {
        same(&key.name, &theirs["keys"][at]["name"]);
    }
}

/// Compares two texts. A field's name may be written in another case; then there is nothing to compare.
fn same(ours: &str, theirs: &Value) {
    if let Some(theirs) = theirs.as_str() {
        assert_eq!(ours, theirs, "serde_json decodes another text");
    }
}

/// Checks that no value in etcdctl's output is lost: dekker-forms reads what serde_json reads, or reports a fault.
fn etcdctl(input: &[u8]) {
    let Some(kvs) = kvs(input.trim_ascii()) else {
        return;
    };
    let items = read_all(input, Limits::default());
    // A Kubernetes object that has such members too is a value itself.
    let is_object = |item: &Item| item.as_ref().is_ok_and(|entry| entry.form == Form::Raw);
    if items.iter().any(|item| item.is_err() || is_object(item)) {
        return;
    }
    let mut entries = items.iter().flatten();
    for (key, value) in kvs {
        let (Ok(key), Ok(stored)) = (STANDARD.decode(key), STANDARD.decode(value)) else {
            continue;
        };
        // Other values may be another encoding of a value.
        if !stored.starts_with(b"k8s:enc:") {
            continue;
        }
        let is_pair = entries.any(|entry| {
            entry.form == Form::EtcdctlJson
                && entry.key.as_ref() == Some(&key)
                && entry.bytes == stored
        });
        assert!(is_pair, "a pair was skipped, changed or moved: {items:?}");
    }
}

/// The names and types of the two relevant members of an object.
trait Names {
    const NAMES: [&str; 2];
    type First: for<'de> Deserialize<'de>;
    type Second: for<'de> Deserialize<'de>;
}

/// The two members as serde_json parses them. Neither may occur twice.
struct Two<N: Names> {
    first: Option<N::First>,
    second: Option<N::Second>,
}

impl<'de, N: Names> Deserialize<'de> for Two<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<N>(PhantomData<N>);
        impl<'de, N: Names> Visitor<'de> for Visit<N> {
            type Value = Two<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Two<N>, A::Error> {
                let [first, second] = N::NAMES;
                let mut two = Two { first: None, second: None };
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == first {
                        two.first.replace(map.next_value()?).is_some()
                    } else if name == second {
                        two.second.replace(map.next_value()?).is_some()
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        false
                    };
                    if twice {
                        return Err(A::Error::custom("it comes twice"));
                    }
                }
                Ok(two)
            }
        }
        deserializer.deserialize_map(Visit(PhantomData))
    }
}

struct Output;
impl Names for Output {
    const NAMES: [&str; 2] = ["header", "kvs"];
    type First = Option<IgnoredAny>;
    type Second = Option<Vec<Two<Pair>>>;
}

struct Pair;
impl Names for Pair {
    const NAMES: [&str; 2] = ["key", "value"];
    type First = String;
    type Second = String;
}

/// Returns the `kvs` of etcdctl's output: keys and values, still in base64.
fn kvs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let output: Two<Output> = serde_json::from_slice(text).ok()?;
    output.first??;
    let pairs = output.second.flatten().unwrap_or_default().into_iter();
    let pair = |pair: Two<Pair>| Some((pair.first?, pair.second.unwrap_or_default()));
    pairs.map(pair).collect()
}

/// Returns both kinds of file, with every kind of value and escape.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"header":{"revision":7},"kvs":[{"key":"L2E=","value":"azhzAA=="},{"key":"L2I="}],"count":2}"#,
        r#"{"header":{},"kvs":null}"#,
        r#"{"header":{},"kvs":[{"key":"é!","value":"x"}]}"#,
        r#"{"header":1,"\u006bvs":[{"\u006bey":"L2E\u003d","value":null}]}"#,
        r#"{"a":[1,-2.5e+10,true,false,null,"\"\\\/\b\f\n\r\t\ud83d\ude00"],"b":{"c":{}}}"#,
        r#"{"a":[1,2"#,
        "{\"a\":\t1,\n \"b\" x}",
        r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":[{"kms":{"apiVersion":"v2","name":"a\u00e9\/\ud83d\ude00","endpoint":"unix:///run/a.sock","timeout":"3s"}},{"aesgcm":{"keys":[{"name":"k\t1","secret":"MDEyMzQ1Njc4OWFiY2RlZg=="}]}},{"identity":{}}]}]}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
