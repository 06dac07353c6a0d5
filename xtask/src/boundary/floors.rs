//! The floors of core: what is above uses what is below, never the other way round.

use super::sources::Use;

/// The top-level modules of core that have a floor, from the ground up. Those of one floor do not limit each other.
const FLOORS: [&[&str]; 3] = [&["crypto", "config"], &["provider"], &["engine"]];

/// Returns the floor of a top-level module.
fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Returns a message for each use of a higher floor.
pub(super) fn faults(uses: &[Use]) -> Vec<String> {
    let is_upward = |one: &&Use| {
        let floor = |path: &[String]| path.first().and_then(|top| floor(top));
        matches!((floor(&one.from.0), floor(&one.to.0)), (Some(from), Some(to)) if from < to)
    };
    let shown = |one: &Use| {
        let Use { from, to, place } = one;
        let (lower, upper) = (&from.0[0], &to.0[0]);
        format!(
            "{place}: `{from}` uses `{to}`, but `{lower}` is below `{upper}`: move what both need down to `{lower}`, or pass it as an argument"
        )
    };
    uses.iter().filter(is_upward).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sources::tests::uses;
    use super::*;

    #[test]
    fn only_uses_of_a_higher_floor_are_faults() {
        let table = [
            ("config uses provider", "config/secret.rs", "provider", true),
            ("config uses engine", "config.rs", "engine", true),
            ("crypto uses provider", "crypto/nonce.rs", "provider", true),
            ("provider uses engine", "provider/kms.rs", "engine", true),
            ("engine uses provider", "engine/reload.rs", "provider", false),
            ("provider uses crypto", "provider.rs", "crypto", false),
            ("config uses crypto", "config.rs", "crypto", false),
            ("config uses a module without a floor", "config.rs", "json", false),
            ("a module without a floor uses engine", "inspect.rs", "engine", false),
        ];
        for (desc, file, used, expected) in table {
            let text = format!("\nuse crate::{used}::a::B;");
            let mut all = vec![
                ("config.rs", ""),
                ("crypto.rs", ""),
                ("provider.rs", ""),
                ("engine.rs", ""),
                ("json.rs", ""),
            ];
            all.retain(|(name, _)| *name != file);
            all.push((file, &text));
            let faults = faults(&uses(&all));
            assert_eq!(!faults.is_empty(), expected, "{desc}: {faults:?}");
            assert!(faults.iter().all(|fault| fault.starts_with(&format!("src/{file}:2: "))));
        }
    }
}
