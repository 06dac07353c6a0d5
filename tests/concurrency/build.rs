//! Copies the modelled source from the tree, and replaces the system's locks and atomics with Shuttle's. For each source it also writes variants with
//! one mistake, which the models must detect.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A replacement: the text that must be present, and the text that replaces it.
type Change = (&'static str, &'static str);

const NONCE: &[Change] = &[
    ("use core::sync::atomic::", "use shuttle::sync::atomic::"),
    ("use super::entropy::", "use dekker_core::crypto::entropy::"),
    ("use super::keys::", "use dekker_core::crypto::keys::"),
    // A link in the documentation.
    ("crate::engine::event::Event::Restored", "dekker_core::engine::event::Event::Restored"),
];

const SHARED: &[Change] = &[
    ("use std::sync::atomic::", "use shuttle::sync::atomic::"),
    (
        "use std::sync::{Mutex, MutexGuard, PoisonError};",
        "use std::sync::PoisonError; use shuttle::sync::{Mutex, MutexGuard};",
    ),
    ("use thread_local::ThreadLocal;", "use crate::per_thread::ThreadLocal;"),
];

const WORKERS: &[Change] = &[
    ("use std::sync::atomic::", "use shuttle::sync::atomic::"),
    (
        "use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};",
        "use std::sync::{Arc, PoisonError}; use shuttle::sync::{Mutex, MutexGuard, RwLock};",
    ),
    ("use dekker_keys::OpeningKey;", "use crate::stand_in::OpeningKey;"),
    ("use crate::clock::Clock;", "use crate::stand_in::Clock;"),
    ("use crate::fault::describe;", "use crate::stand_in::describe;"),
    (
        "use crate::guest::{Component, Guest, Lease, Options, Trap};",
        "use crate::stand_in::{Component, Guest, Lease, Options, Trap};",
    ),
    ("use crate::metrics::{Metrics, add_up};", "use crate::stand_in::{Metrics, add_up};"),
    ("use crate::model::{", "use crate::stand_in::{"),
    ("use crate::thread_number::", "use crate::stand_in::"),
];

/// How a counter takes its next number atomically.
const TAKE_NEXT: &str =
    "        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
            (value < self.end).then(|| value + 1)
        });";

fn main() {
    let source = Source::new();
    source.write("nonce", "core/src/crypto/nonce.rs", NONCE, &[]);
    source.write(
        "nonce_read_then_write",
        "core/src/crypto/nonce.rs",
        NONCE,
        &[(
            TAKE_NEXT,
            "        let value = self.next.load(Ordering::Relaxed);
        if value >= self.end { return Err(Exhausted); }
        self.next.store(value + 1, Ordering::Relaxed);
        let next: Result<u64, u64> = Ok(value);",
        )],
    );
    source.write(
        "nonce_cut_apart",
        "core/src/crypto/nonce.rs",
        NONCE,
        &[(
            "self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).ok()?;",
            "self.next.load(Ordering::Relaxed);
        self.next.store(cut(start)?, Ordering::Relaxed);",
        )],
    );
    source.write(
        "nonce_wraps",
        "core/src/crypto/nonce.rs",
        NONCE,
        &[(
            TAKE_NEXT,
            "        let value = self.next.load(Ordering::Relaxed);
        if value >= self.end { return Err(Exhausted); }
        let next: Result<u64, u64> = Ok(self.next.fetch_add(1, Ordering::Relaxed));",
        )],
    );
    source.write("shared", "core/shared/src/lib.rs", SHARED, &[]);
    source.write(
        "shared_version_read_late",
        "core/shared/src/lib.rs",
        SHARED,
        &[(
            "            worker.version = version;",
            "            drop(control); let _ = version;
            worker.version = self.version.load(Ordering::Acquire);",
        )],
    );
    source.write(
        "shared_unpublished_file",
        "core/shared/src/lib.rs",
        SHARED,
        &[("        if now != *published {", "        if now.1 != published.1 {")],
    );
    source.write(
        "shared_lease_kept",
        "core/shared/src/lib.rs",
        SHARED,
        &[("Some(known) if known.serial == state.serial => {", "Some(known) => {")],
    );
    source.write("workers", "host/src/workers.rs", WORKERS, &[]);
    source.write(
        "workers_counted_before_published",
        "host/src/workers.rs",
        WORKERS,
        &[(
            "        *current = Arc::new(published);
        self.version.fetch_add(1, Ordering::Release);",
            "        drop(current);
        self.version.fetch_add(1, Ordering::Release);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);",
        )],
    );
    source.write(
        "workers_version_read_late",
        "host/src/workers.rs",
        WORKERS,
        &[(
            "                worker.version = version;
                worker.retry = Retry::FIRST;",
            "                worker.version = self.pool.version.load(Ordering::Acquire);
                worker.retry = Retry::FIRST;",
        )],
    );
    source.write(
        "workers_waits_without_a_look",
        "host/src/workers.rs",
        WORKERS,
        &[(
            "            if let Some(busy) = self.any_idle_worker() {
                return busy;
            }
            returned.await;",
            "            returned.await;",
        )],
    );
    source.write(
        "workers_lease_kept",
        "host/src/workers.rs",
        WORKERS,
        &[("Some(known) if known.id == dek.id => {", "Some(known) => {")],
    );
}

struct Source {
    root: PathBuf,
    out: PathBuf,
}

impl Source {
    fn new() -> Self {
        let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
        println!("cargo::rerun-if-changed=build.rs");
        Self {
            root: manifest.join("../.."),
            out: env::var_os("OUT_DIR").expect("cargo sets it").into(),
        }
    }

    fn write(&self, name: &str, path: &str, changes: &[Change], mistake: &[Change]) {
        let from = self.root.join(path);
        println!("cargo::rerun-if-changed={}", from.display());
        let text = fs::read_to_string(&from).expect("a source");
        // Unit tests are dropped, and so are inner doc comments and attributes, which are only valid for the whole crate.
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines();
        let mut text = lines
            .filter(|line| !line.starts_with("//!") && !line.starts_with("#!["))
            .collect::<Vec<_>>()
            .join("\n");
        for (there, instead) in changes.iter().chain(mistake) {
            assert!(
                text.contains(there),
                "{path} has no {there:?}: this build script is behind it"
            );
            text = text.replace(there, instead);
        }
        let to: &Path = &self.out.join(format!("{name}.rs"));
        fs::write(to, text).expect("it is written");
    }
}
