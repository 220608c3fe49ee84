//! How far all is known.

use super::{clock::boot_time, ring::Ring};

/// By how much a program's clock may lag behind ours, in nanoseconds: it is read without waiting for
/// an update of the kernel's clock, and on another processor (`ktime_get_boot_fast_ns`). That is a
/// few nanoseconds.
const LAG: u64 = 1_000;

/// A moment, and how far the rings were written just after it.
///
/// The time of a record is taken after its place was reserved. Whatever was sent before the
/// moment therefore lies before these ends, or was refused.
#[derive(Clone, Copy)]
pub(super) struct Horizon {
    /// Nanoseconds since boot.
    pub(super) boot: u64,
    /// The end of the ring of sockets.
    pub(super) sockets: u64,
    /// The end of the ring of streams.
    pub(super) streams: u64,
}

impl Horizon {
    pub(super) fn sample(sockets: &Ring, streams: &Ring) -> Self {
        let boot = boot_time().saturating_sub(LAG);
        // What was told of sockets before a segment is to be known with it.
        let streams = streams.end();
        Self {
            boot,
            sockets: sockets.end(),
            streams,
        }
    }

    /// Whether everything before it was read.
    pub(super) const fn is_reached(&self, sockets: &Ring, streams: &Ring) -> bool {
        sockets.position() >= self.sockets && streams.position() >= self.streams
    }
}
