//! The fuzzer for the target `kms_v1`.

#![no_main]

dekker_fuzz::target!("kms_v1");
