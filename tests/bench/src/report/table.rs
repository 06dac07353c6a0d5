//! Tables, as text and as Markdown.

use std::fmt::Write as _;

use crate::rounds::Series;

/// A table of text. The first column is aligned left, all others right.
pub(super) struct Table(pub(super) Vec<Vec<String>>);

impl Table {
    pub(super) fn aligned(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a String cannot fail.
                let _ = match column {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for (at, row) in self.0.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if at == 0 {
                let rest = "---:|".repeat(row.len().saturating_sub(1));
                let _ = writeln!(text, "|---|{rest}");
            }
        }
        text
    }
}

/// Formats a value with two decimals, from 10 on with one, and from 100 on with none.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Builds a table of medians, divided by `scale`, with a row for each subject and a column for each value that `column` returns.
pub(super) fn grid<'a, C: PartialEq>(
    corner: &str,
    series: impl Iterator<Item = &'a Series>,
    column: impl Fn(&Series) -> C,
    title: impl Fn(&C) -> String,
    scale: f64,
) -> Table {
    let mut columns: Vec<C> = Vec::new();
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for series in series {
        let at = column(series);
        let place = columns.iter().position(|known| *known == at).unwrap_or_else(|| {
            columns.push(at);
            columns.len() - 1
        });
        let row = match rows.iter_mut().find(|(name, _)| *name == series.subject) {
            Some((_, row)) => row,
            None => {
                rows.push((series.subject, Vec::new()));
                match rows.last_mut() {
                    Some((_, row)) => row,
                    None => continue,
                }
            }
        };
        if row.len() <= place {
            row.resize(place + 1, String::new());
        }
        if let Some(cell) = row.get_mut(place) {
            *cell = short(series.median / scale);
        }
    }
    let mut table = vec![vec![corner.to_owned()]];
    if let Some(head) = table.first_mut() {
        head.extend(columns.iter().map(&title));
    }
    for (name, mut cells) in rows {
        cells.resize(columns.len(), String::new());
        cells.insert(0, name.to_owned());
        table.push(cells);
    }
    Table(table)
}
