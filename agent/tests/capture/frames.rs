//! What is shipped of HTTP/2 streams, compared with the frames that were sent.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    thread,
};

use meshwitness::capture::{Segment, Socket};

use crate::scene::{Scene, Watched, ends};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What one end sends: frames, and what of them may not be missing.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    begin: Vec<u64>,
    needed: Vec<Range<u64>>,
    /// Where streams are opened.
    opened: Vec<u64>,
    /// Where messages end with the payload of DATA.
    ended: Vec<u64>,
    /// Where a write ends.
    writes: Vec<usize>,
}

impl Frames {
    fn client() -> Self {
        let mut frames = Self::default();
        frames.need(PREFACE);
        frames.frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        frames
    }

    fn server() -> Self {
        let mut frames = Self::default();
        frames.frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]);
        frames
    }

    fn need(&mut self, bytes: &[u8]) {
        let from = self.bytes.len() as u64;
        self.needed.push(from..from + bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        let from = self.bytes.len() as u64;
        self.begin.push(from);
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        if kind == HEADERS && stream > self.opened.len() as u32 * 2 {
            self.opened.push(from);
        }
        frame.extend(payload);
        match kind {
            DATA => {
                self.need(&frame[..9 + usize::from(flags & PADDED != 0)]);
                self.bytes
                    .extend(&frame[9 + usize::from(flags & PADDED != 0)..]);
            }
            SETTINGS if flags & ACK != 0 => self.bytes.extend(frame),
            HEADERS | CONTINUATION | SETTINGS | RST_STREAM | GOAWAY => self.need(&frame),
            _ => self.bytes.extend(frame),
        }
        if kind == DATA && flags & END_STREAM != 0 {
            self.ended.push(self.bytes.len() as u64);
        }
        self
    }

    /// What follows is sent by another call.
    fn write(&mut self) {
        self.writes.push(self.bytes.len());
    }

    fn send(&self, mut to: &TcpStream) {
        let mut from = 0;
        for end in self.writes.iter().chain([&self.bytes.len()]) {
            to.write_all(&self.bytes[from..*end]).unwrap();
            from = *end;
        }
    }

    /// What was shipped holds all that is needed, and says where it is.
    fn check(&self, watched: &Watched, end: &Socket) -> Vec<Segment> {
        let segments = watched.segments(end.cookie);
        assert_eq!(end.bytes_sent, self.bytes.len() as u64);
        assert_eq!(end.stream.messages as usize, self.opened.len());
        assert_eq!(end.stream.segments as usize, segments.len());
        assert!(end.stream.followed);
        let mut shipped = vec![false; self.bytes.len()];
        let mut position = 0;
        for (index, segment) in segments.iter().enumerate() {
            assert_eq!(segment.index as usize, index);
            assert!(segment.http2 && !segment.after_gap && !segment.joined);
            assert!(segment.offset >= position, "{segment:?} after {position}");
            assert!(!segment.bytes.is_empty() || self.ended.contains(&segment.offset));
            let start = segment.offset as usize;
            let end = start + segment.bytes.len();
            assert_eq!(segment.bytes, self.bytes[start..end]);
            shipped[start..end].fill(true);
            position = segment.offset + segment.bytes.len() as u64;
            let first = self.begin[self.begin.partition_point(|at| *at < segment.offset)..]
                .iter()
                .find(|at| **at < position);
            assert_eq!(
                segment.first_message.map(u64::from),
                first.map(|at| at - segment.offset)
            );
            let before = self.opened.partition_point(|at| *at + 9 <= segment.offset);
            assert_eq!(segment.messages_before as usize, before);
            position += segment.elided;
        }
        assert!(position <= self.bytes.len() as u64);
        let told = |end: &u64| {
            let tells = |segment: &Segment| {
                let to = segment.offset + segment.bytes.len() as u64 + segment.elided;
                (segment.offset..=to).contains(end)
            };
            segments.iter().any(tells)
        };
        assert!(self.ended.iter().all(told));
        for needed in &self.needed {
            for at in needed.clone() {
                assert!(shipped[at as usize], "{at} of {needed:?} is missing");
            }
        }
        segments
    }
}

/// Sends both at once over one connection. What was shipped of the client, and of the server.
fn converse(requests: &Frames, responses: &Frames) -> (Vec<Segment>, Vec<Segment>) {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.enter("client");
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| requests.send(&client));
        threads.spawn(|| responses.send(&server));
        threads.spawn(|| {
            let mut read = vec![0; requests.bytes.len()];
            (&server).read_exact(&mut read).unwrap();
        });
        threads.spawn(|| {
            let mut read = vec![0; responses.bytes.len()];
            (&client).read_exact(&mut read).unwrap();
        });
    });
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    watched.assert_clean();
    (
        requests.check(&watched, &client),
        responses.check(&watched, &server),
    )
}

#[test]
fn a_call_is_shipped_without_its_data() {
    let (mut requests, mut responses) = (Frames::client(), Frames::server());
    responses.write();
    requests.frame(HEADERS, END_HEADERS, 1, &[0x82; 30]);
    requests.frame(DATA, 1, 1, &[7; 200]);
    responses.frame(SETTINGS, ACK, 0, &[]);
    responses.write();
    responses
        .frame(HEADERS, END_HEADERS, 1, &[0x88; 10])
        .frame(DATA, 0, 1, &[8; 100])
        .frame(HEADERS, END_HEADERS | 1, 1, &[0x88; 5]);
    requests.write();
    requests.frame(SETTINGS, ACK, 0, &[]);
    requests.write();
    requests.frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 100]);
    requests.write();
    requests.frame(PING, 0, 0, &[0; 8]);
    let (requests, _) = converse(&requests, &responses);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].bytes.len(), 24 + 15 + 39 + 9);
    assert_eq!(requests[0].elided, 200);
}

#[test]
fn a_thousand_tiny_frames_in_a_write() {
    let (mut requests, mut responses) = (Frames::client(), Frames::server());
    for number in 0..1000 {
        let stream = number * 2 + 1;
        requests
            .frame(HEADERS, END_HEADERS, stream, &[0x82; 6])
            .frame(DATA, 1, stream, &[7; 10]);
        responses
            .frame(PING, 0, 0, &[0; 8])
            .frame(HEADERS, END_HEADERS, stream, &[0x88])
            .frame(DATA, 0, stream, &[])
            .frame(WINDOW_UPDATE, 0, 0, &[0; 4])
            .frame(RST_STREAM, 0, stream, &[0; 4]);
    }
    converse(&requests, &responses);
}

#[test]
fn frames_of_all_sizes_in_packets_as_large_as_they_get() {
    for size in [0, 1, 100, 503, 1000, 4096, 16_384, 100_000] {
        let (mut requests, mut responses) = (Frames::client(), Frames::server());
        requests.frame(HEADERS, END_HEADERS, 1, &[0x82; 30]);
        for _ in 0..(3 << 20) / (size + 9).max(100) {
            requests.frame(DATA, 0, 1, &vec![b'd'; size]);
        }
        requests.frame(GOAWAY, 0, 0, &[0; 40]);
        responses.frame(HEADERS, END_HEADERS, 1, &[0x88; 30]);
        responses.frame(DATA, PADDED, 1, &[20; 300]);
        converse(&requests, &responses);
    }
}

#[test]
fn frames_that_are_split_anywhere() {
    let (mut requests, mut responses) = (Frames::client(), Frames::server());
    for number in 0..40 {
        requests.frame(HEADERS, END_HEADERS, number * 2 + 1, &[0x82; 6]);
        requests.frame(DATA, PADDED, number * 2 + 1, &[3; 20]);
        requests.frame(WINDOW_UPDATE, 0, 0, &[0; 4]);
        requests.frame(CONTINUATION, 0, 1, &[]);
    }
    responses.frame(0x20, 0xff, 0x7fff_ffff, &[1; 300]);
    responses.frame(HEADERS, END_HEADERS, 1, &[0x88; 4]);
    for step in [1, 5, 7, 10] {
        requests.writes = (PREFACE.len()..requests.bytes.len())
            .step_by(step)
            .collect();
        responses.writes = (0..responses.bytes.len()).step_by(step).skip(1).collect();
        converse(&requests, &responses);
    }
}

#[test]
fn header_blocks_of_a_hundred_kibibytes() {
    let (mut requests, responses) = (Frames::client(), Frames::server());
    requests.frame(HEADERS, 0, 1, &[0x82; 16_384]);
    for _ in 0..6 {
        requests.frame(CONTINUATION, 0, 1, &[0x82; 16_384]);
    }
    requests.frame(CONTINUATION, END_HEADERS, 1, &[0x82; 30]);
    converse(&requests, &responses);
}
