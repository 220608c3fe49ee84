//! What can be said of a sink at any time, and at its end.

use std::{sync::Arc, time::Duration};

use super::queue::Receiver;
use crate::timestamp::Timestamp;

/// A sink as it stands. Counts are since the start.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    /// The sink's endpoint.
    pub sink: Arc<str>,
    /// What it is connected to; only once the peer has accepted our certificate.
    pub connected: Option<Receiver>,
    /// Records that do not count as sent.
    pub queued: usize,
    /// Bytes of their lines.
    pub queued_bytes: usize,
    /// How long the oldest of them has waited, to the second if it is asked for every second.
    pub oldest_queued: Duration,
    /// Bytes of lines kept for a silent receiver's resend.
    pub window_bytes: usize,
    /// Records that `include` kept away from it.
    pub filtered: u64,
    /// Records written for the first time.
    pub sent: u64,
    /// Records written once more.
    pub resent: u64,
    /// Records that the receiver says it has stored.
    pub acknowledged: u64,
    /// Records lost to the bound of the queue.
    pub dropped: u64,
    /// Records that a receiver may not have read when its connection broke, and that the window no
    /// longer held.
    pub unconfirmed: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Attempts to connect.
    pub attempts: u64,
    /// Attempts and connections that failed.
    pub failures: u64,
    /// Why it is not connected, or the last connection ended; none while connected.
    pub last_error: Option<String>,
    /// When the certificate that was last presented ends.
    pub certificate_not_after: Option<Timestamp>,
}

/// What a sink had not delivered when it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// The sink's endpoint.
    pub sink: Arc<str>,
    /// How many records do not count as sent; 0: everything was delivered.
    pub records: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Records that count as sent to a silent receiver, which has not closed by a close_notify: it
    /// may not have read them.
    pub unconfirmed: usize,
    /// The id of the first of `records`.
    pub first: Option<Arc<str>>,
    /// The id of the last of them.
    pub last: Option<Arc<str>>,
}
