//! What one sink has still to send and what it keeps to send again. No I/O, no clock.

use std::{collections::VecDeque, sync::Arc};

use thiserror::Error;

use super::losses::Losses;
use crate::record::{Envelope, LossCause, SinkGap};

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
///            ┌ window ─────────┬ queue: given ────┬ queue: waiting ────┐
///  oldest    │ counts as sent  │ on its way       │ for this connection│   newest ◀── push
///            └─────────────────┴──────────────────┴────────────────────┘
///   trimmed ◀──┘       └ resent: given once more          └──▶ overflow
///
///  Detached ──connected──▶ Unproven ──proven──▶ Proven ──┐
///     ▲                       │                          │
///     └───────── ended ───────┴──────────────────────────┘   everything waits again
/// ```
///
/// Nothing is given out before the connection is proven: a TLS 1.3 client may write before the
/// peer has looked at its certificate, and even bytes that TCP acknowledged are lost then.
///
/// What overflows is taken from what waits, oldest first: what is on its way most likely arrives,
/// and a loss that is told should be one.
#[derive(Debug)]
pub(super) struct Outbox {
    bounds: Bounds,
    connection: Connection,
    window: VecDeque<Envelope>,
    given: VecDeque<Envelope>,
    waiting: VecDeque<Envelope>,
    window_bytes: usize,
    /// Of `given` and `waiting`.
    queue_bytes: usize,
    /// How many of the window this connection was given; all, before it is given anything else.
    resent: usize,
    /// How many records of window and `given` have left the process on this connection.
    flushed: usize,
    /// The last id that this connection was given.
    last_given: Option<(Arc<str>, u64)>,
    /// The highest sequence number that ever left the process.
    written_through: Option<u64>,
    /// Sent on this connection and no longer in the window: lost, should more than the window turn
    /// out to be unread. With the window at most [`MOST_UNREAD`] bytes.
    trimmed: VecDeque<Trimmed>,
    trimmed_bytes: usize,
    losses: Losses,
    counts: Counts,
}

#[derive(Debug)]
struct Trimmed {
    id: Arc<str>,
    gap: Option<Arc<SinkGap>>,
    length: usize,
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
    /// Sent, out of the window, and possibly unread when the connection broke.
    pub(super) unconfirmed: u64,
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
            given: VecDeque::new(),
            waiting: VecDeque::new(),
            window_bytes: 0,
            queue_bytes: 0,
            resent: 0,
            flushed: 0,
            last_given: None,
            written_through: None,
            trimmed: VecDeque::new(),
            trimmed_bytes: 0,
            losses: Losses::new(sink),
            counts: Counts::default(),
        }
    }

    /// Takes a record; the oldest that do not count as sent give way to it.
    pub(super) fn push(&mut self, envelope: Envelope) {
        self.queue_bytes += envelope.line.len();
        self.waiting.push_back(envelope);
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
        while let Some(envelope) = self.window.get(self.resent).or(self.waiting.front()) {
            if !batch.is_empty() && batch.len() + envelope.line.len() > limit {
                break;
            }
            batch.extend_from_slice(&envelope.line);
            let (id, sequence) = (Arc::clone(&envelope.id), envelope.sequence);
            self.last_given = Some((id, sequence));
            if self.resent < self.window.len() {
                self.resent += 1;
            } else if let Some(envelope) = self.waiting.pop_front() {
                self.given.push_back(envelope);
                self.losses.close_range();
            }
        }
    }

    /// Everything that was given has left the process.
    pub(super) fn flushed(&mut self) {
        let given = self.resent + self.given.len();
        for index in self.flushed..given {
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
        self.flushed = given;
        if self.connection == Connection::Proven(Receiver::Silent) {
            while self.window.len() < self.flushed
                && let Some(envelope) = self.pop_given()
            {
                self.window_bytes += envelope.line.len();
                self.window.push_back(envelope);
                self.resent += 1;
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
        while self.resent + self.given.len() > 0
            && self
                .at(0)
                .is_some_and(|envelope| envelope.sequence <= sequence)
        {
            if let Some(envelope) = self.window.pop_front() {
                self.window_bytes -= envelope.line.len();
                self.resent -= 1;
            } else {
                self.pop_given();
            }
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
        let trimmed = std::mem::take(&mut self.trimmed);
        self.trimmed_bytes = 0;
        if !orderly {
            for lost in trimmed {
                self.lose(lost.id, lost.gap, LossCause::Window);
            }
        }
        self.rewind();
        self.connection = Connection::Detached;
    }

    /// Whether nothing waits: all is stored at a receiver that acknowledges, written at a silent
    /// one; and no broken connection waits for its resend.
    pub(super) fn is_settled(&self) -> bool {
        match self.connection {
            Connection::Proven(Receiver::Silent) => {
                self.queued_records() == 0 && self.flushed >= self.window.len()
            }
            Connection::Proven(Receiver::Acknowledging)
            | Connection::Unproven(_)
            | Connection::Detached => self.queued_records() == 0 && self.window.is_empty(),
        }
    }

    /// The ranges that were lost since the last call. Each is owed a record.
    pub(super) fn take_losses(&mut self) -> Vec<SinkGap> {
        self.losses.take()
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
    pub(super) fn queued(&self) -> impl DoubleEndedIterator<Item = &Envelope> {
        self.given.iter().chain(&self.waiting)
    }

    /// How many records that are.
    pub(super) fn queued_records(&self) -> usize {
        self.given.len() + self.waiting.len()
    }

    /// Of what this connection was given.
    fn at(&self, index: usize) -> Option<&Envelope> {
        match index.checked_sub(self.window.len()) {
            Some(index) => self.given.get(index),
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

    fn pop_given(&mut self) -> Option<Envelope> {
        let envelope = self.given.pop_front()?;
        self.queue_bytes -= envelope.line.len();
        Some(envelope)
    }

    fn drop_overflow(&mut self) {
        while self.queue_bytes > self.bounds.queue_bytes {
            let envelope = match self.waiting.pop_front() {
                Some(envelope) => envelope,
                None => {
                    // Only where the bound was lowered. The batch has a copy of its bytes.
                    let Some(envelope) = self.given.pop_front() else {
                        return;
                    };
                    if self.flushed > self.window.len() {
                        self.flushed -= 1;
                    }
                    envelope
                }
            };
            self.queue_bytes -= envelope.line.len();
            self.lose(envelope.id, envelope.gap, LossCause::Queue);
        }
    }

    fn trim_window(&mut self) {
        let sent = self.connection == Connection::Proven(Receiver::Silent);
        while self.window_bytes > self.bounds.window_bytes
            && let Some(envelope) = self.window.pop_front()
        {
            let length = envelope.line.len();
            self.window_bytes -= length;
            self.resent = self.resent.saturating_sub(1);
            if sent && self.flushed > 0 {
                self.trimmed_bytes += length;
                self.trimmed.push_back(Trimmed {
                    id: envelope.id,
                    gap: envelope.gap,
                    length,
                });
            } else {
                self.lose(envelope.id, envelope.gap, LossCause::Window);
            }
            self.flushed = self.flushed.saturating_sub(1);
        }
        while self.trimmed_bytes + self.window_bytes > MOST_UNREAD
            && let Some(read) = self.trimmed.pop_front()
        {
            self.trimmed_bytes -= read.length;
        }
    }

    fn lose(&mut self, id: Arc<str>, gap: Option<Arc<SinkGap>>, cause: LossCause) {
        match cause {
            LossCause::Queue => self.counts.dropped += 1,
            LossCause::Window => self.counts.unconfirmed += 1,
        }
        if let Some(gap) = gap {
            self.losses.tell_again(&gap);
        }
        self.losses.add(id, cause);
    }

    fn rewind(&mut self) {
        while let Some(envelope) = self.given.pop_back() {
            self.waiting.push_front(envelope);
        }
        self.resent = 0;
        self.flushed = 0;
        self.last_given = None;
        self.losses.close_range();
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

/// The most that the sockets of both ends hold unread: Linux lets a receive buffer grow to 6 MiB
/// (32 MiB from 6.16 on; net.ipv4.tcp_rmem) and a send buffer to 4 MiB (net.ipv4.tcp_wmem), their
/// own overhead included. The default window covers it.
const MOST_UNREAD: usize = 32 << 20;

/// What of a peer's id goes into a message.
const LONGEST_ID_SHOWN: usize = 80;
