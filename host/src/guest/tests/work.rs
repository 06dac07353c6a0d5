//! Limits on how many instructions a plan takes: a measure of work that needs no clock. The length of a value does not matter.

use wasmtime::Config;

use super::super::*;
use super::memory::settle;
use super::{at, options};

/// More fuel than any test uses.
const FUEL: u64 = u64::MAX / 2;

/// The most instructions that a write and a read may take, alone and each of a batch.
const CEILINGS: [(&str, u64); 4] =
    [("a write", 3_400), ("a read", 5_400), ("one of 64 writes", 510), ("one of 64 reads", 1_900)];

fn used(guest: &mut Guest, work: impl FnOnce(&mut Guest)) -> u64 {
    guest.store.set_fuel(FUEL).unwrap();
    work(guest);
    FUEL - guest.store.get_fuel().unwrap()
}

#[test]
fn plans_stay_under_their_instruction_ceilings_at_every_length() {
    let mut config = Config::new();
    config.epoch_interruption(true).consume_fuel(true);
    let engine = Engine::new(&config).unwrap();
    let component = wasmtime::component::Component::new(&engine, EMBEDDED).unwrap();
    let component = Component::new(engine, &component, MEMORY_MAX).unwrap();
    let file = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}]
";
    let now = 1_000_000;
    let mut guest = component.load_with_fuel(file, &options(), now, FUEL);
    settle(&mut guest, &mut Vec::new(), now);
    let at = at("secrets", "/registry/secrets/default/token");
    let mut found = Vec::new();
    for len in [64, 4096, 1 << 20] {
        let plaintext = vec![7; len];
        let (mut stored, mut write, mut read) = (Vec::new(), 0, 0);
        // The first operations fill the caches that the later ones use.
        for op in 0..5 {
            write = used(&mut guest, |guest| {
                let written = guest.to_storage(op, &at, &plaintext, now).unwrap();
                stored = written.expect("no plugin is asked").unwrap().stored;
            });
            read = used(&mut guest, |guest| {
                let opened = guest.from_storage(op, &at, &stored, now).unwrap();
                assert_eq!(**opened.expect("its DEK is known").unwrap().plaintext, plaintext);
            });
        }
        let (mut writes, mut reads) = (0, 0);
        if len < 1 << 20 {
            for _ in 0..2 {
                writes = used(&mut guest, |guest| {
                    let values = [(&at, &*plaintext); 64];
                    let written = guest.to_storage_many(&values, now).unwrap();
                    assert!(written.iter().all(Option::is_some));
                });
                reads = used(&mut guest, |guest| {
                    let opened = guest.from_storage_many(&[(&at, &*stored); 64], now).unwrap();
                    assert!(opened.iter().all(Option::is_some));
                });
            }
        }
        found.push([write, read, writes / 64, reads / 64]);
    }
    eprintln!("instructions of a write, a read, one of 64 writes, one of 64 reads: {found:?}");
    for of_length in &found {
        for (figure, (what, ceiling)) in of_length.iter().zip(CEILINGS) {
            assert!(*figure <= ceiling, "{what}: {figure} instructions, at most {ceiling}");
        }
    }
    // The varint of the length may have another byte.
    let [_, middle, long] = &found[..] else { panic!("three lengths") };
    assert!(middle[0].abs_diff(long[0]) < 100 && middle[1].abs_diff(long[1]) < 100);
}
