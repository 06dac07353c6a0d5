//! Measures Dekker against its peers in one run: `cargo xtask bench`.
//!
//! Everything that is compared is measured in turns, in many short rounds, so that other load on the machine affects all of it equally. Only the
//! ratio of two figures of one run is meaningful; the figures themselves hold only for the machine on which they were taken.

pub mod bars;
pub mod cached;
pub mod docs;
pub mod heap;
pub mod inspect;
pub mod load;
pub mod many_server;
pub mod plots;
pub mod readers;
pub mod report;
pub mod rounds;
pub mod server;
pub mod sizes;
pub mod subjects;
pub mod threads;
pub mod transform;
pub mod vault;

mod hosted;
