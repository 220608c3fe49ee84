//! The record: its names, its redaction, its encoding.

mod envelope;
mod verdict;

pub use envelope::{Envelope, Include, Kind};
pub use verdict::{Reason, Verdict};
