//! What the kernel side would tell of a conversation: the stages of `agent-ebpf` without packets,
//! around the same [`Framing`] and [`Frames`].

use std::net::SocketAddr;

use agent_common::{
    frames::{Frames, Opening, Walk},
    framing::{Framing, Mode, Scan},
    segment::SegmentHeader,
};
use meshwitness::{
    capture::{Multipath, Observation, Opener, Peer, Phase, Segment, Socket, StreamTotals},
    timestamp::Timestamp,
};

use crate::talk::{Cut, End, Talk};

const START: u64 = 1_800_000_000_000_000_000;
const BETWEEN_WRITES: u64 = 1_000_000;

/// What is shipped of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipping {
    /// All of it.
    Everything,
    /// Only what cannot be proved to be body.
    Framed,
    /// That, without what is refused.
    Refused,
}

/// What the kernel side tells of a talk.
pub struct Told {
    /// From the first facts of both sockets to long after their ends.
    pub observations: Vec<Observation>,
    /// Requests that were counted; none where the stream was not followed to its end.
    pub requests: Option<u32>,
    /// Both streams were followed to their ends.
    pub followed: bool,
    /// Both streams are HTTP/2.
    pub http2: bool,
    /// One of them is, or was taken for it as long as it could be that.
    pub mixed: bool,
}

/// All that is told of a talk between two sockets of a pod.
#[must_use]
pub fn observe(talk: &Talk, cut: Cut, shipping: Shipping) -> Told {
    let mut kernel = Kernel {
        ends: Default::default(),
        shipping,
        time: Timestamp(START),
        told: vec![socket(End::Client), socket(End::Server)],
    };
    for write in &talk.writes {
        let before = kernel.told.len();
        for packet in write.packets(cut) {
            kernel.packet(write.end, packet);
        }
        if write.refused && shipping == Shipping::Refused {
            kernel.told.truncate(before);
        }
        kernel.time = Timestamp(kernel.time.0 + BETWEEN_WRITES);
    }
    kernel.close(End::Client);
    kernel.close(End::Server);
    let long_after = Observation::Progress(Timestamp(u64::MAX >> 1));
    kernel.told.push(long_after);
    let [client, server] = &kernel.ends;
    Told {
        requests: client.is_followed().then(|| client.messages()),
        followed: client.is_followed() && server.is_followed(),
        http2: client.is_http2() && server.is_http2(),
        mixed: client.is_http2() != server.is_http2() || client.mistaken || server.mistaken,
        observations: kernel.told,
    }
}

/// One direction.
#[derive(Default)]
struct Stream {
    protocol: Protocol,
    framing: Framing,
    frames: Frames,
    sent: u64,
    segments: u32,
    /// HEAD requests, as the peer told them.
    heads: u64,
    handed_over: bool,
    mistaken: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

impl Stream {
    fn messages(&self) -> u32 {
        self.framing.messages() + self.frames.streams()
    }

    fn is_http2(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    fn is_followed(&self) -> bool {
        match self.protocol {
            Protocol::Http2 => !self.frames.is_lost(),
            _ => matches!(self.framing.mode(), Mode::Framed | Mode::UntilClose),
        }
    }

    /// Judges what it is by its next bytes, if that is not known.
    fn identify(&mut self, bytes: &[u8]) {
        if self.protocol != Protocol::Unknown && !self.frames.is_unproven() {
            return;
        }
        let mut first = [0; 3];
        fill(&mut first, &bytes[..bytes.len().min(24)]);
        let was_unproven = self.frames.is_unproven();
        let was_in_preface = self.frames.is_in_preface();
        let length = bytes.len().min(24) as u64;
        if self.frames.open(first, length) != Opening::Other {
            self.protocol = Protocol::Http2;
            return;
        }
        self.protocol = Protocol::Http1;
        self.mistaken |= was_unproven;
        if was_in_preface {
            self.framing.give_up();
        } else if was_unproven {
            self.framing.hand_over();
        }
    }

    /// Passes over payload, or body, that is not needed: how much that is, and whether a message
    /// ended with it.
    fn pass(&mut self, most: usize) -> (usize, bool) {
        let most = most as u64;
        let (passed, ended) = match self.protocol {
            Protocol::Http2 => {
                let payload = self.frames.skippable().min(most);
                (payload, self.frames.skip(payload))
            }
            _ => {
                let body = self.framing.skippable().min(most);
                (body, self.framing.skip(body))
            }
        };
        (usize::try_from(passed).expect("within the packet"), ended)
    }
}

struct Kernel {
    ends: [Stream; 2],
    shipping: Shipping,
    time: Timestamp,
    told: Vec<Observation>,
}

/// What a segment says of the messages in it.
#[derive(Clone, Copy)]
struct Messages {
    before: u32,
    first: Option<u16>,
}

impl Kernel {
    fn packet(&mut self, end: End, packet: &[u8]) {
        let everything = self.shipping == Shipping::Everything;
        let stream = &mut self.ends[end.index()];
        let begin = stream.sent;
        stream.sent += packet.len() as u64;
        if stream.protocol != Protocol::Http2
            && stream.handed_over
            && stream.framing.mode() == Mode::Framed
        {
            stream.framing.hand_over();
            stream.protocol = Protocol::Unknown;
        }
        let (mut at, ended) = match stream.protocol {
            Protocol::Unknown => (0, false),
            _ => stream.pass(packet.len()),
        };
        let http2 = stream.protocol == Protocol::Http2;
        if everything && at > 0 {
            self.ship(end, begin, &packet[..at], None);
        } else if ended && (http2 || at == packet.len()) {
            self.ship(end, begin + at as u64, &[], None);
        }
        if at < packet.len() {
            self.ends[end.index()].identify(&packet[at..]);
        }
        let mut little = true;
        while at < packet.len() {
            let (offset, left) = (begin + at as u64, &packet[at..]);
            let stream = &self.ends[end.index()];
            at += if stream.protocol == Protocol::Http2 {
                self.frames(end, offset, left, &mut little)
            } else if stream.framing.mode() != Mode::Opaque {
                self.block(end, offset, left)
            } else {
                if everything {
                    self.ship(end, offset, left, None);
                }
                left.len()
            };
        }
    }

    /// The next block of HTTP/2: how many bytes it accounts for.
    fn frames(&mut self, end: End, offset: u64, left: &[u8], little: &mut bool) -> usize {
        let stream = &mut self.ends[end.index()];
        let before = stream.messages();
        let (length, walk) = if *little || left.len() <= SegmentHeader::CLASS_SMALL {
            walk::<64>(&mut stream.frames, left)
        } else {
            walk::<256>(&mut stream.frames, left)
        };
        let (skipped, _) = stream.pass(left.len() - length);
        *little = skipped > 0;
        let (needed, taken) = (usize::from(walk.needed), length + skipped);
        let messages = Some(Messages {
            before,
            first: (walk.first_frame < walk.needed).then_some(walk.first_frame),
        });
        match self.shipping {
            Shipping::Everything => self.ship(end, offset, &left[..taken], messages),
            _ if needed == 0 => {}
            Shipping::Framed | Shipping::Refused => {
                self.ship(end, offset, &left[..needed], messages);
                self.elide(taken - needed);
            }
        }
        taken
    }

    /// The next block of HTTP/1: how many bytes it accounts for.
    fn block(&mut self, end: End, offset: u64, left: &[u8]) -> usize {
        let stream = &mut self.ends[end.index()];
        let before = stream.messages();
        let (heads, framing) = (stream.heads, &mut stream.framing);
        let (length, scan) = if left.len() <= SegmentHeader::CLASS_SMALL {
            scan::<64>(framing, left, heads)
        } else if left.len() <= SegmentHeader::CLASS_LARGE {
            scan::<256>(framing, left, heads)
        } else {
            scan::<1024>(framing, left, heads)
        };
        let scanned = usize::from(scan.scanned);
        let rest = left.len() - length;
        let passed = match framing.mode() {
            _ if scanned < length => 0,
            Mode::Framed | Mode::UntilClose => stream.pass(rest).0,
            Mode::Opaque | Mode::Lost => rest,
            Mode::Raw => 0,
        };
        self.settle(end, &scan);
        let messages = Some(Messages {
            before,
            first: (scan.first_message != Scan::NO_MESSAGE).then_some(scan.first_message),
        });
        let taken = scanned + passed;
        match self.shipping {
            Shipping::Everything => self.ship(end, offset, &left[..taken], messages),
            Shipping::Framed | Shipping::Refused => {
                self.ship(end, offset, &left[..scanned], messages);
                self.elide(passed);
            }
        }
        taken
    }

    /// So many bytes behind the last segment were left out.
    fn elide(&mut self, bytes: usize) {
        if let Some(Observation::Segment(segment)) = self.told.last_mut() {
            segment.elided = bytes as u64;
        }
    }

    /// Settles with the other direction what one knows about it.
    fn settle(&mut self, end: End, scan: &Scan) {
        let (own, peer) = match (end, &mut self.ends) {
            (End::Client, [client, server]) => (client, server),
            (End::Server, [client, server]) => (server, client),
        };
        if !own.framing.responses() {
            peer.heads = peer.heads.wrapping_add(scan.heads);
            return;
        }
        peer.handed_over |= own.framing.mode() == Mode::Opaque;
        own.heads = own.heads.wrapping_sub(scan.heads);
    }

    fn ship(&mut self, end: End, offset: u64, bytes: &[u8], messages: Option<Messages>) {
        let stream = &mut self.ends[end.index()];
        let messages = messages.unwrap_or(Messages {
            before: stream.messages(),
            first: None,
        });
        self.told.push(Observation::Segment(Segment {
            cookie: cookie(end),
            cgroup: cgroup(end),
            time: self.time,
            index: stream.segments,
            offset,
            bytes: bytes.to_vec(),
            elided: 0,
            messages_before: messages.before,
            first_message: messages.first,
            after_gap: false,
            joined: false,
            http2: stream.protocol == Protocol::Http2,
        }));
        stream.segments += 1;
    }

    fn close(&mut self, end: End) {
        let stream = &self.ends[end.index()];
        let Observation::Socket(settled) = socket(end) else {
            return;
        };
        self.told.push(Observation::Socket(Socket {
            phase: Phase::Closed,
            time: self.time,
            fin_sent: true,
            bytes_sent: stream.sent,
            bytes_received: self.ends[1 - end.index()].sent,
            stream: StreamTotals {
                segments: stream.segments,
                messages: stream.messages(),
                followed: stream.is_followed(),
            },
            ..settled
        }));
    }
}

/// Scans as much as fits into a block of so many words: how much that was, and what was found.
fn scan<const WORDS: usize>(framing: &mut Framing, bytes: &[u8], heads: u64) -> (usize, Scan) {
    let length = bytes.len().min(WORDS * 8);
    let mut block = [0; WORDS];
    fill(&mut block, &bytes[..length]);
    (length, framing.scan(&block, length, heads))
}

/// Walks through as much as fits into a block of so many words: how much that was, and what was
/// found.
fn walk<const WORDS: usize>(frames: &mut Frames, bytes: &[u8]) -> (usize, Walk) {
    let length = bytes.len().min(WORDS * 8);
    let mut block = [0; WORDS];
    fill(&mut block, &bytes[..length]);
    (length, frames.walk(&block, length))
}

/// Bytes as the words in which they lie in memory.
fn fill(words: &mut [u64], bytes: &[u8]) {
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
}

const fn cookie(end: End) -> u64 {
    end.index() as u64 + 1
}

const fn cgroup(end: End) -> u64 {
    end.index() as u64 + 70
}

/// An end of the connection, settled.
fn socket(end: End) -> Observation {
    let client = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let server = SocketAddr::from(([127, 0, 0, 1], 15_001));
    let asked = SocketAddr::from(([10, 0, 0, 9], 80));
    let (other, local, remote, sent) = match end {
        End::Client => (End::Server, client, asked, (client, server)),
        End::Server => (End::Client, server, client, (asked, client)),
    };
    Observation::Socket(Socket {
        cookie: cookie(end),
        phase: Phase::Settled,
        time: Timestamp(START - 1),
        opened: Timestamp(START - 2),
        cgroup: cgroup(end),
        opener: match end {
            End::Client => Opener::Here,
            End::Server => Opener::Peer,
        },
        process: None,
        asked: (end == End::Client).then_some(asked),
        local,
        remote,
        sent: Some(sent),
        peer: Peer::Local {
            cookie: cookie(other),
            cgroup: cgroup(other),
        },
        established: true,
        preexisting: false,
        multipath: Multipath::No,
        fin_sent: false,
        bytes_sent: 0,
        bytes_received: 0,
        retransmits: 0,
        stream: StreamTotals::default(),
    })
}
