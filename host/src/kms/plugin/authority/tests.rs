use super::huffman::tests::encode;
use super::*;

/// Returns a literal field. Its name is an index in `first`, or a string in `name`.
fn field(first: u8, name: Option<&[u8]>, value: &[u8], coded: bool) -> Vec<u8> {
    let mut block = vec![first];
    let string = |block: &mut Vec<u8>, text: &[u8]| {
        if coded {
            let text = encode(text);
            assert!(text.len() < 127);
            block.push(0x80 | text.len() as u8);
            block.extend(text);
        } else {
            push_string(block, text);
        }
    };
    if let Some(name) = name {
        string(&mut block, name);
    }
    string(&mut block, value);
    block
}

#[test]
fn every_encoding_of_an_authority_is_found() {
    let path = b"/run/kms plugin.sock";
    let host = b"-run-kms-plugin.sock";
    for coded in [false, true] {
        for (desc, first, name) in [
            ("indexed, static name", 0x41, None),
            ("indexed, its own name", 0x40, Some(NAME)),
            ("not indexed, static name", 0x01, None),
            ("not indexed, its own name", 0x00, Some(NAME)),
            ("never indexed, static name", 0x11, None),
            ("never indexed, its own name", 0x10, Some(NAME)),
        ] {
            // Before it stands `:method: POST`, after it a table size update and another field.
            let (before, after) =
                (vec![0x83], [vec![0x20], field(0x40, Some(b"te"), b"/", coded)].concat());
            let with = |authority: &[u8]| [&*before, authority, &*after].concat();
            let name_of = field(first, name, b"", coded);
            let mut want = name_of[..name_of.len() - 1].to_vec();
            push_string(&mut want, host);
            assert_eq!(
                fit(&with(&field(first, name, path, coded))),
                Block::Changed(with(&want)),
                "{desc}, coded: {coded}"
            );
            for fine in [&b"localhost"[..], b"127.0.0.1:80", b"a@b", b"[::1]"] {
                let block = with(&field(first, name, fine, coded));
                assert_eq!(fit(&block), Block::AsItIs, "{desc}, coded: {coded}");
            }
        }
    }
}

#[test]
fn authorities_of_clients_become_hosts_of_the_same_length() {
    let long = [b"/".as_slice(), &[b'x'; 300]].concat();
    for authority in [
        &b"/run/kms.sock"[..],
        b"run%2Fkms.sock",
        b"@",
        b"\0name",
        b"unix:/run/kms.sock",
        "/köln/ü.sock".as_bytes(),
        b"/",
        b"a:b:c",
        b" ",
        &long,
    ] {
        let Block::Changed(changed) = fit(&field(0x41, None, authority, false)) else {
            panic!("{}", authority.escape_ascii());
        };
        let mut reader = Reader { block: &changed, at: 1 };
        let host = reader.string().unwrap().decode().unwrap();
        assert_eq!(host.len(), authority.len());
        uri::Authority::try_from(&*host).unwrap();
        assert_eq!(reader.at, changed.len());
        assert_eq!(fit(&changed), Block::AsItIs, "once is enough");
    }
}

#[test]
fn an_empty_authority_is_replaced_unless_it_is_indexed() {
    let mut want = vec![0x01];
    push_string(&mut want, b"localhost");
    assert_eq!(fit(&field(0x01, None, b"", false)), Block::Changed(want));
    assert_eq!(fit(&field(0x41, None, b"", false)), Block::Hopeless);
}

#[test]
fn other_fields_and_malformed_blocks_are_left_alone() {
    let table: [(&str, Vec<u8>); 8] = [
        ("nothing", vec![]),
        ("another field", field(0x44, None, b"/a b", false)),
        ("another name", field(0x40, Some(b":authorityx"), b"/", false)),
        ("a name from the dynamic table", field(0x7e, None, b"/", false)),
        ("an integer without an end", vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a string longer than the block", vec![0x41, 0x05, b'/']),
        ("no value", vec![0x41]),
        ("the end's code", vec![0x41, 0x84, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (desc, block) in table {
        assert_eq!(fit(&block), Block::AsItIs, "{desc}");
    }
}
