//! The programs on real traffic. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed, and its numbers are small"
)]

mod datagrams;
mod exchange;
mod far;
mod frames;
mod hellos;
mod joins;
mod lives;
mod losses;
mod neighbours;
mod nginx;
mod peers;
mod privileges;
mod probe;
mod scene;
mod senders;
mod streams;
mod transport;
