//! Limits on how often a write and a read of 4 KiB allocate in native code: a measure of work that needs no clock.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dekker_core::Location;
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_tests::face::{Maker, NativeMaker};
use dekker_tests::plugin::Plugin;
use dekker_tests::sim::{Harness, file};

/// An allocator that counts the allocations of the current thread.
struct Counting;

thread_local! {
    static COUNTED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: usize) {
    // Allocations while the thread ends are not counted.
    let _ = COUNTED.try_with(|counted| {
        let (times, sum) = counted.get();
        counted.set((times + 1, sum + bytes));
    });
}

// SAFETY: every method forwards to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// Runs `work` and returns its result, how often it allocated, and how many bytes in total.
fn counted<T>(work: impl FnOnce() -> T) -> (T, (usize, usize)) {
    COUNTED.set((0, 0));
    let done = work();
    (done, COUNTED.get())
}

const AT: Location<'static> =
    Location { resource: "secrets", key: b"/registry/secrets/default/token" };
const LEN: usize = 4096;
/// Room for what an envelope adds and what a derived key needs.
const ROOM: usize = 1024;

/// Returns what a write and a read allocate once everything is warm. With `other_dek` the value was written with an earlier DEK.
fn write_and_read(
    maker: &dyn Maker,
    dek_source: DekSourceType,
    other_dek: bool,
) -> [(usize, usize); 2] {
    let options = Options { dek_source, ..Options::default() };
    let plugin = Plugin::new("key-1");
    let mut harness = Harness::new(maker, &file::secrets(), &options, [("a", plugin)]);
    let plaintext = vec![7; LEN];
    let mut stored = Vec::new();
    let (face, now) = (&mut harness.face, harness.now);
    let mut write = (0, 0);
    for op in 0..3 {
        let (written, allocated) = counted(|| face.to_storage(op, AT, &plaintext, now));
        stored = written.expect("no plugin is asked").expect("a value").stored;
        write = allocated;
    }
    if other_dek {
        harness.plugin("a").key_id = "key-2".into();
        harness.advance_secs(61);
    }
    let (face, now) = (&mut harness.face, harness.now);
    let mut read = (0, 0);
    for op in 0..3 {
        let (opened, allocated) = counted(|| face.from_storage(op, AT, &stored, now));
        let opened = opened.expect("its DEK is cached").expect("a plaintext");
        assert_eq!(opened.plaintext.expose(), plaintext);
        assert_eq!(opened.is_stale(), other_dek);
        read = allocated;
    }
    [write, read]
}

#[test]
fn a_write_and_a_cached_read_allocate_their_outputs() {
    let key = DekSourceType::AesGcmKey;
    let seed = DekSourceType::HkdfSha256XnonceAesGcmSeed;
    let (ring, rust): (&dyn Maker, &dyn Maker) = (&NativeMaker::RING, &NativeMaker::RUST_CRYPTO);
    // In addition to the output: a seed needs one allocation for the value's own key; the hash of a key ID that is no longer in use needs two.
    let table = [
        ("ring, a key", ring, key, false, [1, 1]),
        ("ring, a seed", ring, seed, false, [2, 2]),
        ("ring, a key that was replaced", ring, key, true, [1, 3]),
        ("RustCrypto, a key", rust, key, false, [1, 1]),
        ("RustCrypto, a seed", rust, seed, false, [2, 2]),
        ("RustCrypto, a key that was replaced", rust, key, true, [1, 3]),
    ];
    for (desc, maker, source, other_dek, ceilings) in table {
        let found = write_and_read(maker, source, other_dek);
        for (what, (times, bytes), ceiling) in
            [("write", found[0], ceilings[0]), ("read", found[1], ceilings[1])]
        {
            assert!(times <= ceiling, "{desc}: {what}: {times} allocations, at most {ceiling}");
            // Only the output is as large as the value.
            assert!(bytes <= LEN + ROOM, "{desc}: {what}: {bytes} bytes");
        }
    }
}
