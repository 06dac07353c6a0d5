//! Configuration files on every face: the verdict and the error texts of upstream's loader, as recorded in `interop/config/corpus.jsonl`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::config::SocketAddress;
use dekker_core::engine::Options;
use dekker_tests::face::{Finding, Maker};
use dekker_tests::interop::{self, Comparison, on_every_face};
use dekker_tests::sim::START;
use serde::Deserialize;

/// The first line of the corpus.
#[derive(Deserialize)]
struct Head {
    producer: String,
    version: String,
}

/// Every other line of the corpus. The first line describes the fields.
#[derive(Deserialize)]
struct Case {
    desc: String,
    file: Option<String>,
    base64: Option<String>,
    #[serde(default)]
    reload: bool,
    #[serde(default)]
    differs: String,
    #[serde(default)]
    ours: String,
    upstream: Upstream,
}

#[derive(Deserialize)]
struct Upstream {
    accepted: bool,
    #[serde(default)]
    stage: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    addresses: Vec<String>,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        match (&self.file, &self.base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).expect("base64"),
            (None, None) => Vec::new(),
        }
    }
}

fn corpus() -> Vec<Case> {
    let text = interop::text("interop/config/corpus.jsonl");
    let (head, cases) = text.split_once('\n').expect("more than one line");
    let head: Head = serde_json::from_str(head).expect("a head");
    assert!(!head.producer.is_empty() && head.version.starts_with('v'));
    let case = |line| serde_json::from_str(line).expect("a case");
    let cases: Vec<Case> = cases.lines().map(case).collect();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    cases
}

/// Joins several messages as upstream does, each once.
fn joined(messages: impl Iterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for message in messages {
        if !distinct.contains(&message) {
            distinct.push(message);
        }
    }
    match distinct.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Returns Dekker's verdict in the format of upstream's.
fn ours(faults: &[Finding], stage: &str) -> String {
    if faults.is_empty() {
        return "accepted".into();
    }
    // Errors that upstream finds while it builds the transformers have no path.
    let text = |fault: &Finding| match fault.path.is_empty() || stage == "build" {
        true => fault.message.clone(),
        false => fault.to_string(),
    };
    joined(faults.iter().map(text))
}

fn mismatch(case: &Case, faults: &[Finding]) -> Option<String> {
    let upstream = &case.upstream;
    let ours = ours(faults, &upstream.stage);
    let agrees = if !case.differs.is_empty() {
        assert!(!case.ours.is_empty(), "{}: what must ours say?", case.desc);
        ours.starts_with(&case.ours)
    } else if upstream.accepted {
        faults.is_empty()
    } else if matches!(&*upstream.stage, "validate" | "build") {
        ours == upstream.message
    } else {
        !faults.is_empty()
    };
    let upstream = match upstream.accepted {
        true => "accepted",
        false => &upstream.message,
    };
    (!agrees).then(|| format!("{}:\n      ours {ours}\n  upstream {upstream}", case.desc))
}

/// Checks that an engine starts with the file if and only if the check found no error, and that it dials the same addresses as upstream.
fn starts(maker: &dyn Maker, case: &Case, faults: &[Finding]) -> Option<String> {
    let options = Options { reload: case.reload, ..Options::default() };
    let mut face = match maker.create(&case.bytes(), &options, 1, START) {
        Ok(face) => face,
        Err(refused) if faults.is_empty() => {
            return Some(format!("{}: passes the check, and: {refused:?}", case.desc));
        }
        Err(refused) => {
            return (refused != faults).then(|| format!("{}: {refused:?}", case.desc));
        }
    };
    if !faults.is_empty() {
        return Some(format!("{}: starts despite errors: {faults:?}", case.desc));
    }
    let dialled = face.kms_providers().into_iter().map(|provider| match provider.address {
        SocketAddress::Path(path) => path,
        SocketAddress::Abstract(name) => format!("@{name}"),
    });
    // Dekker treats two identical KMS v1 providers as one, with one connection.
    let mut dialled: Vec<String> = dialled.collect();
    dialled.dedup();
    let mut expected = case.upstream.addresses.clone();
    expected.dedup();
    (case.upstream.accepted && dialled != expected).then(|| {
        format!("{}: dials {dialled:?}, upstream {:?}", case.desc, case.upstream.addresses)
    })
}

#[test]
fn configurations_are_judged_as_upstream_judges_them() {
    let corpus = corpus();
    on_every_face("configuration files", |maker| {
        let mut comparison = Comparison::default();
        for case in &corpus {
            let findings = maker.check_config(&case.bytes(), case.reload).into_iter();
            let faults: Vec<Finding> = findings.filter(|finding| finding.is_fault).collect();
            comparison.add(mismatch(case, &faults).or_else(|| starts(maker, case, &faults)));
        }
        comparison
    });
}

#[test]
fn no_refusal_shows_a_secret() {
    // Upstream shows secrets where it prints a whole provider.
    let shown = |text: &str| {
        ["MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"]
            .iter()
            .any(|secret| text.contains(secret))
    };
    let corpus = corpus();
    assert!(corpus.iter().any(|case| shown(&case.upstream.message)));
    on_every_face("refusals without secrets", |maker| {
        let mut comparison = Comparison::default();
        for case in &corpus {
            let findings = maker.check_config(&case.bytes(), case.reload);
            let leak = findings.iter().find(|finding| shown(&finding.to_string()));
            comparison.add(leak.map(|finding| format!("{}: {finding}", case.desc)));
        }
        comparison
    });
}
