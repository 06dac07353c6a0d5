//! Lists the values in standard input: place, form, key, length and content of each, or why there is none.
//!
//! `etcdctl get /registry --prefix -w json | cargo run --release -p dekker-forms --example read`

use std::io::{Read, Write};
use std::process::ExitCode;

use dekker_forms::{Item, Limits, LineEnd, Reader};

fn main() -> std::io::Result<ExitCode> {
    let mut reader = Reader::new(Limits::default());
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    let mut faults = 0;
    loop {
        let len = input.read(&mut buffer)?;
        let mut piece = &buffer[..len];
        while let Some(item) = reader.push(&mut piece) {
            faults += show(&item, &mut output)?;
        }
        if len == 0 {
            break;
        }
    }
    while let Some(item) = reader.finish() {
        faults += show(&item, &mut output)?;
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes an item. Returns how many faults it is.
fn show(item: &Item, output: &mut dyn Write) -> std::io::Result<u32> {
    let entry = match item {
        Ok(entry) => entry,
        Err(fault) => {
            writeln!(output, "{fault}")?;
            return Ok(1);
        }
    };
    write!(output, "line {}, byte {}: ", entry.place.line, entry.place.offset)?;
    for form in &entry.within {
        write!(output, "{} > ", form.name())?;
    }
    write!(output, "{}: ", entry.form.name())?;
    if let Some(key) = &entry.key {
        write!(output, "{}: ", String::from_utf8_lossy(key).escape_debug())?;
    }
    if let Some(revision) = entry.revision {
        write!(output, "revision {revision}, ")?;
    }
    write!(output, "{} bytes, {:?}", entry.bytes.len(), entry.content)?;
    match entry.line_end {
        LineEnd::Absent => {}
        LineEnd::Removed => write!(output, ", a line end was removed")?,
        LineEnd::MaybeAdded { .. } => write!(output, ", a line end may have been added")?,
    }
    if entry.cut_short {
        write!(output, ", cut short")?;
    }
    if entry.crlf_undone {
        write!(output, ", CRLF undone")?;
    }
    writeln!(output)?;
    Ok(0)
}
