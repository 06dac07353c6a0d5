//! Measures `dekker inspect -o summary`, which reads the output of `etcdctl get --prefix -w json` from a pipe, about 1 GiB: its speed and its memory.
//!
//! Its peer reads the same bytes from a pipe too, with serde_json. It does the least that any reader in constant memory must do: it parses the JSON,
//! decodes each key and value, and drops them. It searches for nothing and describes nothing. serde_json is faster with the whole input in memory,
//! but a listing of this size should not be.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::rounds::{Op, Plan, Series, Source, Work};

/// The benchmark of the speed.
pub const NAME: &str = "inspect";
/// The benchmark of the memory, which runs with [`NAME`].
pub const MEMORY: &str = "inspect-memory";
/// The command.
pub const DEKKER: &str = "dekker inspect -o summary";
/// Its peer.
pub const SERDE: &str = "serde_json and base64";
/// The length of a stored value in bytes.
pub const SIZE: usize = 8192;
/// The number of values in a full run: in base64, they are 1 GiB.
pub const COUNT: usize = 100_000;
/// 64 MiB: the most memory that the command may use, however long its input is.
pub const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// 2 milliseconds. The pause between two looks at the memory of the command.
const GLANCE: Duration = Duration::from_millis(2);
/// The size of the buffers, for both: that of a pipe.
const BUFFER: usize = 64 * 1024;

/// Measures the command and its peer in turns.
///
/// # Errors
/// Returns an error if one of them does not find every value, or if the command uses more than [`MEMORY_MAX`].
pub fn measure(dekker: &Path, plan: Plan) -> Result<Vec<Series>> {
    let (count, rounds) = if plan.quick { (1000, 1) } else { (COUNT, 5) };
    let listing = Listing::new(count);
    let mut rates = [Vec::new(), Vec::new()];
    let mut peaks = Vec::new();
    for round in 0..rounds {
        eprintln!("{NAME}: round {} of {rounds}", round + 1);
        for turn in 0..2 {
            let who = (round + turn) % 2;
            let (bytes, took) = if who == 0 {
                let (bytes, took, peak) = inspect(dekker, &listing)?;
                ensure!(
                    peak <= MEMORY_MAX,
                    "`{DEKKER}` used {peak} bytes of memory for {bytes} bytes of input, and may use {MEMORY_MAX}"
                );
                peaks.push(peak as f64 / f64::from(1 << 20));
                (bytes, took)
            } else {
                skim(&listing)?
            };
            rates[who].push(bytes as f64 / 1e6 / took.as_secs_f64());
        }
    }
    let work = work(count);
    let [ours, peers] = rates;
    Ok(vec![
        Series::new(NAME, DEKKER, work, "MB/s", ours),
        Series::new(NAME, SERDE, work, "MB/s", peers),
        Series::new(MEMORY, DEKKER, work, "MiB", peaks),
    ])
}

/// The work of reading so many values.
pub fn work(count: usize) -> Work {
    Work { op: Op::Read, source: Source::Counter, size: SIZE, count }
}

/// The output of `etcdctl get --prefix -w json`. It is written as a stream, because it may be longer than the memory.
struct Listing {
    count: usize,
    /// Some values in base64. They follow each other again and again.
    values: Vec<String>,
}

impl Listing {
    fn new(count: usize) -> Self {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let prefix = b"k8s:enc:aesgcm:v1:key1:";
        let mut value = || {
            let payload = std::iter::repeat_with(&mut random).take(SIZE - prefix.len());
            STANDARD.encode(prefix.iter().copied().chain(payload).collect::<Vec<_>>())
        };
        Self { count, values: std::iter::repeat_with(&mut value).take(61).collect() }
    }

    /// Writes the output. Returns its length.
    fn write(&self, out: impl Write) -> io::Result<u64> {
        let mut out = Counted { out: BufWriter::with_capacity(BUFFER, out), len: 0 };
        let revision = self.count + 7;
        write!(
            out,
            r#"{{"header":{{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":{revision},"raft_term":2}},"kvs":["#
        )?;
        for (index, value) in (0..self.count).zip(self.values.iter().cycle()) {
            let separator = if index == 0 { "" } else { "," };
            let key = STANDARD.encode(format!("/registry/secrets/default/token-{index:06}"));
            let revision = index + 7;
            write!(
                out,
                r#"{separator}{{"key":"{key}","create_revision":{revision},"mod_revision":{revision},"version":1,"value":""#
            )?;
            out.write_all(value.as_bytes())?;
            out.write_all(b"\"}")?;
        }
        writeln!(out, r#"],"count":{}}}"#, self.count)?;
        out.flush()?;
        Ok(out.len)
    }
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    len: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.len += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Pipes the listing into the command. Returns the length of the input, how long the process took, and the most memory that it had.
fn inspect(dekker: &Path, listing: &Listing) -> Result<(u64, Duration, u64)> {
    let start = Instant::now();
    let mut child = Command::new(dekker)
        .args(["inspect", "-o", "summary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| dekker.display().to_string())?;
    let input = child.stdin.take().context("the command has no input")?;
    let status = format!("/proc/{}/status", child.id());
    let (written, took, peak) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| listing.write(input));
        let mut peak = 0;
        // The kernel's high-water mark. Unlike that of getrusage, it does not include this process before the exec. It is gone when the process ends,
        // so what the process needs in its last milliseconds is not seen.
        while child.try_wait()?.is_none() {
            peak = high_water(&status).unwrap_or(peak).max(peak);
            std::thread::sleep(GLANCE);
        }
        let took = start.elapsed();
        anyhow::Ok((writer.join(), took, peak))
    })?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{DEKKER}`: {}", output.status);
    let written = written.ok().context("the writer failed")??;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = listing.count.to_string();
    ensure!(
        text.split_whitespace().any(|word| word == count),
        "`{DEKKER}` does not count {count} values: {text}"
    );
    ensure!(peak > 0, "{status} has no VmHWM");
    Ok((written, took, peak))
}

/// The most memory that a process has had, in bytes. `None` if it has ended.
fn high_water(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Reads the listing with serde_json. Returns its length, and how long that took.
fn skim(listing: &Listing) -> Result<(u64, Duration)> {
    let (input, output) = io::pipe()?;
    let start = Instant::now();
    let (written, found) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| listing.write(output));
        let found = count_values(input);
        (writer.join(), found)
    });
    let took = start.elapsed();
    let written = written.ok().context("the writer failed")??;
    let found = found?;
    ensure!(found == listing.count, "serde_json found {found} values");
    Ok((written, took))
}

fn count_values(input: impl Read) -> Result<usize> {
    let answer: Answer = serde_json::from_reader(BufReader::with_capacity(BUFFER, input))?;
    Ok(answer.kvs.0)
}

/// What is read of the listing. Other members are skipped.
#[derive(Deserialize)]
struct Answer {
    kvs: Count,
}

#[derive(Deserialize)]
struct Pair {
    key: Decoded,
    value: Decoded,
}

/// The number of pairs, each of which is dropped as soon as it was read.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of pairs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while let Some(Pair { key, value }) = seq.next_element()? {
                    black_box((key.0, value.0));
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

/// Bytes that are base64 in JSON. The text is not copied.
struct Decoded(Vec<u8>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Decoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Decoded, E> {
                STANDARD.decode(text).map(Decoded).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_is_json_of_the_stated_length() {
        let listing = Listing::new(100);
        let mut text = Vec::new();
        let len = listing.write(&mut text).unwrap();
        assert_eq!(len, text.len() as u64);
        assert_eq!(count_values(&text[..]).unwrap(), 100);
        let pair: Pair = serde_json::from_str(r#"{"key":"a2V5","x":1,"value":"AAE="}"#).unwrap();
        assert_eq!((pair.key.0, pair.value.0), (b"key".to_vec(), vec![0, 1]));
    }

    /// 1 GiB, without a listing of that length in the test.
    #[test]
    fn a_full_listing_is_one_gibibyte() {
        let of = |count| Listing::new(count).write(io::sink()).unwrap();
        let per_value = (of(200) - of(100)) / 100;
        let full = per_value * COUNT as u64;
        assert!((1 << 30..1_200_000_000).contains(&full), "{full}");
    }

    #[test]
    fn the_memory_of_a_process_is_read() {
        assert!(high_water("/proc/self/status").is_some_and(|bytes| bytes > 1 << 16));
        assert_eq!(high_water("/proc/0/status"), None);
    }
}
