//! Values that are decrypted together.

use anyhow::Context;
use dekker_forms::{Entry, Item};

use super::Decrypt;
use super::output::Sink;

/// 256: the number of values in a group. More make no value cheaper.
const VALUES: usize = 256;

/// 1 MiB: the length of the values in a group. A longer value is decrypted alone.
const BYTES: usize = 1024 * 1024;

/// Decrypts the items of an input in groups, and writes their outcomes in the order of the input.
pub(super) struct Group<'a, 's> {
    decrypt: Decrypt<'a>,
    sink: &'s mut dyn Sink,
    items: Vec<Item>,
    /// The length of the values in `items`.
    bytes: usize,
    /// How many items were written.
    written: u64,
    /// How many of them are errors.
    failed: u64,
}

impl<'a, 's> Group<'a, 's> {
    pub(super) fn new(decrypt: Decrypt<'a>, sink: &'s mut dyn Sink) -> Self {
        Self { decrypt, sink, items: Vec::new(), bytes: 0, written: 0, failed: 0 }
    }

    /// Adds an item. If there is no room for it, the items before it are written first.
    pub(super) fn add(&mut self, item: Item) -> anyhow::Result<()> {
        let length = item.as_ref().map_or(0, |entry| entry.bytes.len());
        let is_full = self.items.len() == VALUES || self.bytes.saturating_add(length) > BYTES;
        if is_full && !self.items.is_empty() {
            self.write(false)?;
        }
        self.bytes += length;
        self.items.push(item);
        Ok(())
    }

    /// Writes all items, because the next one may come much later. Only the first one waits for the second if its location depends on whether there
    /// is a second one.
    pub(super) fn before_waiting(&mut self) -> anyhow::Result<()> {
        let is_first = self.written == 0 && self.items.len() == 1;
        if !(is_first && self.decrypt.given.has_any()) {
            self.write(false)?;
        }
        self.sink.flush()
    }

    /// Writes the last items. Returns how many items were errors.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        let is_alone = self.written == 0 && self.items.len() == 1;
        self.write(is_alone)?;
        self.sink.flush()?;
        eprintln!("{} decrypted, {} failed", self.written - self.failed, self.failed);
        Ok(self.failed)
    }

    /// Decrypts the values of the group and writes their outcomes, and its faults.
    fn write(&mut self, is_alone: bool) -> anyhow::Result<()> {
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        let entries: Vec<&Entry> = items.iter().flatten().collect();
        let mut values = self.decrypt.values(&entries, is_alone)?.into_iter();
        for item in &items {
            self.written += 1;
            let is_decrypted = match item {
                Ok(entry) => {
                    let value = values.next().context("a value has no outcome")?;
                    self.sink.value(self.written, entry, &value)?;
                    value.outcome.is_ok()
                }
                Err(fault) => {
                    self.sink.fault(fault)?;
                    false
                }
            };
            self.failed += u64::from(!is_decrypted);
        }
        Ok(())
    }
}
