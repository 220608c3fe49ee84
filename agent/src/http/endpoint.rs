//! One end of a connection, as its observations come in.

use std::time::Duration;

use super::refusals::Refusals;
use crate::{
    capture::{CgroupId, Cookie, Opener, Peer, Phase, Segment, Socket},
    timestamp::Timestamp,
};

/// A socket.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) cookie: Cookie,
    pub(super) cgroup: CgroupId,
    /// The newest that was told of it.
    pub(super) facts: Option<Socket>,
    /// When its last holder closed it.
    released: Option<Timestamp>,
    /// When it entered CLOSE.
    closed: Option<Timestamp>,
    /// When it sent its last segment.
    last_segment: Timestamp,
    /// When its first facts came, on the steady clock.
    pub(super) known_since: Timestamp,
    /// When it ended as far as is known, on the steady clock.
    end: Option<Ending>,
    /// The index of the next segment to come.
    next_index: u32,
    /// When it sent its last segment, on the steady clock.
    last_sent: Timestamp,
}

/// How an end is known to have ended.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// It entered CLOSE.
    Closed(Timestamp),
    /// Its last holder closed it; of a socket older than the programs nothing more is told.
    Released(Timestamp),
}

/// Whether all that an end does has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It is open.
    No,
    /// It will have been at this moment at the latest.
    At(Timestamp),
    /// It was, at this moment.
    Since(Timestamp),
}

/// From close() of a socket older than the programs to its FIN and what it still had to send.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// From close() of any other socket to CLOSE, which was not told if it takes longer: the kernel
/// retransmits for a quarter of an hour at most (`tcp_retries2`).
const ORPHANED: Duration = Duration::from_secs(16 * 60);

impl Endpoint {
    pub(super) fn new(cookie: Cookie, cgroup: CgroupId) -> Self {
        Self {
            cookie,
            cgroup,
            facts: None,
            released: None,
            closed: None,
            last_segment: Timestamp::default(),
            known_since: Timestamp::default(),
            end: None,
            next_index: 0,
            last_sent: Timestamp::default(),
        }
    }

    /// Takes facts that came at `now` on the steady clock.
    pub(super) fn learn(&mut self, mut socket: Socket, now: Timestamp) {
        // A connection that failed without a packet shows nothing but its release.
        let never_was = !socket.established && !socket.preexisting;
        match socket.phase {
            Phase::Settled => {}
            Phase::Released if !never_was => {
                self.released.get_or_insert(socket.time);
                self.end.get_or_insert(Ending::Released(now));
            }
            Phase::Released | Phase::Closed => {
                self.closed.get_or_insert(socket.time);
                self.end = Some(Ending::Closed(now));
            }
        }
        if socket.cgroup != 0 {
            self.cgroup = socket.cgroup;
        }
        match &mut self.facts {
            None => {
                self.known_since = now;
                self.facts = Some(socket);
            }
            Some(known) if socket.phase >= known.phase => {
                socket.cgroup = self.cgroup;
                socket.sent = socket.sent.or(known.sent);
                socket.asked = socket.asked.or(known.asked);
                socket.process = socket.process.take().or(known.process.take());
                if socket.peer == Peer::Unknown {
                    socket.peer = known.peer;
                }
                if socket.opener == Opener::Unknown {
                    socket.opener = known.opener;
                }
                socket.fin_sent |= known.fin_sent;
                socket.established |= known.established;
                *known = socket;
            }
            Some(_) => {}
        }
    }

    /// Takes note of a segment that came at `now` on the steady clock.
    pub(super) fn sent(&mut self, segment: &Segment, now: Timestamp) {
        self.next_index = self.next_index.max(segment.index.saturating_add(1));
        self.last_segment = self.last_segment.max(segment.time);
        self.last_sent = self.last_sent.max(now);
    }

    /// All that was sent before `progress` has been told.
    pub(super) fn over(&self, progress: Timestamp) -> Over {
        let Some(facts) = &self.facts else {
            return Over::No;
        };
        match self.end {
            Some(Ending::Closed(at)) => {
                // A segment that is still missing when later ones have come was refused.
                let until = at + Duration::from_nanos(1);
                if self.next_index >= facts.stream.segments || progress >= until {
                    Over::Since(at)
                } else {
                    Over::At(until)
                }
            }
            Some(Ending::Released(at)) => {
                let linger = if facts.preexisting { LINGER } else { ORPHANED };
                let until = at.max(self.last_sent) + linger;
                if progress >= until {
                    Over::Since(until)
                } else {
                    Over::At(until)
                }
            }
            None => Over::No,
        }
    }

    /// Its end was not told, but may have been refused since it last told anything.
    pub(super) fn may_be_over(&self, refusals: &Refusals) -> bool {
        self.end.is_none() && refusals.facts.since(self.cgroup, self.last_told())
    }

    /// What it sent since it last told anything may have been refused.
    pub(super) fn may_have_sent(&self, refusals: &Refusals) -> bool {
        refusals.segments.since(self.cgroup, self.last_told())
    }

    /// When it last told anything, on the steady clock.
    pub(super) fn last_told(&self) -> Timestamp {
        self.last_sent.max(self.known_since)
    }

    /// When it entered CLOSE.
    pub(super) fn closed(&self) -> Option<Timestamp> {
        self.closed
    }

    /// When it was over: it entered CLOSE or, where that is not seen, was closed.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.closed.or(self.released)
    }

    /// When its holder was done with it.
    pub(super) fn let_go(&self) -> Option<Timestamp> {
        self.released.or(self.closed)
    }

    /// When it sent its FIN, as near as can be told: the close, or the last byte after it.
    pub(super) fn fin(&self) -> Option<Timestamp> {
        let facts = self.facts.as_ref().filter(|facts| facts.fin_sent)?;
        let let_go = self.let_go().unwrap_or(facts.time);
        Some(let_go.max(self.last_segment))
    }

    /// The handshake was completed.
    pub(super) fn established(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.established)
    }

    pub(super) fn opener(&self) -> Opener {
        self.facts
            .as_ref()
            .map_or(Opener::Unknown, |facts| facts.opener)
    }

    pub(super) fn peer(&self) -> Peer {
        self.facts
            .as_ref()
            .map_or(Peer::Unknown, |facts| facts.peer)
    }
}
