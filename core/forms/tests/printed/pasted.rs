//! What people paste and save: parts of an output, with prompts, sentences and punctuation around it, through terminals and other tools.

use dekker_forms::{Content, Entry, FaultKind, Item, Limits, LineEnd, read_all};

use super::pieces::in_pieces;
use super::printers::digits::{base64, hex, wrapped};
use super::printers::dumps::{hexdump_c, text_column, xxd};
use super::printers::{PRINTERS, Pair};

const KEY: &str = "/registry/secrets/default/token";

/// A value with line ends in it.
fn value() -> Vec<u8> {
    let payload: Vec<u8> = (0..97_u8).map(|byte| byte.wrapping_mul(73).wrapping_add(200)).collect();
    [b"k8s:enc:aesgcm:v1:key1:\n", &payload[..50], b"\xff\n\n", &payload[50..]].concat()
}

fn print(name: &str) -> String {
    let pair = Pair { key: KEY.into(), value: value(), revision: 5 };
    let printer = PRINTERS.iter().find(|printer| printer.name == name).unwrap();
    String::from_utf8((printer.print)(&[pair])).unwrap()
}

fn read(input: &[u8]) -> Vec<Item> {
    let items = read_all(input, Limits::default());
    assert_eq!(in_pieces(input, &[7, 1, 300]), items, "{}", String::from_utf8_lossy(input));
    items
}

/// The only item, which must be the value.
fn one(input: &[u8], what: &str) -> Entry {
    let items = read(input);
    let [Ok(entry)] = items.as_slice() else {
        panic!("{what}: {items:?}\n{}", String::from_utf8_lossy(input));
    };
    assert!(entry.readings().any(|bytes| bytes == value()), "{what}: {entry:?}");
    assert_eq!(entry.content, Content::Encrypted, "{what}");
    entry.clone()
}

#[test]
fn prompts_and_sentences_around_a_form_are_skipped() {
    let forms: Vec<String> = [
        "get -w json",
        "get -w json | jq .",
        "get -w fields",
        "get | hexdump -C",
        "xxd -p",
        "jq -r .kvs[].value",
    ]
    .map(print)
    .into();
    for (before, after) in [
        ("/ # etcdctl get x\n", "/ # "),
        ("sh-5.1# etcdctl get x\n", "sh-5.1# "),
        ("bash-5.2$ etcdctl get x\n", "bash-5.2$ exit\n"),
        ("~ $ ETCDCTL_API=3 etcdctl get x\n", "~ $ "),
        (
            "PS C:\\Users\\me> kubectl exec -n kube-system etcd-1 -- etcdctl get x\n",
            "PS C:\\Users\\me> ",
        ),
        ("user@host ~ % etcdctl get x\n", "user@host ~ % "),
        ("cp-1:~ # etcdctl get x\n", "cp-1:~ # "),
        ("C:\\>etcdctl get x\n", "C:\\>"),
        ("mysql> select\n", "mysql>"),
        (
            "ubuntu@cp:~$ sudo etcdctl \\\n  --endpoints=https://127.0.0.1:2379 \\\n  --cacert=/etc/ca.crt \\\n  get x\n",
            "ubuntu@cp:~$ ",
        ),
        ("Here is the output:\n\n", "\n"),
        ("Unable to use a TTY - input is not a terminal or the right kind of file\n", ""),
        ("<pre>\n", "</pre>\n"),
        ("Script started on 2026-03-09 09:46:54+01:00\n", ""),
        ("== the first one\n", ""),
        ("Windows\r\n\r\n", ""),
    ] {
        for form in &forms {
            one(format!("{before}{form}{after}").as_bytes(), before);
        }
    }
}

/// Text in which an encrypted value or a part of one may be is never skipped.
#[test]
fn digits_and_encrypted_values_are_not_sentences() {
    let json = print("get -w json");
    let text = base64(&value());
    for before in [
        "k8s:enc:aesgcm:v1:key1:abc".to_owned(),
        text.get(..76).unwrap().to_owned(),
        text.get(76..).unwrap().to_owned(),
        hex(&value()).get(60..120).unwrap().to_owned(),
        "note: azhzOmVuYzphZXNnY20=".to_owned(),
    ] {
        let items = read(format!("{before}\n{json}").as_bytes());
        assert!(items.iter().any(Result::is_err), "{before}: {items:?}");
    }
    let object = "apiVersion: v1\nkind: ConfigMap\ndata:\n  dump: |\n";
    let dump: String =
        print("get | hexdump -C").lines().map(|line| format!("    {line}\n")).collect();
    let items = read(format!("{object}{dump}").as_bytes());
    let is_right = |item: &Item| {
        item.as_ref().is_err_and(|fault| {
            matches!(fault.kind, FaultKind::KubernetesData | FaultKind::Kubernetes)
        })
    };
    assert!(items.len() == 1 && is_right(&items[0]), "{items:?}");
}

#[test]
fn prompts_after_a_raw_value_do_not_belong_to_it() {
    let (key, value) = (KEY.as_bytes(), value());
    for prompt in ["root@cp1:~# ", "sh-5.1# ", "[root@cp1 ~]# exit\n", "$ etcdctl get y\n"] {
        let plain = [key, b"\n", &value, b"\n", prompt.as_bytes()].concat();
        assert_eq!(one(&plain, prompt).key.as_deref(), Some(key));
        one(&[&value[..], b"\n", prompt.as_bytes()].concat(), prompt);
    }
}

/// `kubectl exec -t … etcdctl get --print-value-only`: nothing but the values shows that carriage returns were added.
#[test]
fn carriage_returns_are_undone_without_keys() {
    let crlf = |bytes: &[u8]| -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
            .copied()
            .collect()
    };
    let line = [&value()[..], b"\n"].concat();
    let entry = one(&crlf(&line), "one value");
    assert!(entry.crlf_undone, "{entry:?}");
    let object = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x05\na\nb\n\x1a\0\"\0\n";
    let items = read(&crlf(&[&line[..], object, &line].concat()));
    let found: Vec<bool> = items
        .iter()
        .zip([&line[..], object, &line])
        .map(|(item, line)| {
            let value = line.strip_suffix(b"\n").unwrap();
            item.as_ref().is_ok_and(|entry| entry.readings().any(|bytes| bytes == value))
        })
        .collect();
    assert_eq!((items.len(), found), (3, vec![true; 3]), "{items:?}");
    // Without line ends in the value, the carriage return may belong to it.
    let plain = b"k8s:enc:aesgcm:v1:key1:\xff\xc0\xa7";
    let items = read(&[&plain[..], b"\r\n"].concat());
    let [Ok(entry)] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!(entry.readings().collect::<Vec<_>>()[0], plain);
    assert!(!entry.crlf_undone);
}

#[test]
fn a_second_line_end_may_have_been_added() {
    let key = KEY.as_bytes();
    for input in [
        [&value()[..], b"\n\n"].concat(),
        [key, b"\n", &value(), b"\n\n"].concat(),
        [key, b"\n", &value(), b"\n\0"].concat(),
        [&value()[..], b"\n\0"].concat(),
    ] {
        let entry = one(&input, "two line ends");
        assert!(matches!(entry.line_end, LineEnd::MaybeAdded { .. }));
    }
}

#[test]
fn joined_values_are_faults() {
    let value = value();
    let other = b"k8s:enc:aescbc:v1:key1:\xff\xc0 and more";
    let plaintext = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\0\x1a\0\"\0";
    // The first value has no padding.
    let padded = [&value[..], &b"!!"[..2 - (value.len() + 2) % 3]].concat();
    for input in [
        [&value[..], other].concat(),
        [KEY.as_bytes(), b"\n", &value, other, b"\n"].concat(),
        [&value[..], b"\n", print("get -w json").as_bytes()].concat(),
        [hex(&value), hex(other)].concat().into(),
        [hex(&value), hex(plaintext)].concat().into(),
        [base64(&padded), base64(other)].concat().into(),
    ] {
        let items = read(&input);
        let kinds: Vec<_> =
            items.iter().map(|item| item.as_ref().err().map(|fault| fault.kind)).collect();
        assert_eq!(kinds, [Some(FaultKind::Joined)], "{}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn plaintext_that_was_taken_for_text_is_a_fault() {
    let object = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x20abcdefghijklmn\xc3\x28\xff\xfe\x80\x81opqrstuvwxyz\x1a\0\"\0";
    let kind = |bytes: &[u8]| {
        let mut items = read(base64(bytes).as_bytes());
        assert_eq!(items.len(), 1);
        items.remove(0).map(|entry| entry.content).map_err(|fault| fault.kind)
    };
    assert_eq!(kind(object), Ok(Content::Protobuf));
    let replaced = String::from_utf8_lossy(object).into_owned();
    assert_eq!(kind(replaced.as_bytes()), Err(FaultKind::Replaced));
    let mangled: String = object.iter().map(|byte| char::from(*byte)).collect();
    assert_eq!(kind(mangled.as_bytes()), Err(FaultKind::Mangled));
}

#[test]
fn punctuation_around_digits_is_removed() {
    let (text, digits) = (base64(&value()), hex(&value()));
    let spaced = |between: &str, before: &str| -> String {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| format!("{before}{pair}")).collect::<Vec<_>>().join(between)
    };
    for input in [
        format!("'{text}'"),
        format!("\"{text}\";"),
        format!("`{text}`"),
        format!("b'{text}'"),
        format!("({text})"),
        format!("[{text}]"),
        format!("<{text}>"),
        format!("\u{201c}{text}\u{201d}"),
        format!("\u{a0}{text}"),
        format!("{text}."),
        format!("{text}\0"),
        format!("{text}\r\n\0"),
        format!("{text}\n\0"),
        format!("{digits}\0"),
        format!("E'\\\\x{digits}'"),
        format!("'0x{digits}'"),
        format!("{{{}}}", spaced(", ", "0x")),
        format!("[{}]", spaced(", ", "0x")),
        format!("[]byte{{{}}}", spaced(", ", "0x")),
        format!("<Buffer {}>", spaced(" ", "")),
        format!("$'{}'", spaced("", "\\x")),
        digits
            .as_bytes()
            .chunks(8)
            .map(|group| String::from_utf8_lossy(group))
            .collect::<Vec<_>>()
            .join(" "),
        format!(
            "-----BEGIN VALUE-----\n{}-----END VALUE-----\n",
            String::from_utf8_lossy(&wrapped(&text, 64))
        ),
        String::from_utf8(wrapped(&format!("\\x{digits}"), 80)).unwrap(),
        text.as_bytes()
            .chunks(76)
            .map(|line| format!("> {}\n", String::from_utf8_lossy(line)))
            .collect(),
        text.as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8_lossy(line))
            .collect::<Vec<_>>()
            .join(" "),
        text.as_bytes()
            .chunks(76)
            .map(|line| format!("{}\\\n", String::from_utf8_lossy(line)))
            .collect(),
    ] {
        one(input.as_bytes(), &input);
    }
    // The rest of a value is missing, or stands where it is not expected.
    for input in [
        format!("{}...", &text[..60]),
        format!("{}\u{2026}{}", &text[..60], &text[100..]),
        format!("    1\t{}\n    2\t{}\n", &text[..76], &text[76..]),
    ] {
        let items = read(input.as_bytes());
        assert!(items.iter().all(Result::is_err), "{input}: {items:?}");
    }
}

#[test]
fn parts_of_json_are_read() {
    let (key, text) = (base64(KEY.as_bytes()), base64(&value()));
    let json = print("get -w json");
    let pair = format!("{{\"key\":\"{key}\",\"mod_revision\":5,\"value\":\"{text}\"}}");
    for (input, keeps_key) in [
        (format!("  \"key\": \"{key}\",\n  \"mod_revision\": 5,\n  \"value\": \"{text}\"\n"), true),
        (format!("      \"value\": \"{text}\",\n"), false),
        (format!("\"value\":\"{text}\"}}\n"), false),
        (format!("\"value\": \"{text}\"\n    }}\n  ],\n"), false),
        (format!("\"key\":\"{key}\",\"value\":\"{text}\",\"lease\":7"), true),
        (format!("{pair},\n"), true),
        (format!("\u{1e}{json}"), true),
        (
            format!(
                "{{\"cluster_id\":1,\"member_id\":2,\"revision\":3,\"raft_term\":2}}\n[{pair}]"
            ),
            true,
        ),
        (format!("{json}\0"), true),
        (json.replace('/', "\\/").replace('=', "\\u003d"), true),
    ] {
        let entry = one(input.as_bytes(), &input);
        assert_eq!(entry.key.as_deref(), keeps_key.then_some(KEY.as_bytes()), "{input}");
    }
    let items = read(format!("{pair},\n{pair},\n").as_bytes());
    assert!(items.len() == 2 && items.iter().all(Result::is_ok), "{items:?}");
}

#[test]
fn dumps_of_other_tools_are_read() {
    let value = value();
    let format_hex = |offset: usize, gap: &str, separator: &str| -> String {
        let line = |(index, chunk): (usize, &[u8])| {
            let cells: Vec<String> = chunk.iter().map(|byte| format!("{byte:02X}")).collect();
            let (at, cells) = (index * 16, cells.join(" "));
            format!("{at:0offset$X}{gap}{cells:<47}{separator}{}\n", text_column(chunk))
        };
        value.chunks(16).enumerate().map(line).collect()
    };
    let heading = "   Label: C:\\a.bin\n\n      Offset Bytes                                           Ascii\n             00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n      ------ ----------------------------------------------- -----\n";
    let marked = |dump: &str, mark: &str| -> String {
        dump.lines().map(|line| format!("{mark}{line}\n")).collect()
    };
    let (dump, xxd) = (hexdump_c(&value), xxd(&value));
    for input in [
        format!("\n{heading}{}\n", format_hex(16, " ", " ")),
        format!(
            "\n\n           Path: C:\\a.bin\n\n           00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n\n{}",
            format_hex(8, "   ", "  ")
        ),
        format_hex(4, "\t", "   "),
        marked(&dump, "> "),
        marked(&dump, "# "),
        marked(&dump, "| "),
        marked(&xxd, "- "),
        marked(&xxd, "0x"),
        format!("{dump}\0"),
    ] {
        let entry = one(input.as_bytes(), &input);
        assert!(!entry.cut_short, "{input}");
    }
}

#[test]
fn tables_and_lists_without_known_names_are_read() {
    let (text, digits) = (base64(&value()), hex(&value()));
    let key = base64(KEY.as_bytes());
    for input in [
        format!(
            " revision | key | stored\n----------+-----+--------\n 5 | {KEY} | \\x{digits}\n(1 row)\n"
        ),
        format!("key,value\n{KEY},{text}\n"),
        format!("{KEY},{digits}\n"),
        format!("{KEY}={text}\n"),
        format!("sep=,\nid,name,value\n5,{KEY},{digits}\n"),
        format!(
            "header:\n  revision: 9\nkvs:\n  - key: {key}\n    mod_revision: 5\n    value: {text}\ncount: 1\n"
        ),
        format!("kvs:\n  - key: \"{key}\"\n    value: \"{text}\"\n"),
        format!(
            "key: {key}\nvalue: |\n  {}\n  {}\n  {}\n",
            &text[..60],
            &text[60..120],
            &text[120..]
        ),
        format!(
            "row_to_json\n{{\"id\":5,\"name\":\"{KEY}\",\"value\":\"\\\\x{digits}\"}}\n(1 row)\n"
        ),
    ] {
        let entry = one(input.as_bytes(), &input);
        assert_eq!(entry.key.as_deref(), Some(KEY.as_bytes()), "{input}");
    }
    // kine's own row has an empty value.
    let row = "{\"id\":1,\"name\":\"compact_rev_key\",\"value\":\"\\\\x\"}\n";
    one(
        format!("{row}{{\"id\":5,\"name\":\"{KEY}\",\"value\":\"\\\\x{digits}\"}}").as_bytes(),
        row,
    );
}

#[test]
fn forms_may_follow_each_other() {
    let text = format!("{}\n", base64(&value()));
    let digits = format!("{}\n", hex(&value()));
    let plain_dump = xxd(&value());
    let [json, fields, dump] = ["get -w json", "get -w fields", "get | hexdump -C"].map(print);
    for parts in [
        [&json, &dump],
        [&dump, &json],
        [&json, &text],
        [&json, &digits],
        [&dump, &text],
        [&dump, &plain_dump],
        [&fields, &json],
        [&fields, &dump],
    ] {
        for between in ["", "\n", "$ etcdctl get x\n", "And the other one:\n\n"] {
            let input = format!("{}{between}{}", parts[0], parts[1]);
            let items = read(input.as_bytes());
            let is_right = |item: &Item| {
                item.as_ref().is_ok_and(|entry| entry.readings().any(|bytes| bytes == value()))
            };
            assert!(items.len() == 2 && items.iter().all(is_right), "{items:?}\n{input}");
        }
    }
    // What follows is not a form.
    let items = read(format!("{json}and more\n").as_bytes());
    assert!(items.last().unwrap().as_ref().is_err_and(|fault| fault.kind == FaultKind::Trailing));
    let many = json.repeat(3) + &"5\n{}\n".repeat(1000);
    assert!(read(many.as_bytes()).iter().any(Result::is_err));
}
