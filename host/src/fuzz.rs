//! Fuzz targets of what is private here: their bodies stand beside what they try. `tests/fuzz` runs them under a fuzzer; the tests below play
//! their corpora.

use crate::http::fuzz as http;
use crate::kms::client::fuzz as client;
use crate::kms::keyring::fuzz as keyring;

/// A target's name, what it does with any bytes (it panics when a promise is broken), and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub static TARGETS: [Target; 4] = [
    ("http_body", http::body, http::body_seeds),
    ("http_query", http::query, http::query_seeds),
    ("keyring", keyring::run, keyring::seeds),
    ("plugin_answer", client::run, client::seeds),
];

/// A runtime for one input: nothing in it waits for anybody else.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(name: &str) {
        let targets = TARGETS.iter();
        let (_, run, seeds) = { targets }
            .find(|(known, _, _)| *known == name)
            .expect("a target");
        for (at, seed) in seeds().iter().enumerate() {
            // Shown if the test fails.
            println!("seed {at}");
            run(seed);
        }
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fuzz/corpus")
            .join(name);
        for entry in std::fs::read_dir(corpus).expect("a corpus") {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            run(&std::fs::read(path).expect("a file"));
        }
    }

    #[test]
    fn corpus_of_http_body_holds() {
        play("http_body");
    }

    #[test]
    fn corpus_of_http_query_holds() {
        play("http_query");
    }

    #[test]
    fn corpus_of_keyring_holds() {
        play("keyring");
    }

    #[test]
    fn corpus_of_plugin_answer_holds() {
        play("plugin_answer");
    }
}
