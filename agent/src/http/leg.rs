//! The two sockets of a connection, put together.

use std::time::Duration;

use super::{
    bounds::Bounds,
    conversation::{End as StreamEnds, Sent},
    endpoint::{Endpoint, LINGER, Over},
    event::{Connection, Gap, HttpEvent},
    greetings::Greetings,
    multipath, opening,
    protocol::{NoRequest, Protocol},
    reader::Direction,
    refusals::Refusals,
    waiting::Waiting,
};
use crate::{
    capture::{CgroupId, Cookie, FirstBytes, Peer, Segment, Socket},
    timestamp::Timestamp,
};

/// A connection of which at least one end is watched.
#[derive(Debug)]
pub(super) struct Leg {
    /// Its place in the order of first sight.
    pub(super) serial: u64,
    /// The cgroup to which it is charged: that of the end first seen.
    pub(super) charged: CgroupId,
    /// Bytes for which it is charged.
    pub(super) held: usize,
    /// The moment at which it is looked at again, on the steady clock.
    pub(super) deadline: Option<Timestamp>,
    /// The end first seen, then its peer, where that is local.
    pub(super) ends: [Option<Endpoint>; 2],
    /// Which of them opened the connection, once that is settled.
    pub(super) client: Option<usize>,
    pub(super) first_seen: Timestamp,
    /// The ends between which it is a path of Multipath TCP.
    pub(super) path_of: Option<multipath::Ends>,
    /// Other paths share what it would carry.
    spread: bool,
    greetings: Greetings,
    state: State,
    /// What was told of it.
    told: Option<Connection>,
}

/// What is done with what the ends send.
///
/// ```text
///            ┌──▶ Read ─────┐
/// Waiting ───┤              ├──▶ Evicted, Spread
///            └──▶ Unread ───┘
/// ```
#[derive(Debug)]
enum State {
    /// Kept until both ends are known.
    Waiting(Waiting),
    /// Read as HTTP.
    Read(Protocol),
    /// Dropped: the peer is remote, the connection's own facts are all that counts.
    Unread,
    /// Counted: so many requests are accounted for; why.
    Evicted(u32, Gap),
    /// Dropped: it is one path of several, and nobody can count what they carry together.
    Spread,
}

/// What is to be done with a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing before this moment, if any.
    Wait(Option<Timestamp>),
    /// Tell what it is: [`Leg::open`].
    Open,
    /// Tell that it ended: [`Leg::close`].
    Close,
    /// End what waits for a response, which may have been refused: [`Leg::end_waiting`].
    EndWaiting,
    /// Follow it no longer, its end may have been refused: [`Leg::evict`].
    GiveUp,
    /// Nothing was ever told of its socket: drop it.
    Forget,
}

/// The longest wait for the facts of the second end.
const GRACE: Duration = Duration::from_secs(2);

/// The longest wait for the facts of any end, for the bytes that tell which end is the client,
/// and for the second end to close.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was sent at a moment is told when all before the next one was.
const MOMENT: Duration = Duration::from_nanos(1);

/// How long both ends may be silent on what is open, where something of them may have been refused.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

impl Leg {
    pub(super) fn new(serial: u64, first: Endpoint, now: Timestamp) -> Self {
        Self {
            serial,
            charged: first.cgroup,
            held: 0,
            deadline: None,
            ends: [Some(first), None],
            client: None,
            first_seen: now,
            path_of: None,
            spread: false,
            greetings: Greetings::default(),
            state: State::Waiting(Waiting::default()),
            told: None,
        }
    }

    /// Takes a segment of the end at `index`, whose number among all that came is `order`.
    pub(super) fn segment(
        &mut self,
        index: usize,
        order: u64,
        segment: Segment,
        bounds: &Bounds,
        events: &mut Vec<HttpEvent>,
    ) {
        self.greetings.sent(index, &segment);
        self.tell_greetings(events);
        let from_client = self.client == Some(index);
        match &mut self.state {
            State::Waiting(waiting) => waiting.keep(index, order, segment, bounds),
            State::Read(protocol) => {
                protocol.segment(direction(from_client), &segment, events);
            }
            State::Unread | State::Spread => {}
            State::Evicted(known, cause) if from_client => {
                let messages = messages(&segment).saturating_sub(*known);
                *known += messages;
                let cause = *cause;
                if messages > 0 {
                    self.lost(messages, cause, segment.time, events);
                }
            }
            State::Evicted(..) => {}
        }
    }

    /// Takes what the socket at `index` says of the beginning of a direction.
    pub(super) fn first_bytes(
        &mut self,
        index: usize,
        first: &FirstBytes,
        events: &mut Vec<HttpEvent>,
    ) {
        self.greetings.first_bytes(index, first);
        self.tell_greetings(events);
    }

    /// What is due at `progress`, before which all was told.
    pub(super) fn next(&self, progress: Timestamp, refusals: &Refusals) -> Next {
        if self.told.is_none() {
            self.next_before_opening(progress)
        } else {
            self.next_before_closing(progress, refusals)
        }
    }

    /// Tells what connection it is, and reads what waited for that.
    pub(super) fn open(&mut self, bounds: &Bounds, events: &mut Vec<HttpEvent>) {
        let Some(connection) = self.tell_opened(events) else {
            return;
        };
        let State::Waiting(waiting) = &mut self.state else {
            return;
        };
        let mut waiting = std::mem::take(waiting);
        if self.is_remote() {
            self.state = State::Unread;
            return;
        }
        if self.spread {
            self.state = State::Spread;
            let time = self.told.as_ref().map_or(self.first_seen, |it| it.time);
            return self.lost(0, Gap::Mptcp, time, events);
        }
        let client = self.client.unwrap_or_default();
        let dropped = [waiting.dropped(client), waiting.dropped(1 - client)];
        let mut protocol = Protocol::new(connection, dropped, bounds.outstanding);
        for (end, segment) in waiting.take() {
            protocol.segment(direction(end == client), &segment, events);
        }
        self.state = State::Read(protocol);
    }

    /// Ends what is open and tells that the connection ended.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        refusals: &Refusals,
        events: &mut Vec<HttpEvent>,
    ) {
        let time = self.end_time().unwrap_or(now);
        let facts = |index: usize| self.ends[index].as_ref().and_then(|end| end.facts.as_ref());
        let client = self.client.unwrap_or_default();
        let (requests, responses) = (facts(client), facts(1 - client));
        let is_lost = |index: usize| {
            let end = self.ends[index].as_ref();
            end.is_some_and(|end| end.may_be_over(refusals))
        };
        let lost = [is_lost(client), is_lost(1 - client)];
        // What was told of it before says nothing of what it came to.
        let totals = |lost: bool, facts: Option<&Socket>| match lost {
            true => Some(Sent::default()),
            false => facts.map(sent),
        };
        let ends = StreamEnds {
            time,
            requests: totals(lost[0], requests),
            responses: totals(lost[1], responses),
            server_fin: self.ends[1 - client].as_ref().and_then(Endpoint::fin),
        };
        let begun = requests.map_or(0, |facts| facts.stream.messages);
        let mut no_request = match requests {
            Some(facts) if facts.bytes_sent > 0 => NoRequest::No,
            _ => NoRequest::NoLine,
        };
        match &mut self.state {
            State::Read(protocol) => {
                for (lost, direction) in lost
                    .into_iter()
                    .zip([Direction::Requests, Direction::Responses])
                {
                    if lost {
                        protocol.lose_end(direction, time, events);
                    }
                }
                protocol.close(ends, events);
                no_request = protocol.no_request();
            }
            State::Evicted(known, cause) => {
                no_request = NoRequest::No;
                let (missed, cause) = (begun.saturating_sub(*known), *cause);
                if missed > 0 {
                    self.lost(missed, cause, time, events);
                }
            }
            State::Spread => no_request = NoRequest::No,
            State::Waiting(_) | State::Unread => {}
        }
        if let Some(connection) = &self.told {
            let ends = [client, 1 - client].map(|index| self.ends[index].as_ref());
            events.push(HttpEvent::Closed(opening::closed(
                connection, ends, time, no_request,
            )));
        }
    }

    /// Stops following it. False if nothing can be told of it.
    pub(super) fn evict(
        &mut self,
        cause: Gap,
        now: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> bool {
        if self.told.is_none() && self.tell_opened(events).is_none() {
            return false;
        }
        let client = self.client.unwrap_or_default();
        let (known, told) = match &mut self.state {
            State::Read(protocol) => protocol.evict(cause, now, events),
            State::Waiting(waiting) => {
                let segments = waiting.take();
                let sent = segments.filter(|(end, _)| *end == client);
                (
                    0,
                    sent.map(|(_, segment)| messages(&segment))
                        .max()
                        .unwrap_or(0),
                )
            }
            State::Unread => (0, 0),
            State::Evicted(..) | State::Spread => return true,
        };
        self.lost(told, cause, now, events);
        self.state = State::Evicted(known.saturating_add(told), cause);
        true
    }

    /// Another path carries a part of the connection from now on, or has all along: ends what is
    /// open, and reads no more.
    pub(super) fn spread(&mut self, now: Timestamp, events: &mut Vec<HttpEvent>) {
        self.spread = true;
        if let State::Read(protocol) = &mut self.state {
            let (_, untold) = protocol.evict(Gap::Mptcp, now, events);
            self.state = State::Spread;
            if untold > 0 {
                self.lost(untold, Gap::Mptcp, now, events);
            }
            self.lost(0, Gap::Mptcp, now, events);
        }
    }

    /// Ends the exchanges that wait for their responses. What comes is read on.
    pub(super) fn end_waiting(&mut self, now: Timestamp, events: &mut Vec<HttpEvent>) {
        if let State::Read(protocol) = &mut self.state {
            protocol.end_waiting(Gap::RingLost, now, events);
        }
    }

    /// Takes in a leg of which no peer was known, and which turned out to be this one's peer.
    pub(super) fn join(&mut self, other: Self) {
        let [end, _] = other.ends;
        self.ends[1] = end;
        self.greetings.join(other.greetings);
        if let (State::Waiting(waiting), State::Waiting(more)) = (&mut self.state, other.state) {
            waiting.join(more);
        }
        self.first_seen = self.first_seen.min(other.first_seen);
        self.spread |= other.spread;
    }

    /// Nothing was told of it yet, and no peer is known.
    pub(super) fn is_alone(&self) -> bool {
        self.told.is_none() && self.ends[1].is_none()
    }

    /// It will have to be looked at after each segment.
    pub(super) fn is_restless(&self) -> bool {
        self.told.is_none() || self.ends.iter().flatten().any(|end| end.end().is_some())
    }

    /// Bytes that are kept for it.
    pub(super) fn bytes(&self) -> usize {
        let kept = match &self.state {
            State::Waiting(waiting) => waiting.bytes(),
            State::Read(protocol) => protocol.held(),
            State::Unread | State::Evicted(..) | State::Spread => 0,
        };
        kept + self.greetings.held()
    }

    /// The peer is not in this pod.
    fn is_remote(&self) -> bool {
        let [first, second] = &self.ends;
        second.is_none() && first.as_ref().is_some_and(|end| end.peer() == Peer::Remote)
    }

    fn next_before_opening(&self, progress: Timestamp) -> Next {
        let due = |at: Timestamp| {
            if progress >= at {
                Next::Open
            } else {
                Next::Wait(Some(at))
            }
        };
        let known = |end: &Endpoint| end.facts.is_some();
        let mut ends = self.ends.iter().flatten().filter(|end| known(end));
        match (ends.next(), ends.next()) {
            (None, _) if progress >= self.first_seen + PATIENCE => Next::Forget,
            (None, _) => Next::Wait(Some(self.first_seen + PATIENCE)),
            (Some(_), Some(_))
                if opening::client(&self.ends).is_some() || self.hint().is_some() =>
            {
                Next::Open
            }
            (Some(first), Some(second)) => match (first.over(progress), second.over(progress)) {
                (Over::Since(_), Over::Since(_)) => Next::Open,
                _ => due(self.first_seen + PATIENCE),
            },
            (Some(_), None) if self.is_remote() => Next::Open,
            (Some(end), None) => match (end.peer(), end.over(progress)) {
                (Peer::Local { .. }, _) => due(end.known_since + GRACE),
                (_, Over::Since(_)) if !end.established() => Next::Open,
                // The peer may still say that it is one.
                (_, Over::Since(at)) => due(at + GRACE),
                (_, Over::At(at)) => Next::Wait(Some(at)),
                (_, Over::No) => Next::Wait(None),
            },
        }
    }

    fn next_before_closing(&self, progress: Timestamp, refusals: &Refusals) -> Next {
        let ends = || self.ends.iter().flatten();
        let may_be_over = ends().any(|end| end.may_be_over(refusals));
        let over = |index: usize| match &self.ends[index] {
            Some(end) if end.facts.is_some() => Some(end.over(progress)),
            _ => None,
        };
        let due = |at: Timestamp| {
            if progress >= at {
                Next::Close
            } else {
                Next::Wait(Some(at))
            }
        };
        let silent = ends().map(Endpoint::last_told).max().unwrap_or_default() + SILENCE;
        let is_missing = self.is_waiting()
            && (self.may_have_missed() || ends().any(|end| end.may_have_sent(refusals)));
        match (over(0), over(1)) {
            (None, None) => due(self.first_seen + PATIENCE),
            (Some(Over::Since(_)), Some(Over::Since(_))) => Next::Close,
            // How it began may be told after its end.
            (Some(Over::Since(at)), None) if self.is_remote() => due(at + MOMENT),
            (Some(Over::Since(_)), None) if self.ends[1].is_none() => Next::Close,
            // The other end, of which nothing is known, may still tell something.
            (Some(Over::Since(at)), None) | (None, Some(Over::Since(at))) => due(at + LINGER),
            (Some(Over::Since(at)), Some(other)) | (Some(other), Some(Over::Since(at))) => {
                let end = at
                    + if self.fin_was_seen() || may_be_over {
                        LINGER
                    } else {
                        PATIENCE
                    };
                match other {
                    Over::At(other) if progress < end => Next::Wait(Some(end.min(other))),
                    _ => due(end),
                }
            }
            (Some(Over::At(at)), _) | (_, Some(Over::At(at))) => Next::Wait(Some(at)),
            (Some(Over::No), _) | (_, Some(Over::No))
                if is_missing || may_be_over && self.is_open() =>
            {
                if progress < silent {
                    Next::Wait(Some(silent))
                } else if is_missing {
                    Next::EndWaiting
                } else if ends().all(|end| end.may_be_over(refusals)) {
                    Next::GiveUp
                } else {
                    Next::Wait(Some(progress + SILENCE))
                }
            }
            (Some(Over::No), _) | (_, Some(Over::No)) => Next::Wait(None),
        }
    }

    /// Something on it waits for an end.
    fn is_open(&self) -> bool {
        matches!(&self.state, State::Read(protocol) if protocol.is_open())
    }

    /// An exchange on it waits for its response.
    fn is_waiting(&self) -> bool {
        matches!(&self.state, State::Read(protocol) if protocol.is_waiting())
    }

    /// The end of a response on it may have been missed.
    fn may_have_missed(&self) -> bool {
        matches!(&self.state, State::Read(protocol) if protocol.may_have_missed())
    }

    /// One end of a connection older than the programs sent a FIN: the other, which never closes
    /// before our eyes, has nothing more to say.
    fn fin_was_seen(&self) -> bool {
        let mut facts = self
            .ends
            .iter()
            .flatten()
            .filter_map(|end| end.facts.as_ref());
        facts.clone().all(|facts| facts.preexisting) && facts.any(|facts| facts.fin_sent)
    }

    /// Which end is the client, by what waits.
    fn hint(&self) -> Option<usize> {
        match &self.state {
            State::Waiting(waiting) => waiting.client(),
            _ => None,
        }
    }

    /// Settles which end is the client and tells the connection: its identity. None if there are
    /// no facts.
    fn tell_opened(&mut self, events: &mut Vec<HttpEvent>) -> Option<Cookie> {
        let client = opening::client(&self.ends)
            .or_else(|| self.hint())
            .unwrap_or_else(|| opening::likely_client(&self.ends));
        let connection = opening::connection(&self.ends, client)?;
        let id = connection.id;
        self.client = Some(client);
        self.told = Some(connection.clone());
        events.push(HttpEvent::Opened(connection));
        self.tell_greetings(events);
        Some(id)
    }

    /// Tells how the ends began to speak, as far as that is known and was not told.
    fn tell_greetings(&mut self, events: &mut Vec<HttpEvent>) {
        let remote = self.is_remote();
        let (Some(connection), Some(client)) = (&self.told, self.client) else {
            return;
        };
        for (time, greeting) in self.greetings.take(client, remote) {
            events.push(HttpEvent::Greeted {
                connection: connection.id,
                time,
                greeting,
            });
        }
    }

    fn lost(&self, exchanges: u32, cause: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(connection) = &self.told {
            events.push(HttpEvent::Lost {
                connection: connection.id,
                exchanges,
                time,
                cause,
            });
        }
    }

    /// When the last end that was seen to close did.
    fn end_time(&self) -> Option<Timestamp> {
        self.ends.iter().flatten().filter_map(Endpoint::end).max()
    }
}

fn direction(from_client: bool) -> Direction {
    if from_client {
        Direction::Requests
    } else {
        Direction::Responses
    }
}

fn sent(socket: &Socket) -> Sent {
    Sent {
        bytes: socket.bytes_sent,
        totals: socket.stream,
    }
}

/// The messages that began up to the end of this segment, as far as the kernel side says.
fn messages(segment: &Segment) -> u32 {
    // Of HTTP/2 it is the first frame that it marks.
    let begun = u32::from(segment.first_message.is_some() && !segment.http2);
    segment.messages_before.saturating_add(begun)
}
