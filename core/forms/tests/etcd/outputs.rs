//! Every output of etcdctl and of the gateway, and what is in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::sealed::Provider;
use super::server::Server;
use super::values::{self, MANY_PREFIX, Stored};

/// What a command printed, and what a reader must find in it.
pub(crate) struct Output {
    pub command: String,
    pub bytes: Vec<u8>,
    /// The values in their order. If there are none, a reader must find faults and nothing else.
    pub pairs: Vec<Pair>,
    pub keeps_key: bool,
    pub keeps_revision: bool,
}

#[derive(Clone)]
pub(crate) struct Pair {
    pub key: String,
    pub value: Vec<u8>,
    pub provider: Provider,
    pub plaintext: Vec<u8>,
    pub revision: u64,
}

impl Pair {
    fn new(stored: &Stored, revision: u64) -> Self {
        let Stored { key, value, provider, plaintext } = stored.clone();
        Self { key, value, provider, plaintext, revision }
    }
}

/// An output format: its options, whether it keeps the key, whether it keeps the revision.
type Format = (&'static [&'static str], bool, bool);

const GET: &[Format] = &[
    (&[], true, false),
    (&["-w", "simple"], true, false),
    (&["--print-value-only"], false, false),
    (&["-w", "json"], true, true),
    (&["-w", "json", "--hex"], true, true),
    (&["-w", "fields"], true, true),
    (&["-w", "protobuf"], true, true),
    (&["--hex"], true, false),
    (&["--hex", "--print-value-only"], false, false),
];

/// The options of a watch, whether it keeps the revision, and how the last event looks at its end.
type Watch = (&'static [&'static str], bool, fn(&Stored) -> [Vec<u8>; 2]);

const WATCH: &[Watch] = &[
    (&[], false, |last| [last.key.clone().into(), [&last.value[..], b"\n"].concat()]),
    (&["-w", "json"], true, |last| [STANDARD.encode(&last.key).into(), b"}\n".into()]),
    (&["-w", "fields"], true, |last| [format!("{:?}", last.key).into(), b"\"Lease\" : 0\n".into()]),
    (&["-w", "protobuf"], true, |last| [last.key.clone().into(), last.value.clone()]),
    (&["--hex"], false, |last| [escaped(last.key.as_bytes()), escaped(&last.value)]),
];

pub(crate) fn all(server: &Server, stored: &[Stored], revisions: &[u64]) -> Vec<Output> {
    let pairs: Vec<Pair> = stored
        .iter()
        .zip(revisions)
        .map(|(stored, revision)| Pair::new(stored, *revision))
        .collect();
    let many: Vec<Pair> =
        pairs.iter().filter(|pair| pair.key.starts_with(MANY_PREFIX)).cloned().collect();
    let mut outputs = Vec::new();
    for (options, keeps_key, keeps_revision) in GET {
        let mut get = |arguments: &[&str], pairs: Vec<Pair>| {
            let arguments = [&["get"], arguments, *options].concat();
            outputs.push(Output {
                command: format!("etcdctl {}", arguments.join(" ")),
                bytes: server.etcdctl(&arguments, b""),
                pairs,
                keeps_key: *keeps_key,
                keeps_revision: *keeps_revision,
            });
        };
        for pair in pairs.iter().filter(|pair| !pair.key.starts_with(MANY_PREFIX)) {
            get(&[&pair.key], vec![pair.clone()]);
        }
        get(&["--prefix", MANY_PREFIX], many.clone());
        get(&["--prefix", "/registry/"], pairs.clone());
        get(&["/registry/none"], Vec::new());
        if *keeps_key {
            get(&["--prefix", MANY_PREFIX, "--keys-only"], Vec::new());
        }
    }
    outputs.extend(transactions(server, &pairs));
    outputs.extend(gateway(server, &pairs));
    outputs.extend(watches(server, &pairs));
    outputs
}

fn transactions(server: &Server, pairs: &[Pair]) -> Vec<Output> {
    let pairs: Vec<Pair> = pairs.iter().take(3).cloned().collect();
    let gets: String = pairs.iter().map(|pair| format!("get {}\n", pair.key)).collect();
    ["simple", "json", "fields", "protobuf"]
        .map(|format| Output {
            command: format!("etcdctl txn -w {format}"),
            bytes: server.etcdctl(&["txn", "-w", format], format!("\n{gets}\n\n").as_bytes()),
            pairs: pairs.clone(),
            keeps_key: true,
            keeps_revision: format != "simple",
        })
        .into()
}

fn gateway(server: &Server, pairs: &[Pair]) -> [Output; 2] {
    let ask = |key: &str, end: &str, pairs: &[Pair]| {
        let (key, end) = (STANDARD.encode(key), STANDARD.encode(end));
        let body = format!("{{\"key\":\"{key}\",\"range_end\":\"{end}\"}}");
        Output {
            command: format!("POST /v3/kv/range {body}"),
            bytes: server.gateway("/v3/kv/range", &body),
            pairs: pairs.to_vec(),
            keeps_key: true,
            keeps_revision: true,
        }
    };
    [ask(&pairs[0].key, "", &pairs[..1]), ask("/registry/", "/registry0", pairs)]
}

/// What watches print of everything that was put so far, of a deletion, and of one more value.
fn watches(server: &Server, pairs: &[Pair]) -> Vec<Output> {
    // A value that is not bound to its key.
    let Pair { value, provider, plaintext, .. } = pairs[0].clone();
    let gone = Stored { key: "/registry/secrets/gone/gone".into(), value, provider, plaintext };
    let last = values::last();
    let revision = server.put_each(std::slice::from_ref(&gone))[0];
    server.etcdctl(&["del", &gone.key], b"");
    server.put_each(std::slice::from_ref(&last));
    let gone = Pair::new(&gone, revision);
    let mut watched = pairs.to_vec();
    watched.push(gone.clone());
    let mut with_previous = watched.clone();
    // The deletion shows the value again.
    with_previous.push(gone);
    for all in [&mut watched, &mut with_previous] {
        all.push(Pair::new(&last, revision + 2));
    }
    let mut outputs = Vec::new();
    for (options, keeps_revision, end) in WATCH {
        let [key, end] = end(&last);
        let enough = |printed: &[u8]| {
            printed.trim_ascii_end().ends_with(end.trim_ascii_end())
                && printed.windows(key.len()).any(|at| at == key)
        };
        for (previous, pairs) in [(&[][..], &watched), (&["--prev-kv"], &with_previous)] {
            let options = [*options, previous].concat();
            outputs.push(Output {
                command: format!("etcdctl watch --prefix --rev=1 {}", options.join(" ")),
                bytes: server.watch(&options, &enough),
                pairs: pairs.clone(),
                keeps_key: true,
                keeps_revision: *keeps_revision,
            });
        }
    }
    outputs
}

/// `etcdctl --hex`.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect()
}
