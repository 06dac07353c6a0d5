//! What Dekker reaches, measured against its peers in one run: `cargo xtask bench`.
//!
//! Everything that is compared is measured in turns, in many short rounds, so that whatever else the machine does meets all of them alike.
//! What counts is a ratio of two figures of one run; the figures themselves are only of the machine they were taken on.

pub mod bars;
pub mod cached;
pub mod docs;
pub mod plots;
pub mod readers;
pub mod report;
pub mod rounds;
pub mod server;
pub mod sizes;
pub mod subjects;
pub mod transform;
pub mod vault;
