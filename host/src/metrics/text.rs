//! Prometheus' text format, version 0.0.4.

use std::collections::HashSet;
use std::fmt::Write;

use crate::model::{MetricFamily, MetricKind, Sample};

/// A text in this format that consists of whole families. Each name occurs once.
pub(super) struct Exposition {
    text: String,
    names: HashSet<String>,
}

impl Exposition {
    /// Starts with the text that prometheus-client wrote.
    pub(super) fn after(registry: &str) -> Self {
        let text = with_go_bounds(registry);
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        Self { text, names }
    }

    /// Adds a family. A family is omitted if it has no samples, if its name is already in use, or if a name is malformed.
    pub(super) fn push(&mut self, family: &MetricFamily) {
        let MetricFamily { name, help, kind, samples } = family;
        let labels = samples.iter().flat_map(|sample| &sample.labels);
        let well_formed =
            is_name(name, true) && labels.into_iter().all(|(label, _)| is_name(label, false));
        if samples.is_empty() || !well_formed || !self.names.insert(name.clone()) {
            return;
        }
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        push_escaped(&mut self.text, help, false);
        let _ = writeln!(self.text, "\n# TYPE {name} {kind}");
        for Sample { labels, value } in samples {
            if kind != "histogram" {
                self.push_sample(name, "", labels, *value);
                continue;
            }
            match labels.iter().find(|(label, _)| label == "le") {
                None => self.push_sample(name, "_sum", labels, *value),
                Some((_, bound)) => {
                    self.push_sample(name, "_bucket", labels, *value);
                    if bound == "+Inf" {
                        let others = labels.iter().filter(|(label, _)| label != "le");
                        self.push_sample(name, "_count", others, *value);
                    }
                }
            }
        }
    }

    fn push_sample<'a>(
        &mut self,
        name: &str,
        suffix: &str,
        labels: impl IntoIterator<Item = &'a (String, String)>,
        value: f64,
    ) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut next = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{next}{label}=\"");
            push_escaped(&mut self.text, value, true);
            self.text.push('"');
            next = ',';
        }
        self.text.push_str(if next == '{' { " " } else { "} " });
        push_value(&mut self.text, value);
        self.text.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Returns whether a name matches `[a-zA-Z_:][a-zA-Z0-9_:]*`. Names of labels may not contain a colon.
fn is_name(name: &str, colon: bool) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':');
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(ok)
}

/// Appends a label value, in which `\`, newline and `"` are escaped, or a help text, in which only the first two are.
fn push_escaped(text: &mut String, value: &str, quote: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quote => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

fn push_value(text: &mut String, value: f64) {
    if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(text, "{value}");
    }
}

/// Rewrites bucket bounds below 0.0001 as Go prints them: `le="5e-06"` instead of prometheus-client's `le="0.000005"`.
///
/// `le` is a label, and different label texts are different series. Dekker's series must be summable with upstream's.
fn with_go_bounds(text: &str) -> String {
    const LE: &str = "{le=\"";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // This text does not occur in label values, because quotes are escaped there.
    while let Some(at) = rest.find(LE) {
        let (before, bound) = rest.split_at(at + LE.len());
        let end = bound.find('"').unwrap_or(bound.len());
        let (bound, after) = bound.split_at(end);
        out.push_str(before);
        match bound.parse::<f64>() {
            Ok(small) if small > 0.0 && small < 1e-4 => {
                let text = format!("{small:e}");
                let (mantissa, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
                let _ = write!(out, "{mantissa}e-{exponent:0>2}");
            }
            _ => out.push_str(bound),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
