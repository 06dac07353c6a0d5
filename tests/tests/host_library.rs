//! `dekker_host` as a library: a [`Host`](dekker_host::Host) with a scripted KMS plugin.

#[path = "host_library/building.rs"]
mod building;
#[path = "host_library/kms_calls.rs"]
mod kms_calls;
#[path = "host_library/kms_v1.rs"]
mod kms_v1;
#[path = "host_library/read_only.rs"]
mod read_only;
#[path = "host_library/reloads.rs"]
mod reloads;
#[path = "host_library/room.rs"]
mod room;
#[path = "host_library/traps.rs"]
mod traps;
#[path = "host_library/workers.rs"]
mod workers;

#[path = "end_to_end/scripted.rs"]
mod scripted;
#[path = "end_to_end/wait.rs"]
mod wait;
