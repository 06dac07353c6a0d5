//! The table of targets.

use super::table::{Table, short};
use crate::bars::Bar;
use crate::rounds::bytes;

/// Returns the table. Targets of several sizes that are met, or were not measured, share a row with the figure that is closest to the target. Each
/// missed target has its own, with its floor.
pub(super) fn table(bars: &[Bar]) -> Table {
    let head = ["measurement", "plaintext", "target", "reached", "best rounds", "floor", ""];
    let mut rows: Vec<(&Bar, Vec<usize>)> = Vec::new();
    for bar in bars {
        let size: Vec<_> = bar.size.into_iter().collect();
        let same = |(of, _): &&mut (&Bar, Vec<usize>)| {
            bar.met != Some(false) && (&of.what, &of.bar, of.met) == (&bar.what, &bar.bar, bar.met)
        };
        match rows.iter_mut().find(same) {
            Some((of, sizes)) => {
                sizes.extend(size);
                if bar.margin < of.margin {
                    *of = bar;
                }
            }
            None => rows.push((bar, size)),
        }
    }
    let mut all = vec![head.map(str::to_owned).to_vec()];
    for (bar, sizes) in rows {
        let figure = |value: Option<f64>| value.map_or_else(|| "not measured".into(), short);
        let sizes: Vec<_> = sizes.into_iter().map(bytes).collect();
        all.push(vec![
            bar.what.clone(),
            sizes.join(", "),
            bar.bar.clone(),
            figure(bar.reached),
            figure(bar.best),
            bar.floor.map(short).unwrap_or_default(),
            verdict(bar).to_owned(),
        ]);
    }
    Table(all)
}

fn verdict(bar: &Bar) -> &'static str {
    match (bar.met, bar.floor_met) {
        (Some(true), _) => "met",
        (Some(false), Some(false)) => "MISSED, by the floor too",
        (Some(false), _) => "MISSED",
        (None, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(what: &str, size: usize, reached: Option<f64>, floor: Option<f64>) -> Bar {
        Bar {
            what: what.into(),
            size: Some(size),
            bar: "at least 3×".into(),
            reached,
            best: reached,
            margin: reached.map(|reached| reached / 3.0),
            floor,
            unit: "×",
            met: reached.map(|reached| reached >= 3.0),
            floor_met: floor.map(|floor| floor >= 3.0),
        }
    }

    #[test]
    fn met_targets_share_a_row_with_the_closest_figure_and_missed_ones_do_not() {
        let all = [
            bar("a", 64, Some(5.0), Some(20.0)),
            bar("a", 1024, Some(2.0), Some(9.0)),
            bar("a", 4096, Some(4.0), Some(8.0)),
            bar("a", 8192, Some(1.0), Some(2.5)),
            bar("a", 65_536, Some(6.0), None),
            bar("b", 64, None, None),
            bar("b", 1024, None, None),
            bar("b", 4096, Some(1.0), None),
        ];
        let expected = "\
| measurement | plaintext | target | reached | best rounds | floor |  |
|---|---:|---:|---:|---:|---:|---:|
| a | 64 B, 4 KiB, 64 KiB | at least 3× | 4.00 | 4.00 | 8.00 | met |
| a | 1 KiB | at least 3× | 2.00 | 2.00 | 9.00 | MISSED |
| a | 8 KiB | at least 3× | 1.00 | 1.00 | 2.50 | MISSED, by the floor too |
| b | 64 B, 1 KiB | at least 3× | not measured | not measured |  |  |
| b | 4 KiB | at least 3× | 1.00 | 1.00 |  | MISSED |
";
        assert_eq!(table(&all).markdown(), expected);
    }
}
