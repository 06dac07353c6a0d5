//! What real tools print (cases/tools.sh wrote the files) is read back to the bytes that they were given.

use dekker_forms::{Content, FaultKind, Limits, read_all};

use super::pieces::in_pieces;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/cases/tools/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    include_str!("../cases/tools.tsv").lines().map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap();
        (next(), next(), next())
    })
}

#[test]
fn every_tool_is_read_back() {
    let value = file("value.bin");
    let mut wrong = Vec::new();
    for (name, input, form) in cases() {
        let items = read_all(&file(name), Limits::default());
        let right = match (input, items.as_slice()) {
            ("printed-as-text", [Err(fault)]) => fault.kind == FaultKind::PrintedAsText,
            (_, [Ok(entry)]) => {
                let key = (input != "value.bin").then_some(&b"/registry/secrets/default/token"[..]);
                let revision = (input == "row").then_some(5);
                let bytes = entry.without_line_end().unwrap_or(&entry.bytes);
                entry.seen().name() == form
                    && bytes == value
                    && entry.key.as_deref() == key
                    // Some queries have no `id`.
                    && (entry.revision == revision)
                    && entry.content == Content::Encrypted
                    && !entry.cut_short
            }
            _ => false,
        };
        if !right {
            wrong.push(format!("{name} ({input}, {form}): {items:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pieces_do_not_matter() {
    for (name, ..) in cases() {
        let input = file(name);
        let whole = read_all(&input, Limits::default());
        for len in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(in_pieces(&input, &[len]), whole, "{name} in pieces of {len}");
        }
    }
}

#[test]
fn carriage_returns_prompts_indentation_and_encodings_do_not_matter() {
    for (name, input, _) in cases() {
        let original = file(name);
        if input == "printed-as-text" {
            continue;
        }
        let mut text = String::from_utf8(original.clone()).unwrap();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let items = read_all(&original, Limits::default());
        let [Ok(right)] = items.as_slice() else {
            panic!("{name}");
        };
        let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(unit).collect()
        };
        for (how, changed) in [
            ("CRLF", text.replace('\n', "\r\n").into_bytes()),
            ("BOM", format!("\u{feff}{text}").into_bytes()),
            ("UTF-16", utf16(&format!("\u{feff}{text}"), u16::to_le_bytes)),
            ("UTF-16, big-endian", utf16(&format!("\u{feff}{text}"), u16::to_be_bytes)),
            ("prompt", format!("root@node:~# ETCDCTL_API=3 etcdctl get /registry/x | tool -f\n{text}root@node:~# \n").into_bytes()),
            ("code fence", format!("```\n{text}```\n").into_bytes()),
        ] {
            let items = read_all(&changed, Limits::default());
            let [Ok(entry)] = items.as_slice() else { panic!("{name}, {how}: {items:?}") };
            assert_eq!(entry.bytes, right.bytes, "{name}, {how}");
            assert_eq!(entry.key, right.key, "{name}, {how}");
        }
        // Columns of characters need their width.
        if !name.ends_with("-c.txt") {
            let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
            let items = read_all(indented.as_bytes(), Limits::default());
            let [Ok(entry)] = items.as_slice() else { panic!("{name}, indented: {items:?}") };
            assert_eq!(entry.bytes, right.bytes, "{name}, indented");
        }
    }
}

/// What follows may be a fault, but the value before it is not lost.
#[test]
fn a_sentence_after_a_code_fence_takes_nothing_away() {
    for (name, input, _) in cases() {
        if input == "printed-as-text" {
            continue;
        }
        let original = file(name);
        let right = read_all(&original, Limits::default());
        let text = String::from_utf8(original).unwrap();
        let separator = if text.ends_with('\n') { "" } else { "\n" };
        for after in ["Thanks!\n", "Can you help me, please?\n", "\nThanks"] {
            let input = format!("Hello,\n\n```\n{text}{separator}```\n{after}");
            let items = read_all(input.as_bytes(), Limits::default());
            let [Ok(entry), ..] = items.as_slice() else { panic!("{name}: {items:?}") };
            let [Ok(right)] = right.as_slice() else { panic!("{name}") };
            assert_eq!((&entry.bytes, &entry.key), (&right.bytes, &right.key), "{name}");
            assert!(items[1..].iter().all(Result::is_err), "{name}: {items:?}");
        }
    }
}

/// BSD's od prints one more space before the first column.
#[test]
fn columns_of_bsd_are_read() {
    let text = String::from_utf8(file("od-c.txt")).unwrap();
    let bsd: String = text
        .lines()
        .map(|line| match line.split_at_checked(7) {
            Some((offset, rest)) if !rest.is_empty() => format!("{offset} {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let items = read_all(bsd.as_bytes(), Limits::default());
    assert_eq!(items[0].as_ref().unwrap().bytes, file("value.bin"), "{items:?}");
}

#[test]
fn a_dump_with_a_missing_line_is_a_fault() {
    for (name, ..) in cases() {
        let is_dump = ["xxd", "hexdump", "od"].iter().any(|tool| name.starts_with(tool));
        if !is_dump || ["xxd-p", "xxd-i", "od-n"].iter().any(|tool| name.starts_with(tool)) {
            continue;
        }
        let text = String::from_utf8(file(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() - 2 {
            // Whatever is missing beside a `*` could be repeated lines.
            if lines[missing.saturating_sub(1)..missing + 2].contains(&"*") {
                continue;
            }
            let rest: String = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != missing)
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            let items = read_all(rest.as_bytes(), Limits::default());
            assert!(items.iter().all(Result::is_err), "{name} without line {missing}: {items:?}");
        }
    }
}
