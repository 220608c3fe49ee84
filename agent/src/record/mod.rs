//! The record: its names, its redaction, its encoding.

mod envelope;
mod printable;
mod verdict;

pub use envelope::{Envelope, Include, Kind};
pub use printable::Printable;
pub use verdict::{Reason, Verdict};
