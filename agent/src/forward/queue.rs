//! What one sink has still to send and what it keeps to send again. No I/O, no clock.

use std::{collections::VecDeque, sync::Arc};

use thiserror::Error;

use super::overflow::{Overflow, Overflows};
use crate::record::Envelope;

/// What the other end of a connection promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// It says what it has stored; only that counts.
    Acknowledging,
    /// It says nothing. What was written is kept a while, to be sent again.
    Silent,
}

/// The bounded queue and the resend window of one sink.
///
/// ```text
///                  ┌ window ─────────┬ queue ─────────────────────┐
///  oldest          │ counts as sent  │ does not count yet         │          newest
///                  └─────────────────┴────────────────────────────┘ ◀── push
///   trimmed ◀──┘              │      └──▶ overflow
///                   next ─────┴───▶ the first that this connection was not yet given
///
///  Detached ──connected──▶ Unproven ──proven──▶ Proven ──┐
///     ▲                       │                          │
///     └───────── ended ───────┴──────────────────────────┘   next = 0: everything again
/// ```
///
/// Nothing is given out before the connection is proven: a TLS 1.3 client may write before the
/// peer has looked at its certificate, and even bytes that TCP acknowledged are lost then.
#[derive(Debug)]
pub(super) struct Outbox {
    bounds: Bounds,
    connection: Connection,
    window: VecDeque<Envelope>,
    queue: VecDeque<Envelope>,
    window_bytes: usize,
    queue_bytes: usize,
    /// 0 <= next <= window.len() + queue.len(); counts from the front of the window.
    next: usize,
    /// The part of `next` whose bytes have left the process: flushed <= next.
    flushed: usize,
    /// The last id that this connection was given.
    last_given: Option<(Arc<str>, u64)>,
    /// The highest sequence number that ever left the process.
    written_through: Option<u64>,
    overflows: Overflows,
    counts: Counts,
}

/// The bounds of an [`Outbox`], in bytes of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) queue_bytes: usize,
    pub(super) window_bytes: usize,
}

/// How many records an [`Outbox`] has dealt with since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Written for the first time, to a peer that had accepted us.
    pub(super) sent: u64,
    /// Written once more after a connection had ended.
    pub(super) resent: u64,
    /// Stored by the peer, on its word.
    pub(super) acknowledged: u64,
    /// Lost to the bound of the queue.
    pub(super) dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Detached,
    Unproven(Receiver),
    Proven(Receiver),
}

impl Outbox {
    pub(super) fn new(sink: Arc<str>, bounds: Bounds) -> Self {
        Self {
            bounds,
            connection: Connection::Detached,
            window: VecDeque::new(),
            queue: VecDeque::new(),
            window_bytes: 0,
            queue_bytes: 0,
            next: 0,
            flushed: 0,
            last_given: None,
            written_through: None,
            overflows: Overflows::new(sink),
            counts: Counts::default(),
        }
    }

    /// Takes a record; the oldest that do not count as sent give way to it.
    pub(super) fn push(&mut self, envelope: Envelope) {
        self.queue_bytes += envelope.line.len();
        self.queue.push_back(envelope);
        self.drop_overflow();
    }

    /// Sets other bounds, at once.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.drop_overflow();
        self.trim_window();
    }

    /// A connection stands. It is not proven.
    pub(super) fn connected(&mut self, receiver: Receiver) {
        self.rewind();
        self.connection = Connection::Unproven(receiver);
    }

    /// The peer has accepted us.
    pub(super) fn proven(&mut self) {
        if let Connection::Unproven(receiver) = self.connection {
            self.connection = Connection::Proven(receiver);
        }
    }

    /// Appends whole lines to `batch` until it holds `limit` bytes, at least one if one waits.
    pub(super) fn give(&mut self, batch: &mut Vec<u8>, limit: usize) {
        if !matches!(self.connection, Connection::Proven(_)) {
            return;
        }
        while let Some(envelope) = self.at(self.next) {
            if !batch.is_empty() && batch.len() + envelope.line.len() > limit {
                break;
            }
            batch.extend_from_slice(&envelope.line);
            let (id, sequence) = (Arc::clone(&envelope.id), envelope.sequence);
            self.last_given = Some((id, sequence));
            self.next += 1;
        }
    }

    /// Everything that was given has left the process.
    pub(super) fn flushed(&mut self) {
        for index in self.flushed..self.next {
            let Some(sequence) = self.at(index).map(|envelope| envelope.sequence) else {
                break;
            };
            if self.written_through.is_none_or(|last| sequence > last) {
                self.written_through = Some(sequence);
                self.counts.sent += 1;
            } else {
                self.counts.resent += 1;
            }
        }
        self.flushed = self.next;
        if self.connection == Connection::Proven(Receiver::Silent) {
            while self.window.len() < self.flushed
                && let Some(envelope) = self.pop_queue()
            {
                self.window_bytes += envelope.line.len();
                self.window.push_back(envelope);
            }
            self.trim_window();
        }
    }

    /// The peer has stored this record and all before it.
    ///
    /// # Errors
    /// An id that this connection was not given. Nothing counts then.
    pub(super) fn acknowledged(&mut self, id: &str) -> Result<(), NotGiven> {
        let sequence = self.sequence_given(id).ok_or_else(|| NotGiven {
            id: id.chars().take(LONGEST_ID_SHOWN).collect(),
            last: self.last_given.as_ref().map(|(id, _)| Arc::clone(id)),
        })?;
        while self.next > 0
            && self
                .window
                .front()
                .or_else(|| self.queue.front())
                .is_some_and(|envelope| envelope.sequence <= sequence)
        {
            if let Some(envelope) = self.window.pop_front() {
                self.window_bytes -= envelope.line.len();
            } else {
                self.pop_queue();
            }
            self.next -= 1;
            self.flushed = self.flushed.saturating_sub(1);
            self.counts.acknowledged += 1;
        }
        Ok(())
    }

    /// The connection is gone; `orderly` if we closed it and the peer then closed its side by a
    /// close_notify, which it can only send after it has read everything, and nobody for it.
    pub(super) fn ended(&mut self, orderly: bool) {
        let all_read = orderly
            && self.connection == Connection::Proven(Receiver::Silent)
            && self.flushed >= self.window.len();
        if all_read {
            self.window.clear();
            self.window_bytes = 0;
        }
        self.rewind();
        self.connection = Connection::Detached;
    }

    /// Whether nothing waits: all is stored at a receiver that acknowledges, written at a silent
    /// one; and no broken connection waits for its resend.
    pub(super) fn is_settled(&self) -> bool {
        match self.connection {
            Connection::Proven(Receiver::Silent) => {
                self.queue.is_empty() && self.flushed >= self.window.len()
            }
            Connection::Proven(Receiver::Acknowledging)
            | Connection::Unproven(_)
            | Connection::Detached => self.queue.is_empty() && self.window.is_empty(),
        }
    }

    /// The ranges that were lost since the last call.
    pub(super) fn take_overflows(&mut self) -> Vec<Overflow> {
        self.overflows.take()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(super) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// How many records are kept for a resend.
    pub(super) fn kept(&self) -> usize {
        self.window.len()
    }

    /// What does not count as sent, oldest first.
    pub(super) fn queued(&self) -> impl ExactSizeIterator<Item = &Envelope> {
        self.queue.iter()
    }

    fn at(&self, index: usize) -> Option<&Envelope> {
        match index.checked_sub(self.window.len()) {
            Some(index) => self.queue.get(index),
            None => self.window.get(index),
        }
    }

    /// The sequence number in an id of this start that this connection was given.
    fn sequence_given(&self, id: &str) -> Option<u64> {
        let (start, sequence) = id.rsplit_once('-')?;
        let (last, last_sequence) = self.last_given.as_ref()?;
        let (our_start, _) = last.rsplit_once('-')?;
        let sequence = sequence.parse().ok()?;
        (start == our_start && sequence <= *last_sequence).then_some(sequence)
    }

    fn pop_queue(&mut self) -> Option<Envelope> {
        let envelope = self.queue.pop_front()?;
        self.queue_bytes -= envelope.line.len();
        self.overflows.close_range();
        Some(envelope)
    }

    fn drop_overflow(&mut self) {
        while self.queue_bytes > self.bounds.queue_bytes
            && let Some(envelope) = self.queue.pop_front()
        {
            self.queue_bytes -= envelope.line.len();
            // It may have been given already; the batch has a copy of its bytes.
            if self.next > self.window.len() {
                self.next -= 1;
            }
            if self.flushed > self.window.len() {
                self.flushed -= 1;
            }
            self.counts.dropped += 1;
            self.overflows.add(envelope.id);
        }
    }

    fn trim_window(&mut self) {
        while self.window_bytes > self.bounds.window_bytes
            && let Some(envelope) = self.window.pop_front()
        {
            self.window_bytes -= envelope.line.len();
            self.next = self.next.saturating_sub(1);
            self.flushed = self.flushed.saturating_sub(1);
        }
    }

    fn rewind(&mut self) {
        self.next = 0;
        self.flushed = 0;
        self.last_given = None;
    }
}

/// The peer acknowledged what it was not sent.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the receiver acknowledged `{}`, expected an id up to `{}`; it is no meshwitness collector or stores for another sender",
    id.escape_debug(), last.as_deref().unwrap_or("none yet")
)]
pub struct NotGiven {
    id: String,
    last: Option<Arc<str>>,
}

/// What of a peer's id goes into a message.
const LONGEST_ID_SHOWN: usize = 80;
