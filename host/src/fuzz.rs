//! Fuzz targets for private functions of this crate. The body of each target is next to the code it tests. `tests/fuzz` runs the targets under a
//! fuzzer; the tests below run them with the stored corpora.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use crate::http::fuzz as http;
use crate::kms::client::fuzz as client;
use crate::kms::keyring::fuzz as keyring;

/// A target: its name, the function that tests any input and panics if a guarantee is violated, and the function that returns the initial inputs.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets.
pub static TARGETS: [Target; 4] = [
    ("http_body", http::body, http::body_seeds),
    ("http_query", http::query, http::query_seeds),
    ("keyring", keyring::run, keyring::seeds),
    ("plugin_answer", client::run, client::seeds),
];

/// Runs the work for one input to completion. The work must not depend on other tasks.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// An HTTP body made of the given frames, each of which is ready at once.
pub(crate) struct Frames {
    /// The data, frame by frame.
    pub data: VecDeque<Bytes>,
    /// The length that the body announces, which need not be true.
    pub announced: Option<u64>,
    /// Sent after the data.
    pub trailers: Option<HeaderMap>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.pop_front().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(name: &str) {
        let targets = TARGETS.iter();
        let (_, run, seeds) = { targets }.find(|(known, _, _)| *known == name).expect("a target");
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
