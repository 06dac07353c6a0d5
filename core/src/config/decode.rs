//! Decodes the tree into the format's types. Every unknown, duplicate or wrongly typed field is a separate error.

use super::duration;
use super::fault::{Finding, Position, element, field};
use super::field_name::{shown, similar};
use super::raw::{Field, RawConfig, RawKey, RawKeys, RawKms, RawProvider, RawRule};
use super::render::quoted;
use super::tree::{Entry, Node, Value};
use crate::map::Names;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Decodes `root`. Returns `None` if it is not a mapping or not an EncryptionConfiguration; the reason is in `faults`.
pub(super) fn decode(root: &Node, faults: &mut Vec<Finding>) -> Option<RawConfig> {
    let mut decoder = Decoder { faults };
    let fields = decoder.fields(root, "", ["apiVersion", "kind", "resources"])?;
    let [api_version, kind, resources] = fields.known;
    let known = decoder.check_kind(api_version, kind, root.at);
    // The fields of another kind would only add noise.
    known.then(|| RawConfig {
        resources: decoder.list(resources, "resources", Decoder::rule),
        at: root.at,
    })
}

struct Decoder<'f> {
    faults: &'f mut Vec<Finding>,
}

/// The fields of one mapping. A null field counts as absent.
struct Fields<'n, const N: usize> {
    known: [Option<&'n Node>; N],
    has_unknown: bool,
}

impl Decoder<'_> {
    fn check_kind(
        &mut self,
        api_version: Option<&Node>,
        kind: Option<&Node>,
        at: Position,
    ) -> bool {
        let api_version = self.text(api_version, "apiVersion");
        let kind = self.text(kind, "kind");
        let mut complete = true;
        for (path, field) in [("apiVersion", &api_version), ("kind", &kind)] {
            match field {
                Field::Given(text, _) if !text.is_empty() => {}
                Field::Bad => complete = false,
                Field::Absent | Field::Given(..) => {
                    complete = false;
                    self.faults.push(Finding::required(
                        path,
                        format!("{path} is missing"),
                        field.place(at),
                    ));
                }
            }
        }
        let (Some((version, version_at)), Some((name, kind_at))) =
            (api_version.text(), kind.text())
        else {
            return false;
        };
        if !complete {
            return false;
        }
        let known = matches!(
            (version, name),
            ("apiserver.config.k8s.io/v1", "EncryptionConfiguration")
                | ("v1" | "/v1", "EncryptionConfig")
        );
        if !known {
            let detail = format!(
                "no kind {} is registered for version {}; expected kind EncryptionConfiguration of apiserver.config.k8s.io/v1",
                quoted(name),
                quoted(version)
            );
            let is_known = match name {
                "EncryptionConfiguration" => true,
                "EncryptionConfig" => version != "apiserver.config.k8s.io/v1",
                _ => false,
            };
            // The version of a known kind is what is wrong.
            let (path, value, at) = if is_known {
                ("apiVersion", version, version_at)
            } else {
                ("kind", name, kind_at)
            };
            self.faults.push(Finding::invalid(path, quoted(value), detail, at));
        }
        known
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<RawRule> {
        let Fields { known: [resources, providers], has_unknown: _ } =
            self.fields(node, path, ["resources", "providers"])?;
        Some(RawRule {
            resources: self.list(resources, &field(path, "resources"), Self::name),
            providers: self.list(providers, &field(path, "providers"), Self::provider),
            at: node.at,
        })
    }

    fn provider(&mut self, node: &Node, path: &str) -> Option<RawProvider> {
        let Fields { known: [aesgcm, aescbc, secretbox, identity, kms], has_unknown } =
            self.fields(node, path, ["aesgcm", "aescbc", "secretbox", "identity", "kms"])?;
        Some(RawProvider {
            kms: self.one(kms, &field(path, "kms"), Self::kms),
            aesgcm: self.one(aesgcm, &field(path, "aesgcm"), Self::keys),
            aescbc: self.one(aescbc, &field(path, "aescbc"), Self::keys),
            secretbox: self.one(secretbox, &field(path, "secretbox"), Self::keys),
            identity: self.one(identity, &field(path, "identity"), |decoder, node, path| {
                decoder.fields(node, path, []).map(|_| ())
            }),
            has_unknown,
        })
    }

    fn keys(&mut self, node: &Node, path: &str) -> Option<RawKeys> {
        let Fields { known: [keys], has_unknown: _ } = self.fields(node, path, ["keys"])?;
        Some(RawKeys { keys: self.list(keys, &field(path, "keys"), Self::key) })
    }

    fn key(&mut self, node: &Node, path: &str) -> Option<RawKey> {
        let Fields { known: [name, secret], has_unknown: _ } =
            self.fields(node, path, ["name", "secret"])?;
        Some(RawKey {
            name: self.text(name, &field(path, "name")),
            secret: self.one(secret, &field(path, "secret"), Self::string),
        })
    }

    fn kms(&mut self, node: &Node, path: &str) -> Option<RawKms> {
        let Fields { known: [api_version, name, cache_size, endpoint, timeout], has_unknown: _ } =
            self.fields(node, path, ["apiVersion", "name", "cachesize", "endpoint", "timeout"])?;
        Some(RawKms {
            api_version: self.text(api_version, &field(path, "apiVersion")),
            name: self.text(name, &field(path, "name")),
            cache_size: self.one(cache_size, &field(path, "cachesize"), Self::int32),
            endpoint: self.text(endpoint, &field(path, "endpoint")),
            timeout: self.one(timeout, &field(path, "timeout"), Self::duration),
        })
    }

    fn one<T>(
        &mut self,
        node: Option<&Node>,
        path: &str,
        decode: impl FnOnce(&mut Self, &Node, &str) -> Option<T>,
    ) -> Field<T> {
        let Some(node) = node else {
            return Field::Absent;
        };
        decode(self, node, path).map_or(Field::Bad, |value| Field::Given(value, node.at))
    }

    /// Decodes a list. A null element is Go's zero value: an empty string, or a mapping without fields.
    fn list<T>(
        &mut self,
        node: Option<&Node>,
        path: &str,
        decode: impl Fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> Field<Vec<Field<T>>> {
        let Some(node) = node else {
            return Field::Absent;
        };
        let Value::List(items) = &node.value else {
            return self.wrong(node, path, "a list");
        };
        let items = items.iter().enumerate();
        let items =
            items.map(|(i, item)| self.one(Some(item), &element(path, i), &decode)).collect();
        Field::Given(items, node.at)
    }

    fn text(&mut self, node: Option<&Node>, path: &str) -> Field<String> {
        self.one(node, path, |decoder, node, path| {
            decoder.string(node, path).map(|text| (*text).clone())
        })
    }

    fn name(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Null => Some(String::new()),
            _ => self.string(node, path).map(|text| (*text).clone()),
        }
    }

    fn string(&mut self, node: &Node, path: &str) -> Option<Zeroizing<String>> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Bool | Value::Number(_) => {
                let found = what(node);
                let message = format!("expected a string, found {found}: quote it");
                self.faults.push(Finding::new(path, message, node.at));
                None
            }
            Value::Null | Value::List(_) | Value::Mapping(_) => {
                self.wrong(node, path, "a string").given_value()
            }
        }
    }

    fn int32(&mut self, node: &Node, path: &str) -> Option<i32> {
        match &node.value {
            Value::Number(Some(n)) if i32::try_from(*n).is_ok() => i32::try_from(*n).ok(),
            Value::Number(_) => {
                self.faults.push(Finding::new(path, "expected a whole number of 32 bits", node.at));
                None
            }
            _ => self.wrong(node, path, "a whole number").given_value(),
        }
    }

    fn duration(&mut self, node: &Node, path: &str) -> Option<i64> {
        let Value::String(text) = &node.value else {
            return self.wrong(node, path, "a duration such as \"3s\"").given_value();
        };
        duration::parse(text)
            .map_err(|error| self.faults.push(Finding::invalid(path, quoted(text), error, node.at)))
            .ok()
    }

    fn wrong<T>(&mut self, node: &Node, path: &str, expected: &str) -> Field<T> {
        let message = format!("expected {expected}, found {}", what(node));
        self.faults.push(Finding::new(path, message, node.at));
        Field::Bad
    }

    /// Returns the fields of a mapping; of duplicates the last, as Go does. Returns `None` if the node is not a mapping.
    fn fields<'n, const N: usize>(
        &mut self,
        node: &'n Node,
        path: &str,
        names: [&str; N],
    ) -> Option<Fields<'n, N>> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            Value::Null => &[],
            Value::Bool | Value::Number(_) | Value::String(_) | Value::List(_) => {
                return self.wrong(node, path, "a mapping").given_value();
            }
        };
        let mut fields = Fields { known: [None; N], has_unknown: false };
        let mut seen = Names::new();
        for Entry { key, at, value } in entries {
            let key = key.as_str();
            if seen.insert(Cow::Borrowed(key), 0).is_some() {
                let message = format!("duplicate field {}", quoted(shown(key)));
                self.faults.push(Finding::new(field(path, shown(key)), message, *at));
            }
            let found =
                names.iter().position(|name| *name == key).and_then(|i| fields.known.get_mut(i));
            match found {
                Some(slot) => *slot = (!matches!(value.value, Value::Null)).then_some(&**value),
                None => {
                    fields.has_unknown = true;
                    let mut message = format!("unknown field {}", quoted(shown(key)));
                    if let Some(name) = names.iter().find(|name| similar(name, key)) {
                        message.push_str(&format!("; did you mean {}?", quoted(name)));
                    }
                    self.faults.push(Finding::new(field(path, shown(key)), message, *at));
                }
            }
        }
        Some(fields)
    }
}

impl<T> Field<T> {
    fn given_value(self) -> Option<T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }
}

fn what(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "null",
        Value::Bool => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Mapping(_) => "a mapping",
    }
}
