//! The interface `tools`.

use alloc::string::String;
use alloc::vec::Vec;

use dekker_core::{config, inspect};

use crate::Component;
use crate::bindings::dekker::transformer::types::{ConfigFinding, Severity};
use crate::bindings::exports::dekker::transformer::tools::Guest;
use crate::convert::{faults, finding};

impl Guest for Component {
    fn inspect(stored: Vec<u8>) -> Result<String, String> {
        inspect::inspect_json(&stored)
    }

    fn inspect_input(input: Vec<u8>) -> Result<String, String> {
        inspect::input::inspect_input_json(&input)
    }

    fn check_config(config: Vec<u8>, reload: bool) -> Vec<ConfigFinding> {
        let report = config::check(&config, reload);
        let faults = report
            .faults
            .iter()
            .map(|fault| finding(Severity::Fault, fault));
        faults
            .chain(
                report
                    .warnings
                    .iter()
                    .map(|warning| finding(Severity::Warning, warning)),
            )
            .collect()
    }

    fn show_config(config: Vec<u8>) -> Result<String, Vec<ConfigFinding>> {
        config::show(&config).map_err(|error| faults(&error))
    }
}
