//! A document as a small tree with positions, built from the parser's events within budgets.

use super::base64;
use super::fault::{Finding, Position};
use super::scalar::{self, Kind};
use crate::map::SortedMap;
use alloc::borrow::Cow;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use granit_parser::{Event, ScalarStyle, Tag};
use zeroize::Zeroizing;

/// The maximum nesting of lists and mappings. The format itself needs seven levels.
pub(super) const MAX_DEPTH: usize = 64;
/// The maximum number of scalars, lists and mappings, counted after aliases are expanded.
pub(super) const MAX_NODES: usize = 100_000;
/// The maximum total length of all scalars, in bytes, counted after aliases are expanded, so that aliases cannot multiply a long scalar.
pub(super) const MAX_TEXT: usize = 4 << 20;

/// A node. Aliased nodes are shared: each alias counts towards the budgets, but the node is held only once.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Position,
    weight: Weight,
}

/// The content of a node. Scalars are erased when dropped, because any of them may be a secret.
pub(super) enum Value {
    Null,
    Bool,
    Number(Option<i64>),
    String(Zeroizing<String>),
    List(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

/// A key and its value. Merged entries keep their original position.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Rc<Zeroizing<String>>,
    pub(super) at: Position,
    pub(super) value: Rc<Node>,
}

impl Node {
    /// The document of a file that contains only comments, as upstream reads it.
    pub(super) fn null() -> Self {
        let at = Position { line: 1, column: 1 };
        Self { value: Value::Null, at, weight: Weight::default() }
    }
}

#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    text: usize,
    height: usize,
}

/// Builds a tree from a parser's events.
#[derive(Default)]
pub(super) struct Builder {
    /// Whether the document is JSON: then its scalars have JSON's types, and `<<` is an ordinary name.
    json: bool,
    stack: Vec<Frame>,
    /// The nodes of completed anchors.
    anchors: SortedMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

struct Frame {
    anchor: usize,
    at: Position,
    weight: Weight,
    inside: Inside,
}

enum Inside {
    List(Vec<Rc<Node>>),
    Mapping(Vec<Entry>, Pending),
}

enum Pending {
    Key,
    Value(Rc<Zeroizing<String>>, Position),
    Merge(Position),
}

impl Builder {
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// Returns the root, once the document's last event has been processed.
    pub(super) fn finished(&mut self) -> Option<Rc<Node>> {
        self.root.take()
    }

    pub(super) fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let merge = !self.json && is_merge(&text, style, tag.as_deref());
                if merge && let Some(pending) = self.pending_key() {
                    *pending = Pending::Merge(at);
                    return Ok(());
                }
                let weight = Weight { nodes: 1, text: text.len(), height: 0 };
                let value = self.scalar(text, style, tag.as_deref(), at)?;
                let node = Rc::new(Node { value, at, weight });
                self.keep(anchor, &node);
                self.add(node, at)
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, at, Inside::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(anchor, at, Inside::Mapping(Vec::new(), Pending::Key))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(id) => match self.anchors.get(&id).map(Rc::clone) {
                Some(node) => self.add(node, at),
                // The anchor is still open.
                None => Err(Finding::file("yaml: an anchor's value contains itself", Some(at))),
            },
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                Err(Finding::file(
                    "yaml: found incompatible YAML document: only %YAML 1.1 is supported",
                    Some(at),
                ))
            }
            // The structure of the stream. Comments and loose aliases are not enabled.
            _ => Ok(()),
        }
    }

    fn pending_key(&mut self) -> Option<&mut Pending> {
        match &mut self.stack.last_mut()?.inside {
            Inside::Mapping(_, pending @ Pending::Key) => Some(pending),
            Inside::Mapping(..) | Inside::List(_) => None,
        }
    }

    fn keep(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn open(&mut self, anchor: usize, at: Position, inside: Inside) -> Result<(), Finding> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.stack.push(Frame {
            anchor,
            at,
            weight: Weight { nodes: 1, text: 0, height: 1 },
            inside,
        });
        Ok(())
    }

    fn close(&mut self, at: Position) -> Result<(), Finding> {
        let Some(Frame { anchor, at: opened, weight, inside }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Mapping(entries, _) => Value::Mapping(entries),
        };
        let node = Rc::new(Node { value, at: opened, weight });
        self.keep(anchor, &node);
        self.add(node, at)
    }

    /// Adds a finished node to the list or mapping that contains it.
    fn add(&mut self, node: Rc<Node>, at: Position) -> Result<(), Finding> {
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight.nodes = frame.weight.nodes.saturating_add(node.weight.nodes);
        frame.weight.text = frame.weight.text.saturating_add(node.weight.text);
        frame.weight.height = frame.weight.height.max(node.weight.height + 1);
        if frame.weight.nodes > MAX_NODES {
            return Err(Finding::file(
                format!("the file has more than {MAX_NODES} nodes, counting expanded aliases"),
                Some(at),
            ));
        }
        if frame.weight.text > MAX_TEXT {
            return Err(Finding::file(
                format!(
                    "the file has more than {MAX_TEXT} bytes of text, counting expanded aliases"
                ),
                Some(at),
            ));
        }
        if depth + node.weight.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        match &mut frame.inside {
            Inside::List(items) => items.push(node),
            Inside::Mapping(entries, pending) => match core::mem::replace(pending, Pending::Key) {
                Pending::Key => *pending = Pending::Value(key_of(&node, at)?, at),
                Pending::Value(key, at) => entries.push(Entry { key, at, value: node }),
                Pending::Merge(at) => merge(entries, &node, at)?,
            },
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<Value, Finding> {
        let text = Zeroizing::new(text.into_owned());
        let plain = style == ScalarStyle::Plain;
        let kind = match tag {
            None if !plain => Kind::String,
            None if self.json => scalar::resolve_json(&text),
            None => scalar::resolve(&text),
            Some(tag) => match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
                Some("binary") => {
                    return base64::decode(&text)
                        .and_then(|bytes| {
                            core::str::from_utf8(&bytes)
                                .ok()
                                .map(|text| Value::String(Zeroizing::new(text.into())))
                        })
                        .ok_or_else(|| {
                            Finding::file(
                                "yaml: !!binary value contains invalid base64 data, or is not UTF-8",
                                Some(at),
                            )
                        });
                }
                Some(name @ ("int" | "float" | "bool" | "null")) => {
                    let message = || format!("yaml: the value does not match its tag !!{name}");
                    scalar::resolve_tagged(name, &text)
                        .ok_or_else(|| Finding::file(message(), Some(at)))?
                }
                // go-yaml treats any other tag as a string's, including a lone `!`.
                Some(_) | None => Kind::String,
            },
        };
        Ok(match kind {
            Kind::Null => Value::Null,
            Kind::Bool(_) => Value::Bool,
            Kind::Number(value) => Value::Number(value),
            Kind::String => Value::String(text),
            Kind::NotFinite => {
                return Err(Finding::file(
                    "yaml: infinity and not-a-number are not supported",
                    Some(at),
                ));
            }
        })
    }
}

fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<"
        && match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() == Some("merge"),
        }
}

/// Returns the text of a mapping's key. Keys that are not strings match no field, so their exact text does not matter.
fn key_of(node: &Node, at: Position) -> Result<Rc<Zeroizing<String>>, Finding> {
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Bool => Zeroizing::new(String::from("a boolean")),
        Value::Number(_) => Zeroizing::new(String::from("a number")),
        Value::Null => return Err(Finding::file("yaml: a key must not be null", Some(at))),
        Value::List(_) | Value::Mapping(_) => {
            return Err(Finding::file("yaml: a key must not be a list or a mapping", Some(at)));
        }
    };
    Ok(Rc::new(text))
}

/// Handles `<<`: adds the entries of one or several mappings. A field that then occurs twice is a duplicate,
/// as in upstream's strict decoding, even where YAML would let one of them win.
fn merge(entries: &mut Vec<Entry>, node: &Node, at: Position) -> Result<(), Finding> {
    let wrong =
        || Finding::file("yaml: map merge requires map or sequence of maps as the value", Some(at));
    match &node.value {
        Value::Mapping(merged) => entries.extend(merged.iter().cloned()),
        Value::List(list) => {
            for item in list {
                let Value::Mapping(merged) = &item.value else {
                    return Err(wrong());
                };
                entries.extend(merged.iter().cloned());
            }
        }
        Value::Null | Value::Bool | Value::Number(_) | Value::String(_) => return Err(wrong()),
    }
    Ok(())
}

pub(super) fn too_deep(at: Position) -> Finding {
    Finding::file(format!("lists and mappings are nested more than {MAX_DEPTH} deep"), Some(at))
}
