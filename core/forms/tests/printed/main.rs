//! Values that were printed in every form are read back.

mod etcdctl;
mod gate;
mod pasted;
mod pieces;
mod printers;
mod property;
mod tools;

use dekker_forms::{Content, FaultKind, Form, Limits, read_all};
use printers::digits::{self, wrapped};
use printers::dumps::hexdump_c;
use printers::{PRINTERS, Pair};

fn pairs() -> Vec<Pair> {
    let encrypted = |name: &str, len: u8| {
        let payload = (0..len).map(|byte| byte.wrapping_mul(73).wrapping_add(200)).collect();
        [format!("k8s:enc:aesgcm:v1:{name}:").into_bytes(), payload].concat()
    };
    let value = |value: &[u8]| value.to_vec();
    [
        ("/registry/secrets/default/token", encrypted("key1", 120)),
        ("/registry/secrets/default/other", encrypted("aesgcmkey-2026-03-09T09:46:54+01:00", 57)),
        (
            "/registry/configmaps/kube-system/a-rather-long-name-for-a-config-map",
            value(b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x05\n\x03abc\x1a\0\"\0"),
        ),
        (
            "/registry/stable.example.com/crontabs/default/a",
            value(b"{\"apiVersion\":\"stable.example.com/v1\",\"kind\":\"CronTab\"}\n"),
        ),
        ("/registry/secrets/default/last", encrypted("key2", 200)),
    ]
    .into_iter()
    .zip(5..)
    .map(|((key, value), revision)| Pair { key: key.into(), value, revision })
    .collect()
}

#[test]
fn every_form_is_read_back() {
    let mut wrong = Vec::new();
    for printer in PRINTERS {
        let pairs = if printer.many { pairs() } else { pairs()[..1].to_vec() };
        let printed = (printer.print)(&pairs);
        let items = read_all(&printed, Limits::default());
        let right = items.len() == pairs.len()
            && items.iter().zip(&pairs).all(|(item, pair)| {
                item.as_ref().is_ok_and(|entry| entry.readings().any(|bytes| bytes == pair.value))
            })
            && items.iter().flatten().zip(&pairs).all(|(entry, pair)| {
                entry.key.as_deref() == printer.keeps.key.then_some(pair.key.as_bytes())
                    && entry.revision == printer.keeps.revision.then_some(pair.revision)
            });
        if !right {
            let head: String = String::from_utf8_lossy(&printed).chars().take(200).collect();
            wrong.push(format!("{}: {items:#?}\n{head}", printer.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inputs_without_a_value_are_faults() {
    for (input, kind) in [
        ("", FaultKind::Empty),
        ("  \n\r\n\t", FaultKind::Empty),
        ("{\"header\":{\"revision\":3}}", FaultKind::NoValues),
        ("{\"header\":{\"revision\":3},\"count\":0}\n{\"header\":{}}", FaultKind::NoValues),
        ("null\n", FaultKind::Unrecognized),
        ("[]", FaultKind::NoValues),
        (
            "{\"header\":{},\"kvs\":[{\"key\":\"L3JlZ2lzdHJ5L3g=\",\"mod_revision\":3}]}",
            FaultKind::NoValue,
        ),
        (
            "\"ClusterID\" : 1\n\"MemberID\" : 2\n\"Revision\" : 3\n\"RaftTerm\" : 2\n\"More\" : false\n\"Count\" : 0\n",
            FaultKind::NoValues,
        ),
        ("/registry/secrets/a/b\n", FaultKind::NoValue),
        ("DELETE\n/registry/secrets/a/b\n\n", FaultKind::NoValues),
        ("hello, world\n", FaultKind::Unrecognized),
        ("deadbeefdeadbeefdeadbeef", FaultKind::Unrecognized),
        ("bm90IGEgc3RvcmVkIHZhbHVl", FaultKind::Unrecognized),
        ("k8s:e", FaultKind::CutShort),
        ("Error: context deadline exceeded\n", FaultKind::EtcdctlError),
        (
            "{\"level\":\"warn\",\"ts\":\"2026-01-01\",\"msg\":\"retrying of unary invoker failed\"}\nError: context deadline exceeded",
            FaultKind::EtcdctlError,
        ),
        (
            "{\"level\":\"warn\",\"msg\":\"retrying of unary invoker failed\"}\n",
            FaultKind::EtcdctlError,
        ),
        (
            "k8s:enc:aesgcm:v1:key1:M-`PM-&M-^\\^OEM-3(M-^JM-^Ob'M-CM-^AM-^[M-dM-2M-W",
            FaultKind::PrintedAsText,
        ),
        ("apiVersion: v1\nkind: Secret\ndata:\n  token: YWJj\n", FaultKind::Kubernetes),
        (
            "apiVersion: v1\nkind: Secret\ndata:\n  token: azhzOmVuYzphZXNnY20=\n",
            FaultKind::KubernetesData,
        ),
        (
            "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n",
            FaultKind::Configuration,
        ),
        (
            "{\"kind\":\"EncryptionConfiguration\",\"apiVersion\":\"apiserver.config.k8s.io/v1\"}",
            FaultKind::Configuration,
        ),
        ("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[]}", FaultKind::Kubernetes),
        (
            "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"x\":\"azhzOmVuYzphZXNnY20=\"}}",
            FaultKind::KubernetesData,
        ),
        (
            "{\"apiVersion\":\"v1\",\"items\":[{\"data\":{\"x\":\"azhzOmVuYzphZXNnY20=\"}}],\"kind\":\"List\"}",
            FaultKind::KubernetesData,
        ),
        (
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"x\":\"\\u006b8s:enc:\"}}",
            FaultKind::KubernetesData,
        ),
        ("\"k8s:enc:aesgcm:v1:key1:abc\"", FaultKind::PrintedAsText),
        (
            "{\"key\":\"/registry/secrets/a/b\",\"value\":\"k8s:enc:aesgcm:v1:key1:abc\"}",
            FaultKind::PrintedAsText,
        ),
        (
            "00000010  6b 38 73 3a 65 6e 63 3a  61 65 73 67 63 6d 3a 76\n",
            FaultKind::Gap { expected: 0 },
        ),
        ("{\"header\":{},\"kvs\":[{\"key\":\"L3JlZ2lz", FaultKind::CutShort),
        ("{\"header\":{},\"kvs\":[{\"key\":\"L3JlZ2lz\r\n\n", FaultKind::CutShort),
        ("{\"header\":\"a\nb\"}", FaultKind::Syntax("a line end within a string or word of JSON")),
        ("{\"header\":{},\"header\":1,,}", FaultKind::Syntax("expected a name in JSON")),
    ] {
        let items = read_all(input.as_bytes(), Limits::default());
        let [Err(fault)] = items.as_slice() else { panic!("{input}: {items:?}") };
        assert_eq!(fault.kind, kind, "{input}: {fault}");
    }
}

#[test]
fn what_stands_around_an_output_is_skipped() {
    let json = PRINTERS.iter().find(|printer| printer.name == "get -w json").unwrap();
    let printed = String::from_utf8((json.print)(&pairs())).unwrap();
    for (before, after) in [
        ("{\"level\":\"warn\",\"msg\":\"retrying of unary invoker failed\"}\n", ""),
        ("Defaulted container \"etcd\" out of: etcd, wait (init)\n", ""),
        ("[root@node ~]# etcdctl get /registry --prefix -w json\n", "[root@node ~]# "),
        ("```json\n", "```\n\n"),
    ] {
        let items = read_all(format!("{before}{printed}{after}").as_bytes(), Limits::default());
        assert_eq!(items.iter().flatten().count(), pairs().len(), "{before}: {items:?}");
        assert!(items.iter().all(Result::is_ok), "{before}: {items:?}");
    }
    let items = read_all(format!("{printed}and more").as_bytes(), Limits::default());
    assert!(items.last().unwrap().as_ref().is_err_and(|fault| fault.kind == FaultKind::Trailing));
}

/// A terminal (`kubectl exec -t`) turns each line end into a carriage return and a line end.
#[test]
fn carriage_returns_of_a_terminal_are_undone() {
    let value = b"k8s:enc:aesgcm:v1:key1:\n\x80\r\xff\n\n\xfe123".to_vec();
    let pair = |key: &str| Pair { key: key.into(), value: value.clone(), revision: 1 };
    let pairs = [pair("/registry/secrets/a/b"), pair("/registry/secrets/a/c")];
    let get = PRINTERS.iter().find(|printer| printer.name == "get").unwrap();
    let mut seen = Vec::new();
    for byte in (get.print)(&pairs) {
        if byte == b'\n' {
            seen.push(b'\r');
        }
        seen.push(byte);
    }
    let items = read_all(&seen, Limits::default());
    assert_eq!(items.len(), 2, "{items:?}");
    for (item, pair) in items.into_iter().zip(&pairs) {
        let entry = item.unwrap();
        assert_eq!(entry.bytes, value);
        assert_eq!(entry.key.as_deref(), Some(pair.key.as_bytes()));
        assert!(entry.crlf_undone);
    }
}

#[test]
fn places_are_those_of_the_key() {
    let places = |name: &str| -> Vec<(u64, u64)> {
        let printer = PRINTERS.iter().find(|printer| printer.name == name).unwrap();
        let items = read_all(&(printer.print)(&pairs()), Limits::default());
        items.iter().flatten().map(|entry| (entry.place.line, entry.place.offset)).collect()
    };
    let lines = |name| places(name).iter().map(|(line, _)| *line).collect::<Vec<_>>();
    assert_eq!(lines("jq -r .kvs[].value"), [1, 2, 3, 4, 5]);
    assert_eq!(lines("jq -r '.kvs[] | .key, .value'"), [1, 3, 5, 7, 9]);
    assert_eq!(lines("get -w fields"), [5, 11, 17, 23, 29]);
    assert_eq!(lines("CSV"), [2, 3, 4, 5, 6]);
    let mut before = 0;
    let mut dump = Vec::new();
    for pair in pairs() {
        dump.push(before / 16 + 1);
        before += (pair.key.len() + pair.value.len() + 2) as u64;
    }
    assert_eq!(lines("get | hexdump -C"), dump);
    // Far behind the bytes by which the form is chosen.
    let many: Vec<Pair> = (0..400).flat_map(|_| pairs()).collect();
    let printed = |name: &str| {
        let printer = PRINTERS.iter().find(|printer| printer.name == name).unwrap();
        let items = read_all(&(printer.print)(&many), Limits::default());
        items.iter().flatten().map(|entry| entry.place.line).collect::<Vec<_>>()
    };
    let mut before = 0;
    let begin = |pair: &Pair| {
        let line = before / 16 + 1;
        before += (pair.key.len() + pair.value.len() + 2) as u64;
        line
    };
    assert_eq!(printed("get | hexdump -C"), many.iter().map(begin).collect::<Vec<_>>());
    assert_eq!(printed("jq -r .kvs[].value"), (1..=2000).collect::<Vec<_>>());
    let mut offset = 0;
    for (pair, (_, found)) in pairs().iter().zip(places("get")) {
        assert_eq!(found, offset);
        offset += (pair.key.len() + pair.value.len() + 2) as u64;
    }
}

/// A line that is not recognized may be another value. It is never added to the value before it.
#[test]
fn values_are_not_joined() {
    let encodings: [fn(&[u8]) -> String; 2] = [digits::base64, digits::hex];
    // 57 bytes of base64 and 36 and 38 of hex have the widths to which databases wrap.
    for (encoded, len) in
        encodings.into_iter().flat_map(|encoding| [40, 34, 13, 15].map(|len| (encoding, len)))
    {
        let value = [b"k8s:enc:aesgcm:v1:key1:".to_vec(), vec![0xa7; len]].concat();
        // A line of another width than tools wrap to is never continued.
        if len == 40 {
            let other = encoded(b"{\"spec\":1}\n\n");
            for input in [
                format!("{}\n{other}\n", encoded(&value)),
                format!(" value\n-------\n {}\n {other}\n(2 rows)\n", encoded(&value)),
            ] {
                for entry in read_all(input.as_bytes(), Limits::default()).iter().flatten() {
                    assert_eq!(entry.bytes, value, "{input}");
                }
            }
        }
        let table = format!(" value\n-------\n {0}\n {0}\n(2 rows)\n", encoded(&value));
        let items = read_all(table.as_bytes(), Limits::default());
        assert_eq!(items.iter().flatten().count(), 2, "{items:?}");
    }
}

#[test]
fn forms_may_be_inside_each_other_three_deep() {
    let pair = &pairs()[..1];
    let printer = |name: &str| PRINTERS.iter().find(|printer| printer.name == name).unwrap();
    let json = (printer("get -w json").print)(pair);
    let base64 = |bytes: &[u8]| wrapped(&digits::base64(bytes), 76);
    let dump = |bytes: &[u8]| hexdump_c(bytes).into_bytes();
    let utf16 = |bytes: &[u8]| bytes.iter().flat_map(|byte| [*byte, 0]).collect::<Vec<u8>>();
    for (input, within) in [
        (base64(&json), &[Form::Base64][..]),
        (dump(&base64(&json)), &[Form::HexdumpC, Form::Base64]),
        (utf16(&dump(&base64(&json))), &[Form::Utf16, Form::HexdumpC, Form::Base64]),
        (base64(&base64(&utf16(&json))), &[Form::Base64, Form::Base64, Form::Utf16]),
    ] {
        let items = read_all(&input, Limits::default());
        let [Ok(entry)] = items.as_slice() else { panic!("{within:?}: {items:?}") };
        assert_eq!((&*entry.within, entry.form), (within, Form::EtcdctlJson));
        assert_eq!(entry.bytes, pair[0].value);
        // The pair begins after the header, in the second line of base64 at the earliest.
        assert!(entry.place.line > 1 || within.len() > 1, "{within:?}: {entry:?}");
    }
    let items = read_all(&base64(&utf16(&dump(&base64(&json)))), Limits::default());
    assert!(items.iter().all(Result::is_err), "{items:?}");
}

#[test]
fn nesting_has_a_limit() {
    for (depth, kind) in [(128, FaultKind::CutShort), (129, FaultKind::TooDeep)] {
        for bracket in ["[", "{\"a\":"] {
            let items = read_all(bracket.repeat(depth).as_bytes(), Limits::default());
            let [Err(fault)] = items.as_slice() else { panic!("{bracket}: {items:?}") };
            assert_eq!(fault.kind, kind, "{bracket} {depth}");
        }
    }
}

#[test]
fn repetition_has_a_limit() {
    let dump = |offset: &str| {
        let line = "6b 38 73 3a 65 6e 63 3a  61 65 73 67 63 6d 3a 76";
        let other = "a7 ".repeat(16);
        let text = format!("00000000  {line}\n00000010  {other}\n*\n{offset}\n");
        read_all(text.as_bytes(), Limits::default().with_value(1 << 20))
    };
    let items = dump("00001000");
    assert!(matches!(items.as_slice(), [Ok(entry)] if entry.bytes.len() == 4096), "{items:?}");
    for offset in ["00200000", "ffffffffffffffe0"] {
        let items = dump(offset);
        let is_right = |item: &Result<_, dekker_forms::Fault>| {
            item.as_ref().is_err_and(|fault| fault.kind == FaultKind::TooLong { limit: 1 << 20 })
        };
        assert!(items.iter().any(is_right), "{offset}: {items:?}");
    }
}

#[test]
fn limits_hold_in_every_form() {
    let value = [b"k8s:enc:aesgcm:v1:key1:".to_vec(), vec![0xa7; 40_000]].concat();
    let pair = Pair { key: "/registry/secrets/a/b".into(), value, revision: 5 };
    for printer in PRINTERS {
        let printed = (printer.print)(std::slice::from_ref(&pair));
        let items = read_all(&printed, Limits::default());
        assert!(items.len() == 1 && items[0].is_ok(), "{}: {items:?}", printer.name);
        let items = read_all(&printed, Limits::default().with_value(10_000));
        let is_fault = items.iter().any(|item| {
            item.as_ref().is_err_and(|fault| fault.kind == FaultKind::TooLong { limit: 10_000 })
        });
        assert!(is_fault && items.iter().all(Result::is_err), "{}: {items:?}", printer.name);
    }
}

#[test]
fn hostile_inputs_take_linear_time_and_no_stack() {
    let big = 1 << 20;
    let dump = |first: &str| {
        let mut text = String::from("00000000  6b 38 73 3a 65 6e 63 3a  61 65 73 67 63 6d 3a 76\n");
        text.push_str(first);
        text
    };
    for (what, input) in [
        ("brackets", "[".repeat(big)),
        ("objects", "{\"a\":".repeat(big / 4)),
        ("line ends", format!("/registry/x/y\nk8s:enc:{}", "\n".repeat(big))),
        ("slashes", format!("/registry/x/y\nk8s:enc:{}", "\n/".repeat(big))),
        ("roots", format!("/registry/x/y\nk8s:enc:{}", "\n/registry/".repeat(big / 8))),
        ("words", format!("PUT\n/registry/x/y\nk8s:enc:{}", "\nPUT".repeat(big / 4))),
        ("events", "PUT\n".repeat(big / 4)),
        ("values", "k8s:enc:\n".repeat(big / 8)),
        ("keys", "/registry/a/b\n".repeat(big / 8)),
        ("repetition without end", dump("*\nfffffffffffffff0\n")),
        ("repetition up to no line", dump("*\nffffffffffffffff\n")),
        ("repetitions", dump(&"*\n7fffff0\n".repeat(100))),
        ("base64 lines", "azhzOmVuYzph\n".repeat(big / 16)),
        ("rows", "1|/registry/a/b|\\x6b38733a656e633a61657367\n".repeat(big / 32)),
        ("quotes", "'".repeat(big)),
        ("row of quotes", format!("1|/registry/a/b|{}", "'|".repeat(big))),
        ("escapes", format!("\"{}", "\\u006b".repeat(big / 8))),
        ("fields", "\"Key\" : \"a\"\n".repeat(big / 8)),
        ("protobuf", "\n\x02\x18\x01".repeat(big / 4)),
        ("a long number", format!("{{\"header\":{}", "1".repeat(big))),
        ("spaces", " ".repeat(big)),
        ("prompts", "$ etcdctl\n".repeat(big / 8)),
    ] {
        let before = std::time::Instant::now();
        let items = read_all(input.as_bytes(), Limits::default());
        assert!(items.iter().flatten().all(|entry| entry.content == Content::Encrypted), "{what}");
        // Without optimization, a megabyte takes a fraction of a second.
        assert!(before.elapsed().as_secs() < 20, "{what}: {:?}", before.elapsed());
    }
}
