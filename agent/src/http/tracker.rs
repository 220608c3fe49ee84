//! All connections of a node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    bounds::Bounds,
    charges::Charges,
    departed::Departed,
    endpoint::Endpoint,
    event::{Gap, HttpEvent},
    leg::{Leg, Next},
    multipath::{Path, Paths},
    refusals::Refusals,
};
use crate::{
    capture::{
        CgroupId, Cookie, FirstBytes, Multipath, Observation, Peer, Refusal, Refused, Segment,
        Socket,
    },
    number_map::NumberMap,
    timestamp::Timestamp,
};

/// How often all connections are looked at while something is refused: either end may be concerned.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// Turns what sockets do into what connections and exchanges do.
///
/// Deterministic and without a clock: time is what the observations carry, and what is late is
/// told by [`Observation::Progress`]. How long it waits, on that clock:
///
/// - 2 s for the facts of the second end of a connection inside a pod; then it is told with what
///   the first end's peer lookup says.
/// - 2 s after `close` of a socket older than the programs, which shows no other end, and after
///   the last segment it sent since.
/// - 60 s for the close of the second end after that of the first; for the first facts of a socket
///   that sends; and for a byte that tells which end of a connection older than the programs is
///   the client. After that the end with the lower port is taken for the server.
/// - 20 s of silence for the response or the close of an end of which something was refused.
/// - 16 minutes for the end of any other socket after its `close`.
#[derive(Debug)]
pub struct Tracker {
    bounds: Bounds,
    sockets: NumberMap<Cookie, Place>,
    legs: Vec<Option<Leg>>,
    free: Vec<usize>,
    deadlines: BTreeSet<(Timestamp, usize)>,
    charges: Charges,
    /// Connections that were evicted, oldest first.
    evicted: BTreeMap<u64, usize>,
    departed: Departed,
    paths: Paths,
    refusals: Refusals,
    /// When all connections are to be looked at because of refusals, on the steady clock.
    unsettled: Option<Timestamp>,
    counters: Counters,
    /// All that was sent before this moment was told, on the steady clock.
    progress: Timestamp,
    /// The wall clock minus the steady one, in nanoseconds.
    steps: i64,
    /// What came so far.
    order: u64,
}

/// What was dropped without an event of its own, and how full the tracker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that are open.
    pub open: usize,
    /// Those of them that were evicted.
    pub open_evicted: usize,
    /// Bytes that are kept of heads and of segments that wait.
    pub bytes: usize,
    /// Connections evicted so far.
    pub evicted: u64,
    /// Observations of sockets whose connection had been told as ended.
    pub late: u64,
    /// Sockets that sent and of which no facts ever came.
    pub unknown: u64,
}

/// Where a socket is: its leg, and which of its ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    leg: usize,
    end: usize,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            sockets: NumberMap::default(),
            legs: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            charges: Charges::default(),
            evicted: BTreeMap::new(),
            departed: Departed::new(bounds.connections),
            paths: Paths::default(),
            refusals: Refusals::default(),
            unsettled: None,
            counters: Counters::default(),
            progress: Timestamp::default(),
            steps: 0,
            order: 0,
        }
    }

    /// Takes an observation and adds to `events` what follows from it.
    pub fn observe(&mut self, observation: Observation, events: &mut Vec<HttpEvent>) {
        match observation {
            Observation::Segment(segment) => self.segment(segment, events),
            Observation::FirstBytes(first) => self.first_bytes(&first, events),
            Observation::Socket(socket) => self.socket(socket, events),
            Observation::Progress(time) => self.advance(time, events),
            Observation::ClockStep { nanoseconds, .. } => {
                self.steps = self.steps.saturating_add(nanoseconds);
            }
            Observation::Refused(refused) => self.refused(&refused),
            Observation::Listener(_)
            | Observation::ListenerClosed(_)
            | Observation::Flow(_)
            | Observation::FlowsClosed { .. }
            | Observation::RawSocket(_) => {}
        }
    }

    /// How full it is, and what it dropped.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            open: self.charges.connections() + self.evicted.len(),
            open_evicted: self.evicted.len(),
            bytes: self.charges.bytes(),
            ..self.counters
        }
    }

    fn segment(&mut self, segment: Segment, events: &mut Vec<HttpEvent>) {
        let (time, now) = (segment.time, self.steady(segment.time));
        let Some(place) = self.place(segment.cookie, segment.cgroup, time, time, events) else {
            return;
        };
        self.order += 1;
        let Some(leg) = &mut self.legs[place.leg] else {
            return;
        };
        if let Some(end) = &mut leg.ends[place.end] {
            end.sent(&segment, now);
        }
        leg.segment(place.end, self.order, segment, &self.bounds, events);
        let restless = leg.is_restless();
        self.weigh(place.leg);
        if restless {
            self.settle(place.leg, events);
        }
        self.make_bytes(time, events);
    }

    fn first_bytes(&mut self, first: &FirstBytes, events: &mut Vec<HttpEvent>) {
        let time = first.time;
        let Some(place) = self.place(first.cookie, first.cgroup, time, time, events) else {
            return;
        };
        if let Some(leg) = &mut self.legs[place.leg] {
            leg.first_bytes(place.end, first, events);
        }
        self.weigh(place.leg);
        self.settle(place.leg, events);
        self.make_bytes(time, events);
    }

    fn socket(&mut self, socket: Socket, events: &mut Vec<HttpEvent>) {
        let (time, now) = (socket.time, self.steady(socket.time));
        let (cookie, peer) = (socket.cookie, socket.peer);
        let path = Path::of(&socket);
        let Some(place) = self.place(cookie, socket.cgroup, socket.opened, time, events) else {
            return;
        };
        if let Some(end) = self.end(place) {
            end.learn(socket, now);
        }
        // One without a cookie will name this one, if it ever sends.
        if let Peer::Local { cookie, cgroup } = peer
            && cookie != 0
        {
            self.join(place, cookie, cgroup);
        }
        if let Some(place) = self.sockets.get(&cookie) {
            let leg = place.leg;
            if let Some(path) = path {
                self.path(leg, &path, time, events);
            }
            self.weigh(leg);
            self.settle(leg, events);
        }
        self.make_bytes(time, events);
    }

    /// Takes note of a path of Multipath TCP. Those that others share are not read.
    fn path(&mut self, index: usize, path: &Path, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let Some(leg) = &mut self.legs[index] else {
            return;
        };
        let mut shared = BTreeSet::new();
        if path.part == Multipath::Joined {
            shared.insert(index);
        }
        if let (Some(ends), None) = (path.ends, leg.path_of) {
            leg.path_of = Some(ends);
            match path.part {
                Multipath::Joined => shared.extend(self.paths.join(ends, time)),
                _ if self.paths.begin(ends, index, path.opened) => _ = shared.insert(index),
                _ => {}
            }
        }
        for index in shared {
            if let Some(leg) = &mut self.legs[index] {
                leg.spread(time, events);
            }
            self.weigh(index);
        }
    }

    /// What some connection waits for may be among what was refused.
    fn refused(&mut self, refused: &Refused) {
        let to = self.steady(refused.to);
        let times = match refused.refusal {
            Refusal::SocketsFull | Refusal::SocketsRation => &mut self.refusals.facts,
            Refusal::StreamsFull | Refusal::StreamsRation => &mut self.refusals.segments,
            Refusal::Intricate | Refusal::NoStorage | Refusal::Flow => return,
        };
        times.note(refused.cgroup, to);
        self.unsettled.get_or_insert(to + BETWEEN_SWEEPS);
    }

    fn advance(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.progress = self.progress.max(self.steady(time));
        if self.unsettled.is_some_and(|due| due <= self.progress) {
            self.unsettled = None;
            for leg in 0..self.legs.len() {
                self.settle(leg, events);
            }
        }
        while let Some((deadline, leg)) = self.deadlines.first().copied()
            && deadline <= self.progress
        {
            self.deadlines.pop_first();
            if let Some(leg) = &mut self.legs[leg] {
                leg.deadline = None;
            }
            self.settle(leg, events);
        }
    }

    /// Where a socket is, which is a new leg for one that was never seen. None if what it did at
    /// `began` is of a connection that was told as ended.
    fn place(
        &mut self,
        cookie: Cookie,
        cgroup: CgroupId,
        began: Timestamp,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> Option<Place> {
        if let Some(place) = self.sockets.get(&cookie) {
            return Some(*place);
        }
        if self.departed.covers(cookie, began) {
            self.counters.late += 1;
            return None;
        }
        if self.charges.connections() >= self.bounds.connections
            && let Some(victim) = self.charges.oldest_of_largest()
        {
            self.evict(victim, Gap::Evicted, time, events);
        }
        self.order += 1;
        let leg = Leg::new(self.order, Endpoint::new(cookie, cgroup), self.steady(time));
        let index = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            self.legs.len() - 1
        });
        self.charges.add(cgroup, leg.serial, index);
        self.legs[index] = Some(leg);
        let place = Place { leg: index, end: 0 };
        self.sockets.insert(cookie, place);
        Some(place)
    }

    /// Puts the socket `peer` at the other end of the leg at `place`.
    fn join(&mut self, place: Place, peer: Cookie, cgroup: CgroupId) {
        let is_free = |leg: &Option<Leg>| leg.as_ref().is_some_and(Leg::is_alone);
        if !is_free(&self.legs[place.leg]) {
            return;
        }
        match self.sockets.get(&peer).copied() {
            None => {
                let Some(leg) = &mut self.legs[place.leg] else {
                    return;
                };
                leg.ends[1] = Some(Endpoint::new(peer, cgroup));
            }
            Some(other) if other.leg != place.leg && is_free(&self.legs[other.leg]) => {
                let Some(taken) = self.remove(other.leg) else {
                    return;
                };
                let Some(leg) = &mut self.legs[place.leg] else {
                    return;
                };
                leg.join(taken);
            }
            // It says that it belongs to another: then each stands for itself.
            Some(_) => return,
        }
        let end = Place {
            leg: place.leg,
            end: 1,
        };
        self.sockets.insert(peer, end);
    }

    /// Does what is due at a leg.
    fn settle(&mut self, index: usize, events: &mut Vec<HttpEvent>) {
        while let Some(leg) = &mut self.legs[index] {
            match leg.next(self.progress, &self.refusals) {
                Next::Wait(deadline) => {
                    if leg.deadline != deadline {
                        if let Some(old) = leg.deadline {
                            self.deadlines.remove(&(old, index));
                        }
                        leg.deadline = deadline;
                        if let Some(new) = deadline {
                            self.deadlines.insert((new, index));
                        }
                    }
                    return;
                }
                Next::Open => {
                    leg.open(&self.bounds, events);
                    self.weigh(index);
                }
                Next::Close => {
                    leg.close(self.progress, &self.refusals, events);
                    self.depart(index);
                }
                Next::EndWaiting => {
                    let now = self.wall(self.progress);
                    if let Some(leg) = &mut self.legs[index] {
                        leg.end_waiting(now, events);
                    }
                    self.weigh(index);
                }
                Next::GiveUp => {
                    let now = self.wall(self.progress);
                    self.evict(index, Gap::RingLost, now, events);
                }
                Next::Forget => {
                    self.drop_unknown(index, Gap::RingLost, events);
                }
            }
        }
    }

    /// Makes room for bytes.
    fn make_bytes(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        while self.charges.bytes() > self.bounds.memory {
            let held = |place: &usize| self.legs[*place].as_ref().map_or(0, |leg| leg.held);
            let Some(victim) = self.charges.of_heaviest().max_by_key(held) else {
                return;
            };
            self.evict(victim, Gap::Evicted, time, events);
        }
    }

    /// Stops following a connection; it is remembered until it closes, within the bound.
    fn evict(&mut self, index: usize, cause: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let Some(leg) = &mut self.legs[index] else {
            return;
        };
        self.counters.evicted += 1;
        self.charges.remove(leg.charged, leg.serial, leg.held);
        leg.held = 0;
        if !leg.evict(cause, time, events) {
            self.drop_unknown(index, cause, events);
            return;
        }
        self.evicted.insert(leg.serial, index);
        if self.evicted.len() > self.bounds.connections
            && let Some((_, oldest)) = self.evicted.pop_first()
        {
            if let Some(leg) = &mut self.legs[oldest] {
                leg.close(time, &self.refusals, events);
            }
            self.depart(oldest);
        }
    }

    /// Nothing can be told of a leg's sockets but whose they were.
    fn drop_unknown(&mut self, index: usize, cause: Gap, events: &mut Vec<HttpEvent>) {
        self.counters.unknown += 1;
        if let Some(leg) = &self.legs[index] {
            events.push(HttpEvent::Dropped {
                cgroup: leg.charged,
                from: self.wall(leg.first_seen),
                to: self.wall(self.progress.max(leg.first_seen)),
                cause,
            });
        }
        self.depart(index);
    }

    /// Charges what a leg holds now.
    fn weigh(&mut self, index: usize) {
        if let Some(leg) = &mut self.legs[index] {
            let bytes = leg.bytes();
            self.charges.change(leg.charged, leg.held, bytes);
            leg.held = bytes;
        }
    }

    /// A leg is done with: so are its sockets.
    fn depart(&mut self, index: usize) {
        if let Some(leg) = self.remove(index) {
            for end in leg.ends.iter().flatten() {
                self.sockets.remove(&end.cookie);
                self.departed.insert(end.cookie, end.closed());
            }
        }
    }

    fn remove(&mut self, index: usize) -> Option<Leg> {
        let leg = self.legs[index].take()?;
        self.free.push(index);
        if let Some(ends) = leg.path_of {
            self.paths.end(ends, index);
        }
        if let Some(deadline) = leg.deadline {
            self.deadlines.remove(&(deadline, index));
        }
        self.charges.remove(leg.charged, leg.serial, leg.held);
        self.evicted.remove(&leg.serial);
        Some(leg)
    }

    fn end(&mut self, place: Place) -> Option<&mut Endpoint> {
        self.legs[place.leg].as_mut()?.ends[place.end].as_mut()
    }

    /// What the wall clock shows at a moment of the steady one, as far as it was set.
    fn wall(&self, moment: Timestamp) -> Timestamp {
        Timestamp(moment.0.saturating_add_signed(self.steps))
    }

    /// A moment on a clock that never steps.
    fn steady(&self, time: Timestamp) -> Timestamp {
        let nanoseconds = self.steps.saturating_neg();
        Timestamp(time.0.saturating_add_signed(nanoseconds))
    }
}
