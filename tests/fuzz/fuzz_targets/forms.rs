//! The fuzzer for the target `forms`.

#![no_main]

dekker_fuzz::target!("forms");
