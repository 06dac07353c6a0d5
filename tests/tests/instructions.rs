//! Limits on how many instructions a write and a read take in the accelerated component if it gets the values as lists: a measure of work that needs no
//! clock. `host/src/guest/tests/work.rs` has the limits for values that stay in the host.

use std::sync::atomic::Ordering;

use dekker_core::Location;
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_tests::face::ComponentMaker;
use dekker_tests::interop;
use dekker_tests::plugin::Plugin;
use dekker_tests::sim::{Harness, file};

const AT: Location<'static> =
    Location { resource: "secrets", key: b"/registry/secrets/default/token" };

/// The most instructions that a write and a read may take regardless of the value's length, by DEK source.
const CEILINGS: [(DekSourceType, u64, u64); 2] = [
    (DekSourceType::AesGcmKey, 6_600, 9_500),
    (DekSourceType::HkdfSha256XnonceAesGcmSeed, 7_500, 9_900),
];
/// Additional instructions for each byte: buffers of plaintexts and stored values are wiped, and a fill or copy counts each byte.
const EACH_BYTE: u64 = 2;

#[test]
fn writes_and_reads_stay_under_their_instruction_ceilings() {
    let (maker, instructions) = match ComponentMaker::find_accelerated_and_count() {
        Ok(found) => found,
        Err(missing) if std::env::var_os("CI").is_some() => panic!("{missing}"),
        Err(missing) => return interop::print_figures(&format!("SKIPPED instructions: {missing}")),
    };
    for (dek_source, to_write, to_read) in CEILINGS {
        let options = Options { dek_source, ..Options::default() };
        let plugin = Plugin::new("key-1");
        let mut harness = Harness::new(&maker, &file::secrets(), &options, [("a", plugin)]);
        let (face, now) = (&mut harness.face, harness.now);
        for len in [64usize, 1024, 4096, 65_536] {
            let plaintext = vec![7; len];
            let (mut write, mut read) = (0, 0);
            // The first operations fill the caches that the later ones use.
            for op in 0..5 {
                let written = face.to_storage(op, AT, &plaintext, now);
                write = instructions.load(Ordering::Relaxed);
                let stored = written.expect("no plugin is asked").expect("a value").stored;
                let opened = face.from_storage(op, AT, &stored, now);
                read = instructions.load(Ordering::Relaxed);
                let opened = opened.expect("its DEK is cached").expect("a plaintext");
                assert_eq!(opened.plaintext.expose(), plaintext);
            }
            interop::print_figures(&format!(
                "{}, {len} bytes: {write} instructions to write, {read} to read",
                dek_source.name()
            ));
            let more = len as u64 * EACH_BYTE;
            assert!(write <= to_write + more, "{len} bytes: {write} instructions to write");
            assert!(read <= to_read + more, "{len} bytes: {read} instructions to read");
        }
    }
}
