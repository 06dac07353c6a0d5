//! The whole host in simulated time.

#[allow(dead_code)]
pub(crate) mod seams;
