//! How many values there are of each kind. Its size depends on the number of kinds, not of values.

use std::collections::BTreeMap;
use std::fmt;

use dekker_forms::{Entry, Fault};

use super::description::{Damage, Description, quoted};
use crate::found::{CUT_SHORT, forms, printable, without_place};

/// Each table has at most this many rows, so that no input fills the memory. Further kinds are counted together.
const ROWS_MAX: usize = 10_000;

/// The counts of an input.
#[derive(Default)]
pub(super) struct Summary {
    values: u64,
    plaintext: u64,
    faults: u64,
    forms: Table,
    keys: Table,
    causes: Table,
}

impl Summary {
    /// Counts a value that was described.
    pub(super) fn add(&mut self, entry: &Entry, description: &Description) {
        self.values += 1;
        self.forms.add(forms(entry));
        let mut text = description.provider();
        if let Some(name) = &description.key_name {
            text.push_str(&format!(", key name {}", quoted(name)));
        }
        if let Some(hash) = &description.key_id_hash {
            text.push_str(&format!(", key ID hash {hash}"));
        }
        if let Some(content) = &description.content {
            self.plaintext += 1;
            text.push_str(&format!(", {content}"));
        }
        self.keys.add(text);
        if entry.cut_short {
            self.faults += 1;
            self.causes.add(CUT_SHORT.to_owned());
        }
    }

    /// Counts a value that is damaged.
    pub(super) fn add_damaged(&mut self, entry: &Entry, damage: &Damage) {
        self.values += 1;
        self.faults += 1;
        self.forms.add(forms(entry));
        self.causes.add(printable(&damage.error));
    }

    /// Counts a part of the input that cannot be read.
    pub(super) fn add_fault(&mut self, fault: &Fault) {
        self.faults += 1;
        // With its key, each fault would be a kind for itself.
        let mut fault = fault.clone();
        fault.key = None;
        self.causes.add(without_place(&fault));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, plaintext, faults, forms, keys, causes } = self;
        for (name, count) in [("values", values), ("plaintext", plaintext), ("faults", faults)] {
            writeln!(f, "{name:<12} {count}")?;
        }
        for (name, table) in [("form", forms), ("provider and key", keys), ("fault", causes)] {
            table.write(f, name)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<String, u64>,
    others: u64,
}

impl Table {
    fn add(&mut self, kind: String) {
        let is_full = self.rows.len() >= ROWS_MAX;
        match self.rows.get_mut(&kind) {
            Some(count) => *count += 1,
            None if is_full => self.others += 1,
            None => {
                self.rows.insert(kind, 1);
            }
        }
    }

    /// Writes the rows, the most frequent first.
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:>9}  {name}", "count")?;
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(_, one), (_, other)| other.cmp(one));
        for (kind, count) in rows {
            writeln!(f, "{count:>9}  {kind}")?;
        }
        if self.others > 0 {
            writeln!(f, "{:>9}  others", self.others)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_bounded() {
        let mut table = Table::default();
        for kind in 0..ROWS_MAX + 5 {
            table.add(kind.to_string());
        }
        table.add("0".to_owned());
        assert_eq!((table.rows.len(), table.others), (ROWS_MAX, 5));
        assert_eq!(table.rows["0"], 2);
    }
}
