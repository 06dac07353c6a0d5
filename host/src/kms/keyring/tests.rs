use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

/// Returns a temporary directory, and the path of a state directory in it that the keyring creates.
fn state_dir() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    (root, dir)
}

fn ids(keyring: &Keyring) -> Vec<String> {
    let ids = keyring.keys().iter();
    ids.map(|kek| kek.id().as_str().to_owned()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn fault(dir: &Path) -> String {
    Keyring::open(dir).unwrap_err().to_string()
}

#[test]
fn a_new_keyring_is_private_and_opens_again() {
    let (_root, dir) = state_dir();
    let made = Keyring::open_or_create(&dir).unwrap();
    assert_eq!(made.keys().len(), 1);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&made.path()), 0o600);
    let sealed = made.current().seal(b"seed").unwrap();

    for again in [Keyring::open_or_create(&dir), Keyring::open(&dir)] {
        let again = again.unwrap();
        assert_eq!(ids(&again), ids(&made));
        assert_eq!(again.current().created(), made.current().created());
        assert_eq!(*again.current().open(&sealed).unwrap(), b"seed");
    }
}

#[test]
fn open_does_not_create_a_keyring() {
    let (root, dir) = state_dir();
    assert!(matches!(Keyring::open(&dir), Err(KeyringError::Missing { .. })));
    assert!(fault(root.path()).contains("restore it from a backup"));
    assert!(!dir.exists());
}

#[test]
fn rotation_adds_a_current_key_and_keeps_the_old_ones() {
    let (_root, dir) = state_dir();
    let mut keyring = Keyring::open_or_create(&dir).unwrap();
    let first = keyring.current().id().clone();
    let sealed = keyring.current().seal(b"seed").unwrap();
    keyring.rotate().unwrap();
    assert_ne!(*keyring.current().id(), first);
    assert_eq!(mode(&keyring.path()), 0o600);

    let again = Keyring::open(&dir).unwrap();
    assert_eq!(ids(&again), ids(&keyring));
    assert_eq!(again.current().id(), keyring.current().id());
    let old = again.find(first.as_str()).unwrap();
    assert_eq!(*old.open(&sealed).unwrap(), b"seed");
    assert!(again.find("0").is_none());
}

#[test]
fn concurrent_rotations_lose_no_key() {
    const EACH: usize = 20;
    let (_root, dir) = state_dir();
    Keyring::open_or_create(&dir).unwrap();
    let rotate = || {
        let mut keyring = Keyring::open(&dir).unwrap();
        for _ in 0..EACH {
            keyring.rotate().unwrap();
        }
        ids(&keyring)
    };
    let made = std::thread::scope(|scope| {
        let threads = [scope.spawn(rotate), scope.spawn(rotate)];
        threads.map(|thread| thread.join().unwrap())
    });
    let all = ids(&Keyring::open(&dir).unwrap());
    assert_eq!(all.len(), 1 + 2 * EACH);
    assert!(made.iter().flatten().all(|id| all.contains(id)));
}

#[test]
fn concurrent_creation_makes_one_keyring() {
    let (_root, dir) = state_dir();
    let create = || ids(&Keyring::open_or_create(&dir).unwrap());
    let [a, b] = std::thread::scope(|scope| {
        [scope.spawn(create), scope.spawn(create)].map(|thread| thread.join().unwrap())
    });
    assert_eq!(a, b);
}

#[test]
fn a_rotation_by_another_process_is_loaded() {
    let (_root, dir) = state_dir();
    let mut ours = Keyring::open_or_create(&dir).unwrap();
    let mut theirs = Keyring::open(&dir).unwrap();
    assert!(!ours.reload_if_changed().unwrap());
    theirs.rotate().unwrap();
    assert!(ours.reload_if_changed().unwrap());
    assert!(!ours.reload_if_changed().unwrap());
    assert_eq!(ours.current().id(), theirs.current().id());
    ours.rotate().unwrap();
    assert!(!ours.reload_if_changed().unwrap());
}

#[test]
fn a_file_rewritten_with_the_same_keys_is_no_change() {
    let (_root, dir) = state_dir();
    let mut keyring = Keyring::open_or_create(&dir).unwrap();
    let bytes = fs::read(keyring.path()).unwrap();
    keyring.directory.replace(FILE_NAME, &bytes).unwrap();
    assert!(!keyring.reload_if_changed().unwrap());
}

#[test]
fn files_and_directories_open_to_others_are_refused() {
    let (_root, dir) = state_dir();
    let path = Keyring::open_or_create(&dir).unwrap().path();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, mode);
        let fault = fault(&dir);
        assert!(fault.contains("chmod 600"), "{fault}");
        assert!(Keyring::open_or_create(&dir).is_err(), "{mode:o}");
    }
    set_mode(&path, 0o400);
    Keyring::open(&dir).unwrap();
    for mode in [0o770, 0o702] {
        set_mode(&dir, mode);
        let fault = fault(&dir);
        assert!(fault.contains("chmod go-w"), "{fault}");
    }
    set_mode(&dir, 0o755);
    Keyring::open(&dir).unwrap();
}

#[test]
fn another_users_file_is_refused() {
    let (_root, dir) = state_dir();
    let path = Keyring::open_or_create(&dir).unwrap().path();
    // Only root can change a file's owner. Other users skip the check.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let fault = fault(&dir);
        assert!(fault.contains("belongs to user 12345"), "{fault}");
    }
}

#[test]
fn links_pipes_and_directories_are_not_read() {
    let (root, dir) = state_dir();
    let path = Keyring::open_or_create(&dir).unwrap().path();
    let elsewhere = root.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(fault(&dir).contains("not followed"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(fault(&dir).contains("regular file"));
    assert!(fault(&elsewhere).contains("directory"));
    fs::remove_dir(&path).unwrap();
    let status = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&path).status();
    if status.is_ok_and(|status| status.success()) {
        assert!(fault(&dir).contains("regular file"));
    }
}

#[test]
fn damaged_files_are_reported_with_the_cause_and_without_secrets() {
    const SECRET: &str = "U0VDUkVUU0VDUkVUU0VDUkVUU0VDUkVUU0VDUkVUU0U=";
    let id = "0123456789abcdef0123456789abcdef";
    let entry = format!(r#"{{"id":"{id}","created":1,"key":"{SECRET}"}}"#);
    let file = |current: &str, keys: &str| {
        format!(r#"{{"version":1,"current":"{current}","keys":[{keys}]}}"#)
    };
    let good = file(id, &entry);
    key_file::decode(good.as_bytes()).unwrap();
    let (_root, dir) = state_dir();
    let path = Keyring::open_or_create(&dir).unwrap().path();
    for (desc, content, want) in [
        ("empty", String::new(), "error at line 1 column 0"),
        ("cut off", good[..good.len() - 9].to_owned(), "error at line 1"),
        ("something after it", format!("{good}{good}"), "error at line 1"),
        ("not UTF-8 is not JSON", "\0".to_owned(), "error at line 1 column 1"),
        (
            "a later version",
            good.replace(r#""version":1"#, r#""version":2,"new":true"#),
            "version 2",
        ),
        (
            "an unknown field",
            good.replace(r#""created""#, r#""secret":1,"created""#),
            "error at line 1",
        ),
        (
            "a field twice",
            good.replace(r#""created""#, r#""created":1,"created""#),
            "error at line 1",
        ),
        ("a field missing", good.replace(r#""created":1,"#, ""), "error at line 1"),
        (
            "a key where a number belongs",
            good.replace(r#""created":1"#, &format!(r#""created":"{SECRET}""#)),
            "error at line 1",
        ),
        ("a short key", good.replace("U0U=", ""), "error at line 1"),
        ("a long key", good.replace("U0U=", "U0VD"), "error at line 1"),
        ("not base64", good.replace("U0U=", "U0!="), "error at line 1"),
        ("a short ID", file(&id[1..], &entry), "32 lowercase"),
        ("an upper-case ID", file(id, &entry.replace("abcdef", "ABCDEF")), "32 lowercase"),
        ("no keys", file(id, ""), "not among its keys"),
        ("an unknown current key", file(&id.replace('0', "1"), &entry), "not among its keys"),
        ("an ID twice", file(id, &format!("{entry},{entry}")), "same ID"),
        ("a long file", " ".repeat(MAX_FILE + 1), "1048577 bytes"),
    ] {
        assert_ne!(content, good, "{desc}");
        fs::write(&path, content).unwrap();
        let error = Keyring::open(&dir).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(error.to_string().contains(want), "{desc}: {shown}");
        assert!(shown.contains(FILE_NAME), "{desc}: {shown}");
        assert!(!shown.contains("U0VD"), "{desc}: {shown}");
        let again = Keyring::open_or_create(&dir).unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "{desc}: not replaced");
    }
}

#[test]
fn a_failed_reload_or_rotation_leaves_the_keys_in_memory() {
    let (_root, dir) = state_dir();
    let mut keyring = Keyring::open_or_create(&dir).unwrap();
    let before = ids(&keyring);
    let good = fs::read(keyring.path()).unwrap();
    fs::write(keyring.path(), "damaged").unwrap();
    assert!(keyring.reload_if_changed().is_err());
    assert!(keyring.reload_if_changed().is_err(), "it checks the file again");
    assert!(keyring.rotate().is_err());
    fs::remove_file(keyring.path()).unwrap();
    assert!(keyring.reload_if_changed().is_err());
    assert!(keyring.rotate().is_err());
    assert!(!keyring.path().exists(), "a lost file is not created again");
    assert_eq!(ids(&keyring), before);
    keyring.directory.replace(FILE_NAME, &good).unwrap();
    assert!(!keyring.reload_if_changed().unwrap());
}

#[test]
fn a_temporary_file_of_a_crash_is_replaced() {
    let (_root, dir) = state_dir();
    let mut keyring = Keyring::open_or_create(&dir).unwrap();
    let left = dir.join("keyring.json.tmp");
    fs::write(&left, "half").unwrap();
    keyring.rotate().unwrap();
    assert!(!left.exists());
    assert_eq!(ids(&Keyring::open(&dir).unwrap()), ids(&keyring));
}

#[test]
fn a_start_removes_the_temporary_file_of_a_crash_unless_it_is_being_written() {
    let (_root, dir) = state_dir();
    let keyring = Keyring::open_or_create(&dir).unwrap();
    let left = dir.join("keyring.json.tmp");
    fs::write(&left, "half").unwrap();
    let writer = keyring.directory.lock().unwrap();
    Keyring::open_or_create(&dir).unwrap();
    assert!(left.exists());
    Keyring::open(&dir).unwrap();
    drop(writer);
    Keyring::open(&dir).unwrap();
    assert!(left.exists(), "opening only reads");
    assert_eq!(ids(&Keyring::open_or_create(&dir).unwrap()), ids(&keyring));
    assert!(!left.exists());
}

#[test]
fn a_full_keyring_refuses_to_rotate() {
    let (_root, dir) = state_dir();
    let mut keyring = Keyring::open_or_create(&dir).unwrap();
    let mut keys = key_file::decode(&fs::read(keyring.path()).unwrap()).unwrap();
    let frame = key_file::encode(&keys).len();
    keys.push(Kek::generate(now()).unwrap());
    let entry = key_file::encode(&keys).len() - frame;
    while frame + entry * keys.all.len() <= MAX_FILE {
        keys.push(Kek::generate(now()).unwrap());
    }
    let encoded = key_file::encode(&keys);
    assert!(encoded.len() <= MAX_FILE);
    keyring.directory.replace(FILE_NAME, &encoded).unwrap();
    assert!(keyring.reload_if_changed().unwrap());
    assert!(matches!(keyring.rotate(), Err(KeyringError::Full { .. })));
    assert_eq!(fs::read(keyring.path()).unwrap(), **encoded);
}

#[test]
fn encoding_never_grows_its_buffer() {
    let longest = Kek::generate(u64::MAX).unwrap();
    let mut keys = Keys::new(longest);
    for _ in 0..3 {
        keys.push(Kek::generate(u64::MAX).unwrap());
    }
    let encoded = key_file::encode(&keys);
    assert!(encoded.len() <= key_file::capacity(keys.all.len()));
    let decoded = key_file::decode(&encoded).unwrap();
    assert!(decoded.same_ids(&keys));
    let secrets = |keys: &Keys| keys.all.iter().map(|kek| kek.secret().0).collect::<Vec<_>>();
    assert_eq!(secrets(&decoded), secrets(&keys));
}

#[test]
fn a_keyring_is_created_only_where_none_existed_before() {
    type Leave = fn(&Path);
    let table: [(&str, Leave, bool); 5] = [
        ("nothing", |_| {}, true),
        (
            "a start that was cut short",
            |dir| {
                fs::write(dir.join("keyring.lock"), "").unwrap();
                fs::write(dir.join("keyring.json.tmp"), "half").unwrap();
            },
            true,
        ),
        (
            "the list of keys",
            |dir| {
                let elsewhere = dir.join("elsewhere");
                Keyring::open_or_create(&elsewhere).unwrap();
                fs::rename(elsewhere.join(known::FILE_NAME), dir.join(known::FILE_NAME)).unwrap();
            },
            false,
        ),
        (
            "an empty list of keys, which is never written",
            |dir| {
                fs::write(dir.join(known::FILE_NAME), "").unwrap();
                set_mode(&dir.join(known::FILE_NAME), 0o600);
            },
            true,
        ),
        ("the configuration", |dir| fs::write(dir.join(CONFIGURATION_NAME), "x").unwrap(), false),
    ];
    for (desc, leave, is_made) in table {
        let root = tempfile::tempdir().unwrap();
        leave(root.path());
        match Keyring::open_or_create(root.path()) {
            Ok(_) => assert!(is_made, "{desc}"),
            Err(error) => {
                assert!(!is_made, "{desc}: {error}");
                assert!(matches!(error, KeyringError::Lost { .. }), "{desc}");
                assert!(error.to_string().contains("--init-keyring"), "{error}");
                assert!(!root.path().join(FILE_NAME).exists(), "{desc}");
                Keyring::init(root.path()).unwrap();
            }
        }
        let again = Keyring::open_or_create(root.path()).unwrap();
        assert_eq!(again.keys().len(), 1, "{desc}");
        let error = Keyring::init(root.path()).unwrap_err();
        assert!(matches!(error, KeyringError::Complete { .. }), "{desc}");
    }
}

#[test]
fn a_keyring_without_a_list_of_keys_gets_one() {
    let (_root, dir) = state_dir();
    let made = Keyring::open_or_create(&dir).unwrap();
    let list = dir.join(known::FILE_NAME);
    let before = fs::read(&list).unwrap();
    fs::remove_file(&list).unwrap();
    fs::write(dir.join(CONFIGURATION_NAME), "x").unwrap();
    let again = Keyring::open_or_create(&dir).unwrap();
    assert_eq!(ids(&again), ids(&made));
    assert_eq!(fs::read(&list).unwrap(), before);
    assert_eq!(mode(&list), 0o600);
    assert_eq!(before, format!("{}\n", made.current().id().hash()).as_bytes());
    fs::write(&list, "sha256:no\n").unwrap();
    let error = Keyring::open_or_create(&dir).unwrap_err().to_string();
    assert!(error.contains("keyring.ids is not a list"), "{error}");
    Keyring::open(&dir).unwrap();
}

#[test]
fn an_older_file_is_refused_and_newer_keys_are_kept() {
    let (_root, dir) = state_dir();
    let mut ours = Keyring::open_or_create(&dir).unwrap();
    let older = fs::read(ours.path()).unwrap();
    ours.rotate().unwrap();
    let newer = fs::read(ours.path()).unwrap();
    let before = ids(&ours);
    let sealed = ours.current().seal(b"seed").unwrap();
    ours.check_current().unwrap();

    ours.directory.replace(FILE_NAME, &older).unwrap();
    for _ in 0..2 {
        let error = ours.reload_if_changed().unwrap_err();
        assert!(matches!(error, KeyringError::Forgotten { keys: 1, .. }), "{error}");
    }
    assert_eq!(ids(&ours), before);
    assert_eq!(*ours.find(&before[1]).unwrap().open(&sealed).unwrap(), b"seed");
    for error in [
        ours.check_current().unwrap_err(),
        ours.rotate().unwrap_err(),
        Keyring::open(&dir).unwrap().rotate().unwrap_err(),
        Keyring::open_or_create(&dir).unwrap_err(),
    ] {
        assert!(matches!(error, KeyringError::Forgotten { keys: 1, .. }), "{error}");
    }
    assert_eq!(fs::read(ours.path()).unwrap(), older, "left alone");

    ours.directory.replace(FILE_NAME, &newer).unwrap();
    assert!(!ours.reload_if_changed().unwrap());
    ours.check_current().unwrap();
    ours.rotate().unwrap();
}

#[test]
fn keys_of_another_keyring_in_its_place_decrypt_but_do_not_encrypt() {
    let (root, dir) = state_dir();
    let mut ours = Keyring::open_or_create(&dir).unwrap();
    let own = fs::read(ours.path()).unwrap();
    let before = ours.current().id().clone();
    let theirs = Keyring::open_or_create(&root.path().join("theirs")).unwrap();
    let foreign = theirs.current().id().as_str();
    let bytes = fs::read(theirs.path()).unwrap();
    ours.directory.replace(FILE_NAME, &bytes).unwrap();
    assert!(ours.reload_if_changed().is_err());
    assert_eq!(*ours.current().id(), before);
    assert!(ours.find(foreign).is_some());
    assert!(ours.check_current().is_err());
    // With its own file back, the keyring lacks nothing: it never loaded the foreign keys as its own.
    ours.directory.replace(FILE_NAME, &own).unwrap();
    ours.reload_if_changed().unwrap();
    assert!(ours.find(foreign).is_none());
    ours.check_current().unwrap();
}

#[test]
fn another_key_under_a_known_id_is_refused() {
    let (root, dir) = state_dir();
    let mut ours = Keyring::open_or_create(&dir).unwrap();
    let theirs = Keyring::open_or_create(&root.path().join("theirs")).unwrap();
    let text = |keyring: &Keyring| String::from_utf8(fs::read(keyring.path()).unwrap()).unwrap();
    let own_id = ours.current().id().as_str();
    let forged = text(&theirs).replace(theirs.current().id().as_str(), own_id);
    let sealed = ours.current().seal(b"seed").unwrap();
    ours.directory.replace(FILE_NAME, forged.as_bytes()).unwrap();
    for error in [
        ours.reload_if_changed().unwrap_err(),
        ours.check_current().unwrap_err(),
        ours.rotate().unwrap_err(),
    ] {
        assert!(matches!(error, KeyringError::Contradicts { .. }), "{error}");
    }
    assert_eq!(*ours.current().open(&sealed).unwrap(), b"seed");
}

#[test]
fn a_start_during_rotations_never_misses_a_key() {
    let (_root, dir) = state_dir();
    Keyring::open_or_create(&dir).unwrap();
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            let mut keyring = Keyring::open(&dir).unwrap();
            for _ in 0..50 {
                keyring.rotate().unwrap();
            }
        });
        while !rotating.is_finished() {
            Keyring::open_or_create(&dir).unwrap();
        }
    });
    assert_eq!(Keyring::open_or_create(&dir).unwrap().keys().len(), 51);
}

#[test]
fn the_directories_of_new_files_are_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b");
    crate::durable::synced::take();
    Keyring::open_or_create(&dir).unwrap();
    let synced = crate::durable::synced::take();
    for directory in [root.path(), &root.path().join("a"), &dir] {
        assert!(synced.iter().any(|path| path == directory), "{synced:?}");
    }
    assert_eq!(*synced.last().unwrap(), dir, "after the last rename");
}

#[test]
fn opening_an_existing_keyring_writes_nothing() {
    let (_root, dir) = state_dir();
    Keyring::open_or_create(&dir).unwrap();
    fs::remove_file(dir.join("keyring.lock")).unwrap();
    Keyring::open_or_create(&dir).unwrap();
    Keyring::open(&dir).unwrap();
    assert!(!dir.join("keyring.lock").exists());
}
