//! The fuzzer for the target `inspect`.

#![no_main]

dekker_fuzz::target!("inspect");
