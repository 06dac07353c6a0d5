//! The fuzzer for the target `envelope`.

#![no_main]

dekker_fuzz::target!("envelope");
