//! JSON of etcdctl, of the gateway and of jq.

use super::digits::base64;
use super::{Pair, joined};

pub(crate) fn kv_json(pair: &Pair) -> String {
    format!(
        r#"{{"key":"{}","create_revision":1,"mod_revision":{},"version":1,"value":"{}"}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

pub(crate) fn sorted_json(pair: &Pair) -> String {
    format!(
        r#"{{"create_revision":1,"key":"{}","mod_revision":{},"value":"{}","version":1}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

pub(crate) fn gateway_json(pair: &Pair) -> String {
    format!(
        r#"{{"key":"{}","create_revision":"1","mod_revision":"{}","version":"1","value":"{}"}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

pub(crate) fn range_json(pairs: &[Pair]) -> String {
    format!(
        r#"{{"header":{{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":1234,"raft_term":2}},"kvs":[{}],"count":{}}}"#,
        joined(pairs, ",", kv_json),
        pairs.len()
    )
}

pub(crate) fn watch_json(pair: &Pair) -> String {
    format!(
        r#"{{"Header":{{"cluster_id":1,"revision":9}},"Events":[{{"kv":{}}},{{"type":1,"kv":{{"key":"{}","mod_revision":10}}}}],"CompactRevision":0,"Canceled":false,"Created":false}}"#,
        kv_json(pair),
        base64(pair.key.as_bytes())
    )
}

/// Indents JSON as jq does. The strings contain neither brackets nor quotes.
pub(crate) fn pretty(json: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    for char in json.chars() {
        match char {
            '"' => in_string = !in_string,
            '{' | '[' if !in_string => {
                depth += 1;
                text.push(char);
                line(&mut text, depth);
                continue;
            }
            '}' | ']' if !in_string => {
                depth -= 1;
                line(&mut text, depth);
            }
            ',' if !in_string => {
                text.push(char);
                line(&mut text, depth);
                continue;
            }
            ':' if !in_string => {
                text.push_str(": ");
                continue;
            }
            _ => {}
        }
        text.push(char);
    }
    text.push('\n');
    text.into_bytes()
}
