//! The command `decrypt`: decrypts stored values.

mod directory;
mod group;
mod location;
mod output;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use dekker_forms::Entry;

use self::directory::Directory;
use self::group::Group;
use self::location::{Given, Known};
use self::output::{Attempted, ENCRYPTED_TWICE, JsonLines, Sink};
use crate::found;
use crate::input::Input;
use crate::transform_args::{WithDek, finish};
use crate::{Decryptor, Opened, Tools};

/// Its arguments.
#[derive(Args)]
pub struct DecryptArgs {
    /// Values in any form that `inspect` reads [default: standard input]
    file: Option<PathBuf>,
    /// The resource and its group, such as `secrets` or `deployments.apps` [default: the one that the storage key names]
    #[arg(long)]
    resource: Option<String>,
    /// The full storage key, such as `/registry/secrets/default/token`, to which the value is bound [default: the one in the input]
    #[arg(long)]
    key: Option<OsString>,
    /// A file with the DEK or seed of KMS values, to decrypt without the plugin: raw bytes, hex or base64
    #[arg(long, value_name = "FILE")]
    pub dek_file: Option<PathBuf>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t = Output::Raw)]
    output: Output,
    /// Write each plaintext to a file in this directory, which must be new or empty, instead of standard output
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    output_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The plaintext of one value
    Raw,
    /// A line with a JSON object for each value, with the plaintext in base64
    Jsonl,
}

impl DecryptArgs {
    fn given(&self) -> Given<'_> {
        Given {
            key: self.key.as_deref().map(|key| key.as_encoded_bytes()),
            resource: self.resource.as_deref(),
            needs_resource: self.dek_file.is_none(),
        }
    }
}

/// Runs the command. The exit code is 1 if any value cannot be decrypted, or if a part of the input cannot be read.
///
/// # Errors
/// Returns an error if the only value cannot be decrypted, if there are several and the output is raw, if the engine has ended, or if reading the
/// input or writing the output fails.
pub fn run(decryptor: &mut dyn Decryptor, args: &DecryptArgs) -> anyhow::Result<ExitCode> {
    let input = Input::open(args.file.as_deref())?;
    let decrypt = Decrypt { decryptor, given: args.given() };
    let is_complete = match (&args.output_dir, args.output) {
        (Some(dir), _) => decrypt.each(input, &mut Directory::create(dir)?)? == 0,
        (None, Output::Jsonl) => {
            decrypt.each(input, &mut JsonLines(BufWriter::new(io::stdout().lock())))? == 0
        }
        (None, Output::Raw) => decrypt.one(input, &mut io::stdout().lock())?,
    };
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the command with the DEK in the file that the arguments name.
///
/// # Errors
/// Returns the errors of [`run`], or an error if the arguments name no file or the file contains no DEK.
pub fn run_with_dek(tools: &dyn Tools, args: &DecryptArgs) -> anyhow::Result<ExitCode> {
    let dek_file = args.dek_file.as_deref().context("--dek-file is required")?;
    run(&mut WithDek::read(tools, dek_file)?, args)
}

struct Decrypt<'a> {
    decryptor: &'a mut dyn Decryptor,
    given: Given<'a>,
}

impl<'a> Decrypt<'a> {
    /// Decrypts the only value of the input, and writes its plaintext. Returns whether there were no faults.
    fn one(mut self, mut input: Input, out: &mut dyn Write) -> anyhow::Result<bool> {
        let mut found: Option<Entry> = None;
        let mut is_alone = true;
        while let Some(item) = input.next(&mut || Ok(()))? {
            match item {
                Ok(_) if found.is_some() => bail!(
                    "the input contains more than one value, and only one can be written as it is: use -o jsonl or --output-dir DIR"
                ),
                Ok(entry) => found = Some(entry),
                Err(fault) => {
                    is_alone = false;
                    eprintln!("dekker: {fault}");
                }
            }
        }
        let Some(entry) = found else {
            return Ok(false);
        };
        let value = self.value(&entry, is_alone)?;
        for note in &value.notes {
            eprintln!("note: {note}");
        }
        if value.is_encrypted_twice() {
            eprintln!("warning: {ENCRYPTED_TWICE}");
        }
        finish(&value.outcome?, out)?;
        Ok(is_alone)
    }

    /// Decrypts each value of the input. Goes on past those that fail. Returns how many failed.
    fn each(self, mut input: Input, sink: &mut dyn Sink) -> anyhow::Result<u64> {
        let mut group = Group::new(self, sink);
        while let Some(item) = input.next(&mut || group.before_waiting())? {
            group.add(item)?;
        }
        group.finish()
    }

    /// Decrypts a value. `is_alone` says whether the input contains nothing else.
    ///
    /// # Errors
    /// Returns an error if no further value can be decrypted. An error of this value is part of the result.
    fn value<'e>(&mut self, entry: &'e Entry, is_alone: bool) -> anyhow::Result<Attempted<'e>>
    where
        'a: 'e,
    {
        self.values(&[entry], is_alone)?.pop().context("a value has no outcome")
    }

    /// Decrypts values: the most probable reading of all together, and the other readings of those that fail one by one, until one succeeds. The
    /// results have the order of the values.
    ///
    /// # Errors
    /// Returns an error if no further value can be decrypted. An error of one of these values is part of the result.
    fn values<'e>(
        &mut self,
        entries: &[&'e Entry],
        is_alone: bool,
    ) -> anyhow::Result<Vec<Attempted<'e>>>
    where
        'a: 'e,
    {
        let attempts: Vec<Attempt<'e>> = entries
            .iter()
            .map(|entry| Attempt {
                entry,
                known: self.given.locate(entry, is_alone),
                readings: entry.probable_readings(&[]),
            })
            .collect();
        let mut asked = Vec::new();
        let mut outcomes = Vec::with_capacity(attempts.len());
        for attempt in &attempts {
            let reading = attempt.readings.first().context("a value has no reading")?;
            match self.given.complete(&attempt.known.location, reading) {
                Ok(at) => {
                    asked.push((at, *reading));
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let mut answers = self.decryptor.decrypt_many(&asked)?.into_iter();
        let mut attempted = Vec::with_capacity(attempts.len());
        for (attempt, outcome) in attempts.into_iter().zip(outcomes) {
            let first = outcome.or_else(|| answers.next()).context("a value has no outcome")?;
            attempted.push(self.conclude(attempt, first)?);
        }
        Ok(attempted)
    }

    /// Decrypts the other readings of a value if `first`, the outcome of its first reading, is an error.
    fn conclude<'e>(
        &mut self,
        attempt: Attempt<'e>,
        first: anyhow::Result<Opened>,
    ) -> anyhow::Result<Attempted<'e>> {
        let Attempt { entry, known: Known { location, notes }, readings } = attempt;
        let mut first = Some(first);
        let mut refused = None;
        for reading in readings {
            let outcome = match first.take() {
                Some(outcome) => outcome,
                None => match self.given.complete(&location, reading) {
                    Ok(at) => self.decryptor.decrypt(at, reading)?,
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(opened) => {
                    let notes = [notes, found::notes(entry, reading)].concat();
                    return Ok(Attempted { location, notes, outcome: Ok(opened) });
                }
                Err(error) => {
                    refused.get_or_insert((error, reading));
                }
            }
        }
        let notes = [notes, found::notes(entry, &entry.bytes)].concat();
        let (error, reading) = refused.context("a value has no reading")?;
        let help = match self.given.complete(&location, reading) {
            Ok(at) => self.decryptor.help(&error, at, reading),
            Err(_) => Vec::new(),
        };
        Ok(Attempted { location, notes, outcome: Err(with_help(error, &help)) })
    }
}

/// A value that is to be decrypted.
struct Attempt<'e> {
    entry: &'e Entry,
    known: Known<'e>,
    /// The most probable one comes first.
    readings: Vec<&'e [u8]>,
}

/// Adds causes and remedies to the text of an error.
pub fn with_help(error: anyhow::Error, help: &[String]) -> anyhow::Error {
    if help.is_empty() {
        return error;
    }
    let help: String = help.iter().map(|help| format!("\nhelp: {help}")).collect();
    anyhow::Error::msg(format!("{error:#}{help}"))
}

#[cfg(test)]
mod tests;
