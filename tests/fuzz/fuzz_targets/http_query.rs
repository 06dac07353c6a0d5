//! The fuzzer for the target `http_query`.

#![no_main]

dekker_fuzz::target!("http_query");
