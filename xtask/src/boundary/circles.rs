//! Circles between sibling files: files of one folder that use each other, directly or through others of this folder.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::sources::{Module, Use};

/// For each file, the siblings that it uses, with the place of the first use.
type Graph<'u> = BTreeMap<&'u Module, BTreeMap<&'u Module, &'u str>>;

/// Returns a message for each circle. Of the circles through one use, only the shortest is reported.
pub(super) fn faults(uses: &[Use]) -> Vec<String> {
    let mut graph = Graph::new();
    for Use { from, to, place } in uses.iter().filter(|one| one.from.is_sibling(&one.to)) {
        graph.entry(from).or_default().entry(to).or_insert(place);
    }
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (&from, used) in &graph {
        for &to in used.keys() {
            if let Some(back) = way(&graph, to, from)
                && seen.insert(back.iter().copied().collect::<BTreeSet<_>>())
            {
                faults.push(shown(&graph, from, &back));
            }
        }
    }
    faults
}

/// Returns the shortest way from one file to another, both included.
fn way<'u>(graph: &Graph<'u>, start: &'u Module, end: &'u Module) -> Option<Vec<&'u Module>> {
    let mut from = BTreeMap::from([(start, None)]);
    let mut next = VecDeque::from([start]);
    while let Some(here) = next.pop_front() {
        if here == end {
            let mut way: Vec<_> =
                std::iter::successors(Some(here), |module| from.get(module).copied().flatten())
                    .collect();
            way.reverse();
            return Some(way);
        }
        for &there in graph.get(here).into_iter().flat_map(BTreeMap::keys) {
            from.entry(there).or_insert_with(|| {
                next.push_back(there);
                Some(here)
            });
        }
    }
    None
}

fn shown(graph: &Graph<'_>, first: &Module, back: &[&Module]) -> String {
    let mut from = first;
    let mut places = Vec::new();
    for &to in back {
        let place = graph.get(from).and_then(|used| used.get(to)).copied().unwrap_or_default();
        places.push(format!("{place}: `{from}` uses `{to}`"));
        from = to;
    }
    format!("{}: this is a circle: move what they share to another file", places.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::sources::tests::uses;
    use super::*;

    #[test]
    fn circles_between_siblings_are_found() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);
        let table: &[Case] = &[
            ("two files", &[("a.rs", "use crate::b;"), ("b.rs", "use super::a::A;")], 1),
            (
                "three files in a folder",
                &[
                    ("f.rs", ""),
                    ("f/a.rs", "use super::b;"),
                    ("f/b.rs", "use super::c;"),
                    ("f/c.rs", "use super::a;"),
                ],
                1,
            ),
            ("one way", &[("a.rs", "use crate::b; use crate::b::B;"), ("b.rs", "")], 0),
            ("a parent and its child", &[("a.rs", "use self::b;"), ("a/b.rs", "use super::A;")], 0),
            (
                "files of two folders",
                &[
                    ("a.rs", ""),
                    ("b.rs", ""),
                    ("a/c.rs", "use crate::b;"),
                    ("b/d.rs", "use crate::a;"),
                ],
                0,
            ),
            (
                "two circles",
                &[
                    ("a.rs", "use crate::b;"),
                    ("b.rs", "use crate::a; use crate::c;"),
                    ("c.rs", "use crate::b;"),
                ],
                2,
            ),
        ];
        for (desc, files, expected) in table {
            let faults = faults(&uses(files));
            assert_eq!(faults.len(), *expected, "{desc}: {faults:?}");
        }
    }

    #[test]
    fn a_circle_is_shown_with_each_of_its_uses() {
        let all = [("a.rs", "\nuse crate::b;"), ("b.rs", "fn f() { crate::a::g() }")];
        assert_eq!(
            faults(&uses(&all)),
            [
                "src/a.rs:2: `a` uses `b`; src/b.rs:1: `b` uses `a`: this is a circle: move what they share to another file"
            ]
        );
    }
}
