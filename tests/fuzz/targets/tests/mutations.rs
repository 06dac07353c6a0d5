//! Mutations of printed forms. A fuzzer mutates bytes; this test moves lines, tokens and parts of other forms, which finds other faults of a reader.
//!
//! Each run has a fresh seed, and prints it; `DEKKER_SEED` repeats a run. `DEKKER_MUTATIONS` sets the number of inputs. An input that violates a
//! guarantee is made as short as possible and kept in the corpus of `forms`, which `corpora.rs` runs from then on.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use dekker_fuzz_targets::forms;
use fastrand::Rng;

/// Parts that mean something in one form or another.
const TOKENS: [&[u8]; 38] = [
    b"k8s:enc:",
    b"k8s\0\n",
    b"\n",
    b"\r\n",
    b"\"",
    b"{",
    b"}",
    b"[",
    b",",
    b"\\x",
    b"0x",
    b"X'",
    b"/registry/a/b",
    b"\n/registry/secrets/a/b\n",
    b"PUT\n",
    b"DELETE\n",
    b" | ",
    b"\x1e",
    b"\0",
    b"azhzOmVuYzph",
    b"6b38733a656e633a",
    b"00000000  ",
    b"*\n",
    b"$ ",
    b"# etcdctl get x\n",
    b"=",
    b"+",
    b"\"value\": \"",
    b"key: ",
    b"value: |\n",
    b"  ",
    b"\xe2\x94\x82",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\\u006b",
    b"(1 row)\n",
    b"```\n",
    b"...",
];

/// Longer inputs find no more.
const INPUT_MAX: usize = 6000;

#[test]
fn mutated_forms_keep_every_guarantee() {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
    };
    let seed = number("DEKKER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let count = number("DEKKER_MUTATIONS").unwrap_or(10_000);
    println!("{count} mutations, DEKKER_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let seeds = forms::seeds();
    for _ in 0..count {
        let mut input = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..=5) {
            mutate(&mut input, &seeds, &mut random);
        }
        input.truncate(INPUT_MAX);
        if violates(&input) {
            keep(&input);
        }
    }
}

/// Changes the input once.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    let len = input.len();
    let at = random.usize(..=len);
    let end = |from: usize, most: usize, random: &mut Rng| {
        from + random.usize(1..=most).min(input.len() - from)
    };
    match random.usize(..9) {
        0 if at < len => input[at] = random.u8(..),
        1 if at < len => input[at] ^= 1 << random.u8(..8),
        2 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
        3 => {
            let end = end(at, 20, random);
            input.drain(at..end);
        }
        4 => {
            let end = end(at, 60, random);
            let part = input[at..end].to_vec();
            let to = random.usize(..=len);
            input.splice(to..to, part);
        }
        5 => {
            let other = &seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            let part = other[from..].iter().take(random.usize(1..=400)).copied();
            input.splice(at..at, part);
        }
        6 => input.truncate(at),
        7 => drop(input.drain(..at)),
        _ => input.rotate_left(at),
    }
}

fn violates(input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| forms::run(input))).is_err()
}

/// Shortens the input as long as it violates a guarantee, and keeps it in the corpus.
fn keep(input: &[u8]) -> ! {
    let mut shortest = input.to_vec();
    let mut size = shortest.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < shortest.len() {
            let mut shorter = shortest.clone();
            shorter.drain(at..(at + size).min(shortest.len()));
            if violates(&shorter) {
                shortest = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    let hash = shortest.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = format!("bug-{hash:016x}");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/forms");
    fs::write(corpus.join(&name), &shortest).expect("an input in the corpus");
    println!("kept as tests/fuzz/corpus/forms/{name}: {}", shortest.escape_ascii());
    forms::run(&shortest);
    panic!("{name} violates a guarantee only sometimes");
}
