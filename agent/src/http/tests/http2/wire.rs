//! Connections of HTTP/2: what each end sends, and what the kernel side would tell of it.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    capture::{Observation, Phase, Segment, Socket, StreamTotals},
    http::{
        Exchange, HttpEvent,
        tests::script::{CLIENT, SERVER, START, TICK, cookie, exchanges, run, socket},
    },
    timestamp::Timestamp,
};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// What two sockets of a pod write, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Talk {
    writes: Vec<(usize, Range<usize>)>,
    /// Of each end.
    wires: [Wire; 2],
}

/// All bytes that a socket sends.
#[derive(Clone, Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    /// What has to be shipped.
    needed: Vec<bool>,
    /// Where frames begin.
    frames: Vec<usize>,
    /// Where the headers of frames end with which the client opens a stream.
    opened: Vec<usize>,
    /// Where messages end with the payload of DATA.
    ended: Vec<usize>,
    highest: u32,
    /// Bytes that are no whole frame yet.
    open: usize,
}

/// How the kernel side tells it.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    /// Of each end, where a packet ends besides the end of a write.
    pub(super) cuts: [Vec<usize>; 2],
    /// What is looked at in one piece, and of which the end that is not needed is left out; none:
    /// everything is told.
    pub(super) block: Option<usize>,
    /// Of each end, the segments that are refused.
    pub(super) refused: [Vec<u32>; 2],
    /// Of each end, the packet with which the programs came; those before were not seen.
    pub(super) joined: [usize; 2],
    /// The bytes are not marked as HTTP/2, and everything is told.
    pub(super) raw: bool,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            cuts: [vec![], vec![]],
            block: Some(256),
            refused: [vec![], vec![]],
            joined: [0; 2],
            raw: false,
        }
    }
}

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block that leaves the table as it is.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    literals(0, fields)
}

/// A header block of which every field is inserted.
pub(super) fn inserted(fields: &[(&str, &str)]) -> Vec<u8> {
    literals(0x40, fields)
}

fn literals(first: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(first);
        for text in [name, value] {
            match text.len() {
                short @ 0..127 => block.push(u8::try_from(short).unwrap()),
                long => {
                    block.push(127);
                    let mut rest = long - 127;
                    while rest >= 0x80 {
                        block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
                        rest >>= 7;
                    }
                    block.push(u8::try_from(rest).unwrap());
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The fields of a request for `path`, and more.
pub(super) fn request<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "host"),
    ];
    pseudo.into_iter().chain(more.iter().copied()).collect()
}

impl Talk {
    /// Both ends have begun.
    pub(super) fn begun() -> Self {
        Self::default()
            .write(CLIENT, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .write(SERVER, &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))
            .write(CLIENT, &frame(SETTINGS, ACK, 0, &[]))
    }

    /// A request without a body.
    pub(super) fn ask(self, stream: u32, path: &str) -> Self {
        let block = block(&request(path, &[]));
        self.frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }

    /// A response with a body.
    pub(super) fn answer(self, stream: u32, status: u16, body: &str) -> Self {
        let head = block(&[(":status", &status.to_string())]);
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &head);
        bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
        self.write(SERVER, &bytes)
    }

    /// One write of one frame.
    pub(super) fn frame(
        self,
        end: usize,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Self {
        self.write(end, &frame(kind, flags, stream, payload))
    }

    /// One write.
    pub(super) fn write(mut self, end: usize, bytes: &[u8]) -> Self {
        self.add(end, bytes);
        self
    }

    /// Adds a write.
    pub(super) fn add(&mut self, end: usize, bytes: &[u8]) {
        let wire = &mut self.wires[end];
        let from = wire.bytes.len();
        wire.bytes.extend_from_slice(bytes);
        wire.walk(end == CLIENT);
        self.writes.push((end, from..wire.bytes.len()));
    }

    /// Bytes that an end writes in all.
    pub(super) fn length(&self, end: usize) -> usize {
        self.wires[end].bytes.len()
    }

    /// The moment of the write with this number.
    pub(super) fn time(write: usize) -> Timestamp {
        Timestamp(START + write as u64 * TICK)
    }

    /// How often an end writes.
    pub(super) fn packets(&self, end: usize) -> usize {
        self.writes
            .iter()
            .filter(|(writer, _)| *writer == end)
            .count()
    }

    /// How many writes there were so far.
    pub(super) fn writes(&self) -> usize {
        self.writes.len()
    }

    /// All that is told: the facts of both ends, the segments, both closes.
    pub(super) fn observations(&self, telling: &Telling) -> Vec<Observation> {
        let (segments, totals) = self.segments(telling);
        let socket = |end: usize, phase| {
            Observation::Socket(self.socket(end, phase, totals[end], telling.joined[end] > 0))
        };
        let mut all: Vec<_> = [CLIENT, SERVER]
            .into_iter()
            .map(|end| socket(end, Phase::Settled))
            .collect();
        all.extend(segments.into_iter().map(Observation::Segment));
        all.extend([CLIENT, SERVER].map(|end| socket(end, Phase::Closed)));
        all.push(Observation::Progress(Timestamp(u64::MAX >> 1)));
        all
    }

    /// What follows from it when nothing is lost.
    pub(super) fn events(&self) -> Vec<HttpEvent> {
        run(self.observations(&Telling::default()))
    }

    /// The exchanges of [`Talk::events`], by stream.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        by_stream(&self.events())
    }

    fn socket(&self, end: usize, phase: Phase, stream: StreamTotals, joined: bool) -> Socket {
        let closed = phase == Phase::Closed;
        Socket {
            phase,
            time: if closed {
                Self::time(self.writes.len())
            } else {
                Timestamp(START - 1)
            },
            preexisting: joined,
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
    pub(super) fn segments(&self, telling: &Telling) -> (Vec<Segment>, [StreamTotals; 2]) {
        let mut segments = Vec::new();
        let mut totals = [StreamTotals::default(); 2];
        let mut packets = [0; 2];
        let before = [CLIENT, SERVER].map(|end| self.before(end, telling));
        let refused = telling.refused.clone().map(BTreeSet::from_iter);
        for (number, (end, write)) in self.writes.iter().enumerate() {
            let (end, write) = (*end, write.clone());
            let cuts = telling.cuts[end].iter().copied();
            let mut ends: Vec<_> = cuts
                .filter(|cut| (write.start + 1..write.end).contains(cut))
                .chain([write.end])
                .collect();
            ends.sort_unstable();
            ends.dedup();
            let mut from = write.start;
            for to in ends {
                let seen = packets[end] >= telling.joined[end];
                packets[end] += 1;
                if seen {
                    let wire = &self.wires[end];
                    let told = wire.told(from..to, before[end], telling, &mut totals[end]);
                    let told = told.into_iter().map(|segment| Segment {
                        cookie: cookie(end),
                        cgroup: end as u64 + 70,
                        time: Self::time(number),
                        ..segment
                    });
                    segments.extend(told.filter(|segment| !refused[end].contains(&segment.index)));
                }
                from = to;
            }
        }
        for (end, total) in totals.iter_mut().enumerate() {
            let opened = self.wires[end].opened.iter();
            let opened = opened.filter(|opened| **opened > before[end]).count();
            total.messages = u32::try_from(opened).unwrap();
            total.followed = !telling.raw;
        }
        (segments, totals)
    }

    /// Where an end's first packet begins that was seen.
    fn before(&self, end: usize, telling: &Telling) -> usize {
        assert!(telling.joined[end] == 0 || telling.cuts[end].is_empty());
        let writes = self.writes.iter().filter(|(writer, _)| *writer == end);
        let mut begins = writes.map(|(_, write)| write.start);
        begins.nth(telling.joined[end]).unwrap_or(self.length(end))
    }
}

impl Wire {
    /// Marks the frames that are whole by now, by the rules of RFC 9113 section 4.1.
    fn walk(&mut self, is_client: bool) {
        self.needed.resize(self.bytes.len(), true);
        if self.open == 0 && is_client {
            if self.bytes.len() < PREFACE.len() {
                return;
            }
            self.open = PREFACE.len();
        }
        loop {
            let rest = &self.bytes[self.open..];
            let Some((header, rest)) = rest.split_first_chunk::<9>() else {
                return;
            };
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if rest.len() < length {
                return;
            }
            let stream = u32::from_be_bytes(stream);
            let (begin, payload) = (self.open, self.open + 9);
            let needed = match kind {
                DATA => payload + usize::from(flags & PADDED != 0),
                SETTINGS if flags & ACK != 0 => begin,
                HEADERS | RST_STREAM | SETTINGS | PUSH_PROMISE | GOAWAY | CONTINUATION => {
                    payload + length
                }
                _ => begin,
            };
            self.open = payload + length;
            self.needed[begin..self.open].fill(false);
            self.needed[begin..needed].fill(true);
            self.frames.push(begin);
            if kind == DATA && flags & END_STREAM != 0 {
                self.ended.push(self.open);
            }
            if kind == HEADERS && stream % 2 == 1 && stream > self.highest {
                self.highest = stream;
                self.opened.push(payload);
            }
        }
    }

    /// What is told of one packet of a stream of which nothing before `seen` was seen.
    fn told(
        &self,
        packet: Range<usize>,
        seen: usize,
        telling: &Telling,
        total: &mut StreamTotals,
    ) -> Vec<Segment> {
        let mut segments = Vec::new();
        let block = telling.block.filter(|_| !telling.raw);
        let mut tell = |range: Range<usize>, next: usize| {
            let at = range.start;
            let first = self.frames.iter().find(|begin| range.contains(begin));
            let opened = self.opened.iter();
            let opened = opened
                .filter(|opened| (seen + 1..=at).contains(opened))
                .count();
            segments.push(Segment {
                cookie: 0,
                cgroup: 0,
                time: Timestamp::default(),
                index: total.segments,
                offset: (at - seen) as u64,
                bytes: self.bytes[range.clone()].to_vec(),
                elided: (next - range.end) as u64,
                messages_before: u32::try_from(opened).unwrap() * u32::from(!telling.raw),
                first_message: match first {
                    Some(begin) if !telling.raw => Some(u16::try_from(begin - at).unwrap()),
                    _ => None,
                },
                after_gap: false,
                joined: seen > 0 && total.segments == 0,
                http2: !telling.raw,
            });
            total.segments += 1;
        };
        let mut at = packet.start;
        if block.is_some() {
            at = self.pass(at, packet.end);
            if at > packet.start && self.ended.contains(&at) {
                tell(at..at, at);
            }
        }
        while at < packet.end {
            let (shipped, next) = match block {
                Some(length) => {
                    let end = packet.end.min(at + length);
                    (self.needed_until(at..end), self.pass(end, packet.end))
                }
                None => (packet.end, packet.end),
            };
            if shipped > at {
                tell(at..shipped, next);
            }
            at = next;
        }
        segments
    }

    /// Where the last byte ends that is needed. A header that is split is told whole.
    fn needed_until(&self, range: Range<usize>) -> usize {
        let needed = self.needed[range.clone()]
            .iter()
            .rposition(|needed| *needed);
        let needed = needed.map_or(range.start, |last| range.start + last + 1);
        let begun = match self.header_around(range.start) {
            Some(header) => range.end.min(header.end),
            None => range.start,
        };
        let open = match self.header_around(range.end) {
            Some(_) => range.end,
            None => range.start,
        };
        needed.max(begun).max(open)
    }

    /// The header of a frame that is split here.
    fn header_around(&self, at: usize) -> Option<Range<usize>> {
        let begin = self.frames[..self.frames.partition_point(|begin| *begin < at)].last()?;
        (at < begin + 9).then_some(*begin..begin + 9)
    }

    /// Passes over payload that is not needed.
    fn pass(&self, from: usize, to: usize) -> usize {
        if self.header_around(from).is_some() {
            return from;
        }
        let begins = |at: &usize| self.frames.binary_search(at).is_ok();
        let payload = (from..to).take_while(|at| !self.needed[*at] && !begins(at));
        from + payload.count()
    }
}

/// The exchanges that ended, by stream.
pub(super) fn by_stream(events: &[HttpEvent]) -> Vec<Exchange> {
    let mut exchanges = exchanges(events);
    exchanges.sort_by_key(|exchange| exchange.stream);
    exchanges
}
