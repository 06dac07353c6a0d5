//! The fuzzer for the target `plugin_answer`.

#![no_main]

dekker_fuzz::target!("plugin_answer");
