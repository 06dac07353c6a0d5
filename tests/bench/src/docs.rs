//! Renews the tables of `docs/PERFORMANCE.md`, which are between markers. Everything else in it is written by hand.

use anyhow::{Context, Result};

/// Replaces what is between `<!-- name -->` and `<!-- /name -->`, for each name and text.
///
/// # Errors
/// Returns an error if the document lacks the markers of a name.
pub fn renew(document: &str, texts: &[(&'static str, String)]) -> Result<String> {
    let mut document = document.to_owned();
    for (name, text) in texts {
        let place = || format!("the document has no markers for {name}");
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = document.split_once(&begin).with_context(place)?;
        let (_, after) = rest.split_once(&end).with_context(place)?;
        document = format!("{before}{begin}\n{text}\n{end}{after}");
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "a\n<!-- t -->\n\nold\n\n<!-- /t -->\nb\n";

    #[test]
    fn only_the_text_between_markers_changes() {
        let renewed = renew(DOCUMENT, &[("t", "new\n".into())]).unwrap();
        assert_eq!(renewed, "a\n<!-- t -->\n\nnew\n\n<!-- /t -->\nb\n");
        assert_eq!(renew(&renewed, &[("t", "new\n".into())]).unwrap(), renewed);
    }

    #[test]
    fn a_text_without_markers_is_an_error() {
        let fault = renew(DOCUMENT, &[("u", String::new())]).unwrap_err();
        assert_eq!(fault.to_string(), "the document has no markers for u");
    }

    #[test]
    fn the_document_has_markers_for_every_table() {
        let document = include_str!("../../../docs/PERFORMANCE.md");
        for name in [
            "bars",
            "write-counter",
            "read-counter",
            "write-seed",
            "read-seed",
            "cached-deks",
            "readers",
            "threads",
            "heap",
            "http",
            "http-many",
            "inspect",
            "startup",
            "sizes",
            "run",
        ] {
            renew(document, &[(name, String::new())]).unwrap();
        }
    }
}
