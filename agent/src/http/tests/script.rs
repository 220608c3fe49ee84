//! A scripted pair of sockets: what each writes, and what the kernel side would tell of it.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::{
    capture::{
        Cookie, Multipath, Observation, Opener, Peer, Phase, Process, Segment, Socket, StreamTotals,
    },
    http::{Bounds, Closed, Connection, Exchange, Gap, HttpEvent, Tracker},
    timestamp::Timestamp,
};

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// Between two writes.
pub(super) const TICK: u64 = 1_000_000;

/// The first moment of a script.
pub(crate) const START: u64 = 1_800_000_000_000_000_000;

/// What two sockets of a pod write, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    writes: Vec<Write>,
    /// Of each end.
    wires: [Wire; 2],
}

#[derive(Clone, Debug)]
struct Write {
    end: usize,
    from: usize,
    to: usize,
    time: Timestamp,
}

/// All bytes that a socket sends.
#[derive(Clone, Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    /// What is content of a body, and so can be left out.
    content: Vec<bool>,
    /// Where messages begin.
    starts: Vec<usize>,
}

/// How the bytes of a script come to be segments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cutting {
    /// Of each end, where a segment ends besides the end of a write.
    pub(crate) cuts: [Vec<usize>; 2],
    /// Runs of content at least this long are left out; none: everything is told.
    pub(crate) elide: Option<usize>,
    /// Of each end, the segments that are refused.
    pub(crate) refused: [Vec<u32>; 2],
}

impl Script {
    /// The client writes a whole message; `body` is content without framing.
    pub(crate) fn request(self, head: &str, body: &str) -> Self {
        self.message(CLIENT, head, body)
    }

    /// The server writes a whole message.
    pub(crate) fn response(self, head: &str, body: &str) -> Self {
        self.message(SERVER, head, body)
    }

    /// A head, which begins a message, and content in one write.
    pub(super) fn message(self, end: usize, head: &str, body: &str) -> Self {
        self.write(
            end,
            &[(head.as_bytes(), false), (body.as_bytes(), true)],
            true,
        )
    }

    /// More content of a message.
    pub(super) fn content(self, end: usize, body: &str) -> Self {
        self.write(end, &[(body.as_bytes(), true)], false)
    }

    /// Bytes that continue whatever they continue.
    pub(super) fn raw(self, end: usize, bytes: &[u8]) -> Self {
        self.write(end, &[(bytes, false)], false)
    }

    /// One write of parts, each of which is content or not; `starts` if it begins a message.
    pub(super) fn write(mut self, end: usize, parts: &[(&[u8], bool)], starts: bool) -> Self {
        let wire = &mut self.wires[end];
        let from = wire.bytes.len();
        if starts {
            wire.starts.push(from);
        }
        for (bytes, content) in parts {
            wire.bytes.extend_from_slice(bytes);
            wire.content.resize(wire.bytes.len(), *content);
        }
        let write = Write {
            end,
            from,
            to: wire.bytes.len(),
            time: Timestamp(START + self.writes.len() as u64 * TICK),
        };
        self.writes.push(write);
        self
    }

    /// The moment of the write with this number.
    pub(super) fn time(write: usize) -> Timestamp {
        Timestamp(START + write as u64 * TICK)
    }

    /// Bytes that an end writes in all.
    pub(super) fn length(&self, end: usize) -> usize {
        self.wires[end].bytes.len()
    }

    /// All that is told: the facts of both ends, the segments, both closes.
    pub(crate) fn observations(&self, cutting: &Cutting) -> Vec<Observation> {
        let (segments, totals) = self.segments(cutting);
        let mut all: Vec<_> = [CLIENT, SERVER]
            .into_iter()
            .map(|end| Observation::Socket(self.socket(end, Phase::Settled, totals[end])))
            .collect();
        all.extend(segments.into_iter().map(Observation::Segment));
        all.extend(
            [CLIENT, SERVER]
                .map(|end| Observation::Socket(self.socket(end, Phase::Closed, totals[end]))),
        );
        all.push(Observation::Progress(Timestamp(u64::MAX >> 1)));
        all
    }

    /// What follows from it all when nothing is cut or left out.
    pub(super) fn events(&self) -> Vec<HttpEvent> {
        run(self.observations(&Cutting::default()))
    }

    /// The exchanges of [`Script::events`].
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        exchanges(&self.events())
    }

    /// The facts of an end.
    pub(super) fn socket(&self, end: usize, phase: Phase, stream: StreamTotals) -> Socket {
        let last = Self::time(self.writes.len());
        let closed = phase == Phase::Closed;
        Socket {
            phase,
            time: if closed { last } else { Timestamp(START - 1) },
            fin_sent: closed,
            bytes_sent: if closed { self.length(end) as u64 } else { 0 },
            bytes_received: if closed {
                self.length(1 - end) as u64
            } else {
                0
            },
            stream,
            ..socket(end)
        }
    }

    /// The segments, in order, and the totals of each end.
    pub(super) fn segments(&self, cutting: &Cutting) -> (Vec<Segment>, [StreamTotals; 2]) {
        let mut segments = Vec::new();
        let mut totals = [StreamTotals::default(); 2];
        for write in &self.writes {
            let cuts = cutting.cuts[write.end].iter().copied();
            let mut ends: Vec<_> = cuts
                .filter(|cut| (write.from + 1..write.to).contains(cut))
                .chain([write.to])
                .collect();
            ends.sort_unstable();
            ends.dedup();
            let mut from = write.from;
            for to in ends {
                let total = &mut totals[write.end];
                let pieces = self.pieces(write, from..to, cutting.elide, total);
                for (segment, index) in pieces {
                    if !cutting.refused[write.end].contains(&index) {
                        segments.push(segment);
                    }
                }
                from = to;
            }
        }
        for (end, total) in totals.iter_mut().enumerate() {
            total.messages = u32::try_from(self.wires[end].starts.len()).unwrap();
            total.followed = true;
        }
        (segments, totals)
    }

    /// What is told of one packet.
    fn pieces(
        &self,
        write: &Write,
        packet: std::ops::Range<usize>,
        elide: Option<usize>,
        total: &mut StreamTotals,
    ) -> Vec<(Segment, u32)> {
        let wire = &self.wires[write.end];
        let mut pieces = Vec::new();
        let mut at = packet.start;
        while at < packet.end {
            let shown = at + self.shown(wire, at..packet.end, elide);
            let hidden = wire.content[shown..packet.end]
                .iter()
                .take_while(|content| **content)
                .count();
            let hidden = if shown < packet.end { hidden } else { 0 };
            let begun = |limit: usize| wire.starts.iter().filter(|start| **start < limit).count();
            let first = wire.starts.iter().find(|start| (at..shown).contains(start));
            let segment = Segment {
                cookie: cookie(write.end),
                cgroup: cgroup(write.end),
                time: write.time,
                index: total.segments,
                offset: at as u64,
                bytes: wire.bytes[at..shown].to_vec(),
                elided: hidden as u64,
                messages_before: u32::try_from(begun(at)).unwrap(),
                first_message: first.map(|start| u16::try_from(start - at).unwrap()),
                after_gap: false,
                joined: false,
                http2: false,
            };
            pieces.push((segment, total.segments));
            total.segments += 1;
            at = shown + hidden;
        }
        pieces
    }

    /// How many bytes are told before a run of content that is left out.
    fn shown(&self, wire: &Wire, range: std::ops::Range<usize>, elide: Option<usize>) -> usize {
        let Some(least) = elide else {
            return range.len();
        };
        let mut at = range.start;
        while at < range.end {
            let run = wire.content[at..range.end]
                .iter()
                .take_while(|content| **content)
                .count();
            if run >= least.max(1) {
                break;
            }
            at += run.max(1);
        }
        at - range.start
    }
}

/// An end of the scripted connection, settled.
pub(super) fn socket(end: usize) -> Socket {
    let (client, server): (SocketAddr, SocketAddr) = (
        "10.0.0.1:40000".parse().unwrap(),
        "127.0.0.1:15001".parse().unwrap(),
    );
    let asked: SocketAddr = "10.0.0.9:80".parse().unwrap();
    let (local, remote, sent) = if end == CLIENT {
        (client, asked, (client, server))
    } else {
        (server, client, (asked, client))
    };
    Socket {
        cookie: cookie(end),
        phase: Phase::Settled,
        time: Timestamp(START - 1),
        opened: Timestamp(START - 2),
        cgroup: cgroup(end),
        opener: if end == CLIENT {
            Opener::Here
        } else {
            Opener::Peer
        },
        process: Some(Process {
            pid: u32::try_from(end).unwrap() + 100,
            user: 1000,
            command: "command".into(),
        }),
        asked: (end == CLIENT).then_some(asked),
        local,
        remote,
        sent: Some(sent),
        peer: Peer::Local {
            cookie: cookie(1 - end),
            cgroup: cgroup(1 - end),
        },
        established: true,
        preexisting: false,
        multipath: Multipath::No,
        fin_sent: false,
        bytes_sent: 0,
        bytes_received: 0,
        retransmits: 0,
        stream: StreamTotals::default(),
    }
}

pub(super) fn cookie(end: usize) -> Cookie {
    end as Cookie + 1
}

fn cgroup(end: usize) -> u64 {
    end as u64 + 70
}

/// What a new tracker makes of it.
pub(super) fn run(observations: Vec<Observation>) -> Vec<HttpEvent> {
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in observations {
        tracker.observe(observation, &mut events);
    }
    assert_order(&events);
    let counters = tracker.counters();
    assert_eq!((counters.open, counters.bytes), (0, 0), "{events:#?}");
    events
}

/// Each connection is told in order: opened, exchanges in theirs, closed. A socket may live again.
pub(super) fn assert_order(events: &[HttpEvent]) {
    let mut lives: Vec<Vec<HttpEvent>> = Vec::new();
    for event in events {
        let Some(id) = connection_of(event) else {
            continue;
        };
        let life = lives
            .iter_mut()
            .rev()
            .find(|life| connection_of(&life[0]) == Some(id));
        match (life, event) {
            (Some(life), HttpEvent::Opened(_)) => {
                let closed = matches!(life.last(), Some(HttpEvent::Closed(_)));
                assert!(closed, "opened twice: {event:?}");
                lives.push(vec![event.clone()]);
            }
            (Some(life), _) => life.push(event.clone()),
            (None, _) => lives.push(vec![event.clone()]),
        }
    }
    for life in lives {
        assert_numbers(&life);
    }
}

/// The events of one connection stand in order.
fn assert_numbers(life: &[HttpEvent]) {
    let mut begun = 0;
    let mut running = BTreeSet::new();
    for (index, event) in life.iter().enumerate() {
        match event {
            HttpEvent::Opened(_) => assert_eq!(index, 0, "opened late or twice"),
            HttpEvent::Begun { exchange, .. } => {
                assert_eq!(begun, *exchange, "out of order");
                begun += 1;
                running.insert(*exchange);
            }
            HttpEvent::Ended(exchange) => {
                assert!(running.remove(&exchange.exchange), "{event:?}");
                assert!(exchange.end >= exchange.time, "{event:?}");
            }
            HttpEvent::Greeted { .. } | HttpEvent::Lost { .. } | HttpEvent::Dropped { .. } => {}
            HttpEvent::Closed(_) => {
                assert_eq!(index + 1, life.len(), "closed early or twice");
                assert!(running.is_empty(), "left open: {running:?}");
            }
        }
    }
    assert!(matches!(life[0], HttpEvent::Opened(_)), "not opened");
}

/// The connection of which an event tells, if it is known.
fn connection_of(event: &HttpEvent) -> Option<Cookie> {
    Some(match event {
        HttpEvent::Opened(connection) => connection.id,
        HttpEvent::Greeted { connection, .. }
        | HttpEvent::Begun { connection, .. }
        | HttpEvent::Lost { connection, .. } => *connection,
        HttpEvent::Ended(exchange) => exchange.connection,
        HttpEvent::Closed(closed) => closed.connection,
        HttpEvent::Dropped { .. } => return None,
    })
}

pub(super) fn exchanges(events: &[HttpEvent]) -> Vec<Exchange> {
    let ended = |event: &HttpEvent| match event {
        HttpEvent::Ended(exchange) => Some(exchange.clone()),
        _ => None,
    };
    events.iter().filter_map(ended).collect()
}

pub(super) fn begun(events: &[HttpEvent]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, HttpEvent::Begun { .. }))
        .count()
}

pub(super) fn lost(events: &[HttpEvent]) -> Vec<(u32, Gap)> {
    let lost = |event: &HttpEvent| match event {
        HttpEvent::Lost {
            exchanges, cause, ..
        } => Some((*exchanges, *cause)),
        _ => None,
    };
    events.iter().filter_map(lost).collect()
}

pub(super) fn opened(events: &[HttpEvent]) -> Vec<Connection> {
    let opened = |event: &HttpEvent| match event {
        HttpEvent::Opened(connection) => Some(connection.clone()),
        _ => None,
    };
    events.iter().filter_map(opened).collect()
}

pub(super) fn closed(events: &[HttpEvent]) -> Vec<Closed> {
    let closed = |event: &HttpEvent| match event {
        HttpEvent::Closed(closed) => Some(closed.clone()),
        _ => None,
    };
    events.iter().filter_map(closed).collect()
}
