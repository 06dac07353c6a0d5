//! The fuzzer for the target `engine`.

#![no_main]

dekker_fuzz::target!("engine");
