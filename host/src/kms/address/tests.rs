use super::*;

#[test]
fn addresses_parse_and_print_the_same() {
    let path = |p: &str| SocketAddress::Path(p.into());
    for (desc, text, want) in [
        ("a path", "unix:///run/kms.sock", path("/run/kms.sock")),
        ("an abstract name", "unix:///@kms", SocketAddress::Abstract("kms".into())),
        ("a space", "unix:///a b", path("/a b")),
        ("an escape", "unix:///a%25b%3F", path("/a%b?")),
        (
            "not UTF-8",
            "unix:///a%FFb",
            SocketAddress::Path(std::ffi::OsString::from_vec(b"/a\xffb".to_vec()).into()),
        ),
        ("@ in the middle", "unix:///a@b", path("/a@b")),
    ] {
        let address: SocketAddress = text.parse().expect(desc);
        assert_eq!(address, want, "{desc}");
        assert_eq!(address.to_string(), text, "{desc}");
    }
}

#[test]
fn invalid_addresses_are_refused_with_the_remedy() {
    let long = format!("unix:///{}", "x".repeat(107));
    for (text, want) in [
        ("", AddressError::NoScheme),
        ("/run/kms.sock", AddressError::NoScheme),
        ("unix:/run/kms.sock", AddressError::NoScheme),
        ("tcp://localhost:1", AddressError::Scheme),
        ("unix://run/kms.sock", AddressError::Relative),
        ("unix://", AddressError::Relative),
        ("unix:///", AddressError::Empty),
        ("unix:///@", AddressError::Empty),
        ("unix:///a?b", AddressError::Query),
        ("unix:///a%2", AddressError::Escape),
        ("unix:///@%FF", AddressError::Escape),
        ("unix:///a%00", AddressError::Zero),
        (&long, AddressError::TooLong { len: 108 }),
    ] {
        assert_eq!(text.parse::<SocketAddress>(), Err(want), "{text}");
    }
}

#[tokio::test]
async fn a_socket_file_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = SocketAddress::Path(path.clone());
    let _listener = address.bind().unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    address.connect().await.unwrap();
}
