//! The `dekker` command from end to end: the real binary, real sockets and real KMS plugins, with a separate directory for each test.
//!
//! The binary is the one that `DEKKER_BIN` names, otherwise `dekker` in a parent directory of this test's executable. Without a binary every test
//! passes and prints a message; in CI it fails.

// Helpers for the tests.
#[path = "end_to_end/http.rs"]
mod http;
#[path = "end_to_end/load.rs"]
mod load;
#[path = "end_to_end/mirror.rs"]
mod mirror;
#[path = "end_to_end/process.rs"]
mod process;
#[path = "end_to_end/scripted.rs"]
mod scripted;
#[path = "end_to_end/server.rs"]
mod server;
#[path = "end_to_end/stage.rs"]
mod stage;
#[path = "end_to_end/wait.rs"]
mod wait;

// The tests.
#[path = "end_to_end/awaiting.rs"]
mod awaiting;
#[path = "end_to_end/commands.rs"]
mod commands;
#[path = "end_to_end/configuration.rs"]
mod configuration;
#[path = "end_to_end/crowds.rs"]
mod crowds;
#[path = "end_to_end/decrypting.rs"]
mod decrypting;
#[path = "end_to_end/five_providers.rs"]
mod five_providers;
#[path = "end_to_end/floods.rs"]
mod floods;
#[path = "end_to_end/half_written.rs"]
mod half_written;
#[path = "end_to_end/health.rs"]
mod health;
#[path = "end_to_end/helping.rs"]
mod helping;
#[path = "end_to_end/inspecting.rs"]
mod inspecting;
#[path = "end_to_end/keys_lost.rs"]
mod keys_lost;
#[path = "end_to_end/large_bodies.rs"]
mod large_bodies;
#[path = "end_to_end/metrics.rs"]
mod metrics;
#[path = "end_to_end/peers.rs"]
mod peers;
#[path = "end_to_end/plugins.rs"]
mod plugins;
#[path = "end_to_end/protecting.rs"]
mod protecting;
#[path = "end_to_end/reloading.rs"]
mod reloading;
#[path = "end_to_end/secrecy.rs"]
mod secrecy;
#[path = "end_to_end/serving.rs"]
mod serving;
#[path = "end_to_end/stalled.rs"]
mod stalled;
#[path = "end_to_end/stopping.rs"]
mod stopping;
#[path = "end_to_end/taking_over.rs"]
mod taking_over;
#[path = "end_to_end/values.rs"]
mod values;
#[path = "end_to_end/writing.rs"]
mod writing;
