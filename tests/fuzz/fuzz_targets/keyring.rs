//! The fuzzer for the target `keyring`.

#![no_main]

dekker_fuzz::target!("keyring");
