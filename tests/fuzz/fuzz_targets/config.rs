//! The fuzzer for the target `config`.

#![no_main]

dekker_fuzz::target!("config");
