//! What the collector has done since its start.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Senders that were let in.
    pub sessions: Count,
    /// Connections that the bounds turned away.
    pub turned_away: Count,
    /// Handshakes that failed: no certificate, a foreign one, one that `allow` does not name.
    pub handshakes_failed: Count,
    /// Sessions that ended in an error, that of a bad record included.
    pub sessions_failed: Count,
    /// Lines that are no records, or without end.
    pub malformed: Count,
    /// Records of a node for which their sender may not speak.
    pub wrong_node: Count,
    /// Records stored.
    pub records: Count,
    /// Bytes stored.
    pub bytes: Count,
    /// Records that had been stored before.
    pub duplicates: Count,
    /// Acknowledgements sent.
    pub acknowledgements: Count,
    /// Failures to write to the disk.
    pub store_failures: Count,
    /// Bytes of begun lines that crashes left behind and recovery cut off.
    pub cut_bytes: Count,
    /// Lines in segments that recovery could not read, and left there.
    pub unreadable: Count,
}

/// One of the [`Counters`].
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}
