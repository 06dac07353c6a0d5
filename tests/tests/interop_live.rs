//! Live tests with upstream: kube-apiserver's own code as a peer process (`tests/interop`, in Go), the `dekker` binary, and one KMS plugin on one
//! socket for both. Each side must read what the other wrote, with the same staleness, and both must report the same health.
//!
//! Without Go or without the binary, these tests pass and print a message; in CI they fail unless `DEKKER_INTEROP=off`.

#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/http.rs"]
mod http;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/process.rs"]
mod process;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/scripted.rs"]
mod scripted;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/server.rs"]
mod server;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/stage.rs"]
mod stage;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/wait.rs"]
mod wait;

#[path = "interop_live/health.rs"]
mod health;
#[path = "interop_live/kms_v1.rs"]
mod kms_v1;
#[path = "interop_live/metrics.rs"]
mod metrics;
#[path = "interop_live/peer.rs"]
mod peer;
#[path = "interop_live/reloading.rs"]
mod reloading;
#[path = "interop_live/values.rs"]
mod values;
