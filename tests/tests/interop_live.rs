//! Live with upstream: kube-apiserver's own code as a peer process (`tests/interop`, in Go), the `dekker` binary, one KMS plugin on one socket
//! for both. What either writes the other reads, stale when it says so; and both say the same of their health.
//!
//! Without Go, or without the binary, these tests pass and say so, except in CI, where that is a failure unless `DEKKER_INTEROP=off`.

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
