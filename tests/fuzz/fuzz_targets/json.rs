//! The fuzzer for the target `json`.

#![no_main]

dekker_fuzz::target!("json");
