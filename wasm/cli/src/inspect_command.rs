//! The command `inspect`: describes stored values, without any key.

mod description;
mod summary;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use dekker_forms::{Entry, Fault, KeyName};

use self::description::{Damage, Description};
use self::summary::Summary;
use crate::found::{fault_object, notes, value_object};
use crate::input::Input;
use crate::io::read_config;
use crate::{Tools, not_valid};

/// Its arguments.
#[derive(Args)]
pub struct InspectArgs {
    /// Values in any form: bytes, hex, base64, the output of etcdctl, jq, hexdump, psql, … [default: standard input]
    file: Option<PathBuf>,
    /// An encryption configuration: its key names decide where a name with colons ends. No key is used, and no plugin is called
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// A JSON array with an object for each value
    Json,
    /// A line with a JSON object for each value
    Jsonl,
    /// How many values there are of each form, provider and key
    Summary,
}

/// A value that was found.
struct Found<'e> {
    entry: &'e Entry,
    notes: Vec<String>,
    /// The engine's description in JSON; or why the value is damaged and what is known of it, in JSON too.
    outcome: Result<String, String>,
}

impl Found<'_> {
    fn json(&self) -> String {
        let mut object = value_object(self.entry, self.entry.key.as_deref(), &self.notes);
        let (Ok(members) | Err(members)) = &self.outcome;
        object.put_all(members);
        object.finish()
    }
}

/// A format of the output.
trait Show {
    fn value(&mut self, out: &mut dyn Write, found: &Found<'_>) -> anyhow::Result<()>;
    fn fault(&mut self, out: &mut dyn Write, fault: &Fault) -> anyhow::Result<()>;
    /// Ends the output after the last value.
    fn end(&mut self, out: &mut dyn Write) -> anyhow::Result<()>;
}

/// Runs the command. The exit code is 1 if any of the values is damaged, or if a part of the input cannot be read.
///
/// # Errors
/// Returns an error if the configuration is not valid, if the engine fails, or if reading the input or writing the output fails.
pub fn run(tools: &dyn Tools, args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let describe = Describe::new(tools, args.encryption_provider_config.as_deref())?;
    let input = Input::open(args.file.as_deref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    let failed = inspect(&describe, input, args.output, &mut out)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Describes every value of the input. Returns whether there was a fault.
fn inspect(
    describe: &Describe<'_>,
    mut input: Input,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut show: Box<dyn Show> = match output {
        Output::Text => Box::new(Text { is_first: true }),
        Output::Json => Box::new(Json { is_first: true }),
        Output::Jsonl => Box::new(JsonLines),
        Output::Summary => Box::new(Summary::default()),
    };
    let mut failed = false;
    while let Some(item) = input.next(&mut || out.flush().context(OUT))? {
        match item {
            Ok(entry) => {
                let found = describe.value(&entry)?;
                failed |= found.outcome.is_err() || entry.cut_short;
                show.value(out, &found)?;
            }
            Err(fault) => {
                failed = true;
                show.fault(out, &fault)?;
            }
        }
    }
    show.end(out)?;
    out.flush().context(OUT)?;
    Ok(failed)
}

/// Describes values, with the names in a configuration if there is one.
struct Describe<'t> {
    tools: &'t dyn Tools,
    prefixes: Vec<String>,
}

impl<'t> Describe<'t> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Returns an error if it cannot be read or is not valid, naming all of its errors, or if the engine fails.
    fn new(tools: &'t dyn Tools, config: Option<&Path>) -> anyhow::Result<Self> {
        let prefixes = match config {
            Some(path) => {
                let config = read_config(path).map_err(anyhow::Error::msg)?;
                tools.value_prefixes(&config)?.map_err(|faults| {
                    anyhow::Error::msg(not_valid(&faults)).context(path.display().to_string())
                })?
            }
            None => Vec::new(),
        };
        Ok(Self { tools, prefixes })
    }

    /// Describes the first reading that is a value of its provider, or the most probable one.
    fn value<'e>(&self, entry: &'e Entry) -> anyhow::Result<Found<'e>> {
        let names = self.prefixes.iter().filter_map(|prefix| KeyName::of_value_prefix(prefix));
        let mut damaged = None;
        for reading in entry.probable_readings(&names.collect::<Vec<_>>()) {
            let notes = notes(entry, reading);
            let outcome = self.tools.inspect(reading, &self.prefixes)?;
            let found = Found { entry, notes, outcome };
            if found.outcome.is_ok() {
                return Ok(found);
            }
            damaged.get_or_insert(found);
        }
        damaged.context("a value has no reading")
    }
}

const OUT: &str = "cannot write to standard output";

/// One block of lines for each value. Faults go to standard error.
struct Text {
    is_first: bool,
}

impl Show for Text {
    fn value(&mut self, out: &mut dyn Write, found: &Found<'_>) -> anyhow::Result<()> {
        let text = description::text(found)?;
        let separator = if std::mem::take(&mut self.is_first) { "" } else { "\n" };
        write!(out, "{separator}{text}").context(OUT)
    }

    fn fault(&mut self, out: &mut dyn Write, fault: &Fault) -> anyhow::Result<()> {
        // What was found before it comes first on a terminal too.
        out.flush().context(OUT)?;
        eprintln!("dekker: {fault}");
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> anyhow::Result<()> {
        Ok(())
    }
}

struct Json {
    is_first: bool,
}

impl Json {
    fn element(&mut self, out: &mut dyn Write, json: &str) -> anyhow::Result<()> {
        let separator = if std::mem::take(&mut self.is_first) { "[" } else { ",\n" };
        write!(out, "{separator}{json}").context(OUT)
    }
}

impl Show for Json {
    fn value(&mut self, out: &mut dyn Write, found: &Found<'_>) -> anyhow::Result<()> {
        self.element(out, &found.json())
    }

    fn fault(&mut self, out: &mut dyn Write, fault: &Fault) -> anyhow::Result<()> {
        self.element(out, &fault_object(fault).finish())
    }

    fn end(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let end = if self.is_first { "[]\n" } else { "]\n" };
        out.write_all(end.as_bytes()).context(OUT)
    }
}

struct JsonLines;

impl Show for JsonLines {
    fn value(&mut self, out: &mut dyn Write, found: &Found<'_>) -> anyhow::Result<()> {
        writeln!(out, "{}", found.json()).context(OUT)
    }

    fn fault(&mut self, out: &mut dyn Write, fault: &Fault) -> anyhow::Result<()> {
        writeln!(out, "{}", fault_object(fault).finish()).context(OUT)
    }

    fn end(&mut self, _: &mut dyn Write) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Show for Summary {
    fn value(&mut self, _: &mut dyn Write, found: &Found<'_>) -> anyhow::Result<()> {
        match &found.outcome {
            Ok(json) => self.add(found.entry, &Description::parse(json)?),
            Err(json) => self.add_damaged(found.entry, &Damage::parse(json)?),
        }
        Ok(())
    }

    fn fault(&mut self, _: &mut dyn Write, fault: &Fault) -> anyhow::Result<()> {
        self.add_fault(fault);
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        write!(out, "{self}").context(OUT)
    }
}

#[cfg(test)]
mod tests;
