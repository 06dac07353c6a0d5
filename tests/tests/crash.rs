//! The `dekker` binary under conditions that kill or restrict a process: kill -9 at random moments and at each system call that writes, many starts
//! and stops at once, one-shot commands beside a server, a full disk, a read-only state directory, few descriptors, little memory, and a log without
//! a reader.
//!
//! After each of these, the state directory must work again: a new server becomes healthy and reads every acknowledged value, and no nonce occurs
//! twice with one key over the directory's whole life.
//!
//! Every run uses a fresh seed and prints it. `DEKKER_SEED=` repeats its choices, but not the kernel's scheduling. `DEKKER_KILLS=` sets how often a
//! server is killed at a random moment. As in `end_to_end.rs`, every test passes with a message if the binary is missing, except in CI.

// Shared with the end-to-end tests.
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/http.rs"]
mod http;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/process.rs"]
mod process;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/server.rs"]
mod server;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/stage.rs"]
mod stage;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/wait.rs"]
mod wait;

// Helpers for the tests.
#[path = "crash/lanes.rs"]
mod lanes;
#[path = "crash/life.rs"]
mod life;
#[path = "crash/nonces.rs"]
mod nonces;
#[path = "crash/ptrace.rs"]
mod ptrace;
#[path = "crash/seed.rs"]
mod seed;
#[path = "crash/syscalls.rs"]
mod syscalls;
#[path = "crash/tracer.rs"]
mod tracer;

// The tests.
#[path = "crash/at_each_call.rs"]
mod at_each_call;
#[path = "crash/at_random.rs"]
mod at_random;
#[path = "crash/concurrent.rs"]
mod concurrent;
#[path = "crash/limits.rs"]
mod limits;
#[path = "crash/owners.rs"]
mod owners;
#[path = "crash/small_disk.rs"]
mod small_disk;
#[path = "crash/stopped.rs"]
mod stopped;
