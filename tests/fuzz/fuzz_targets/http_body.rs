//! The fuzzer for the target `http_body`.

#![no_main]

dekker_fuzz::target!("http_body");
