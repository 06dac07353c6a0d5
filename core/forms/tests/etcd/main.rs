//! A real etcd holds values of every provider, and what its etcdctl and its HTTP gateway print of them is read back.
//!
//! `cargo xtask test etcd` builds etcd in several versions and names their directories in `DEKKER_ETCD`, separated by colons. Each directory has the
//! programs `etcd` and `etcdctl`. Without the variable, the test does nothing but say so. `DEKKER_BIN` names the `dekker` binary, whose commands read
//! the same outputs.

mod commands;
mod outputs;
mod sealed;
mod server;
mod values;

use std::path::Path;

use dekker_forms::{Content, FaultKind, Item, Limits, Reader};

use commands::Commands;
use outputs::Output;
use server::Server;
use values::Stored;

/// The number of keys below one prefix.
const MANY: usize = 1000;

#[test]
fn every_output_of_a_real_etcd_is_read_back() {
    let Some(directories) = std::env::var_os("DEKKER_ETCD") else {
        println!("SKIP: DEKKER_ETCD names no etcd: cargo xtask test etcd");
        return;
    };
    let binary = std::env::var_os("DEKKER_BIN").expect("DEKKER_BIN names the dekker binary");
    let commands = Commands::new(binary.into());
    for directory in std::env::split_paths(&directories) {
        check(&directory, &commands);
    }
}

fn check(directory: &Path, commands: &Commands) {
    let server = Server::start(directory);
    let version = server.version();
    let kinds = values::of_every_provider();
    let many = values::many(MANY);
    let mut revisions = server.put_each(&kinds);
    revisions.extend(server.put_all(&many));
    let stored: Vec<Stored> = kinds.into_iter().chain(many).collect();
    let outputs = outputs::all(&server, &stored, &revisions);
    let mut wrong = Vec::new();
    let mut decrypted = 0;
    for output in &outputs {
        let mut check = |result: Result<(), String>| {
            if let Err(fault) = result {
                wrong.push(format!("etcd {version}: {}: {fault}", output.command));
            }
        };
        check(read_back(output));
        check(commands.inspect(output));
        check(commands.decrypt(output).map(|count| decrypted += count));
    }
    let watch = server.start_watch(&["-w", "json"]);
    if let Err(fault) = commands.inspect_live(watch, &values::last().key) {
        wrong.push(format!("etcd {version}: etcdctl watch | dekker inspect: {fault}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let values: usize = outputs.iter().map(|output| output.pairs.len()).sum();
    println!(
        "ETCD {version}: {} outputs, {values} values read back, {decrypted} decrypted",
        outputs.len()
    );
}

/// Reads the output with the library, and compares what it finds.
fn read_back(output: &Output) -> Result<(), String> {
    let items = read(&output.bytes);
    if output.pairs.is_empty() {
        let kinds: Vec<FaultKind> =
            items.iter().filter_map(|item| Some(item.as_ref().err()?.kind)).collect();
        let is_right = kinds.len() == items.len() && !kinds.is_empty();
        return if is_right { Ok(()) } else { Err(format!("{items:?}")) };
    }
    if items.len() != output.pairs.len() {
        let fault = items.iter().find_map(|item| item.as_ref().err());
        let wanted = output.pairs.len();
        return Err(format!("{} items, not {wanted}; the first fault: {fault:?}", items.len()));
    }
    for (item, pair) in items.iter().zip(&output.pairs) {
        let entry = item.as_ref().map_err(|fault| format!("{}: {fault}", pair.key))?;
        let content = if pair.value.starts_with(b"k8s:enc:") {
            Content::Encrypted
        } else if pair.value.starts_with(b"k8s\0") {
            Content::Protobuf
        } else {
            Content::Json
        };
        let is_right = entry.readings().any(|bytes| bytes == pair.value)
            && entry.key.as_deref() == output.keeps_key.then_some(pair.key.as_bytes())
            && entry.revision == output.keeps_revision.then_some(pair.revision)
            && entry.content == content
            && !entry.cut_short;
        if !is_right {
            return Err(format!("{}, revision {}: {entry:?}", pair.key, pair.revision));
        }
    }
    Ok(())
}

fn read(input: &[u8]) -> Vec<Item> {
    let mut reader = Reader::new(Limits::default());
    let mut items = Vec::new();
    // As a pipe gives it.
    for mut piece in input.chunks(4096) {
        items.extend(std::iter::from_fn(|| reader.push(&mut piece)));
    }
    items.extend(std::iter::from_fn(|| reader.finish()));
    items
}
