//! What is shipped of HTTP/2 streams, compared with the frames that were sent.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use meshwitness::capture::{Phase, Segment, Socket};

use crate::scene::{Scene, Watched, ends, sockets};

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

/// Sends both at once over a connection for each pair. What was shipped of the last client.
fn converse(conversations: &[(Frames, Frames)]) -> Vec<Segment> {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("both");
    let mut shipped = Vec::new();
    for (count, (requests, responses)) in (1..).zip(conversations) {
        let (client, server) = pair();
        thread::scope(|threads| {
            threads.spawn(|| requests.send(&client));
            threads.spawn(|| responses.send(&server));
            threads.spawn(|| receive(&server, requests.bytes.len()));
            threads.spawn(|| receive(&client, responses.bytes.len()));
        });
        drop((client, server));
        let closed = watched.closed(2 * count);
        let (client, server) = ends(closed[2 * count - 2..].to_vec());
        shipped = requests.check(&watched, &client);
        responses.check(&watched, &server);
    }
    watched.assert_clean();
    shipped
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
    let requests = converse(&[(requests, responses)]);
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
    converse(&[(requests, responses)]);
}

#[test]
fn frames_of_all_sizes_in_packets_as_large_as_they_get() {
    let conversations = [0, 1, 100, 503, 1000, 4096, 16_384, 100_000].map(|size| {
        let (mut requests, mut responses) = (Frames::client(), Frames::server());
        requests.frame(HEADERS, END_HEADERS, 1, &[0x82; 30]);
        for _ in 0..(3 << 20) / (size + 9).max(100) {
            requests.frame(DATA, 0, 1, &vec![b'd'; size]);
        }
        requests.frame(GOAWAY, 0, 0, &[0; 40]);
        responses.frame(HEADERS, END_HEADERS, 1, &[0x88; 30]);
        responses.frame(DATA, PADDED, 1, &[20; 300]);
        (requests, responses)
    });
    converse(&conversations);
}

#[test]
fn frames_that_are_split_anywhere() {
    let conversations = [1, 5, 7, 10].map(|step| {
        let (mut requests, mut responses) = (Frames::client(), Frames::server());
        for number in 0..40 {
            requests.frame(HEADERS, END_HEADERS, number * 2 + 1, &[0x82; 6]);
            requests.frame(DATA, PADDED, number * 2 + 1, &[3; 20]);
            requests.frame(WINDOW_UPDATE, 0, 0, &[0; 4]);
            requests.frame(CONTINUATION, 0, 1, &[]);
        }
        responses.frame(0x20, 0xff, 0x7fff_ffff, &[1; 300]);
        responses.frame(HEADERS, END_HEADERS, 1, &[0x88; 4]);
        // Less of a preface may become anything.
        requests.writes = (3..requests.bytes.len()).step_by(step).collect();
        responses.writes = (step..responses.bytes.len()).step_by(step).collect();
        (requests, responses)
    });
    converse(&conversations);
}

#[test]
fn header_blocks_of_a_hundred_kibibytes() {
    let (mut requests, responses) = (Frames::client(), Frames::server());
    requests.frame(HEADERS, 0, 1, &[0x82; 16_384]);
    for _ in 0..6 {
        requests.frame(CONTINUATION, 0, 1, &[0x82; 16_384]);
    }
    requests.frame(CONTINUATION, END_HEADERS, 1, &[0x82; 30]);
    converse(&[(requests, responses)]);
}

fn receive(mut from: &TcpStream, length: usize) {
    from.read_exact(&mut vec![0; length]).unwrap();
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// Sends and receives all of it, and waits until that is acknowledged.
fn pass(from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    thread::scope(|threads| {
        threads.spawn(|| (&*from).write_all(bytes).unwrap());
        receive(to, bytes.len());
    });
    while unacknowledged(from) > 0 {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that were sent and not acknowledged (`SIOCOUTQ`).
fn unacknowledged(socket: &TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: the kernel writes one number.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(result, 0);
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frames = Frames::default();
    frames.frame(kind, flags, stream, payload);
    frames.bytes
}

#[test]
fn a_connection_is_joined_where_frames_tile_or_a_write_begins() {
    let scene = Scene::new();
    scene.enter("both");
    let (client, server) = pair();
    pass(&client, &server, &Frames::client().bytes);
    pass(&server, &client, &Frames::server().bytes);
    let data = frame(DATA, 0, 1, &vec![b'd'; 100_000]);
    pass(&client, &server, &data[..50_000]);
    let mut watched = scene.capture(1 << 20);
    pass(&client, &server, &data[50_000..]);
    let opening = frame(HEADERS, END_HEADERS, 3, &[0x82; 20]);
    let call = [opening, frame(DATA, 1, 3, &[7; 300])].concat();
    pass(&client, &server, &call);
    pass(&client, &server, &frame(PING, 0, 0, &[0; 8]));
    // Without waiting for an acknowledgement: three frames are needed.
    let answer = frame(HEADERS, END_HEADERS, 3, &[0x88; 20]);
    let trailers = frame(HEADERS, END_HEADERS | 1, 3, &[0x88; 9]);
    let answer = [answer, frame(DATA, 0, 3, &[7; 300]), trailers].concat();
    pass(&server, &client, &answer);
    drop((client, server));
    let released = watched.until(|seen| {
        let released: Vec<_> = sockets(seen, Phase::Released).collect();
        (released.len() == 2).then_some(released)
    });
    watched.all();
    let mut joined = Vec::new();
    for end in released {
        assert!(end.stream.followed && end.preexisting);
        assert_eq!(end.stream.messages, 1);
        let segments = watched.segments(end.cookie);
        for segment in &segments {
            assert!(segment.http2 && !segment.after_gap);
            assert_eq!(segment.joined, segment.index == 0);
            assert_eq!(segment.first_message, Some(0));
        }
        joined.push((
            segments[0].offset,
            segments[0].bytes.len(),
            segments[0].elided,
        ));
    }
    joined.sort_unstable();
    let rest = (data.len() - 50_000) as u64;
    assert_eq!(joined, [(0, 29 + 9, 300), (rest, 29 + 9, 300)]);
    watched.assert_clean();
}

/// Puts bytes into the send queue as if they were sent (`TCP_REPAIR`): they go out as a
/// retransmission later.
fn send_unseen(socket: &TcpStream, bytes: &[u8]) {
    let set = |option, value: i32| {
        // SAFETY: the kernel reads one number.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as u32,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    };
    const SEND_QUEUE: i32 = 2;
    const OFF_WITHOUT_PROBE: i32 = -1;
    set(libc::TCP_REPAIR, 1);
    set(libc::TCP_REPAIR_QUEUE, SEND_QUEUE);
    (&*socket).write_all(bytes).unwrap();
    set(libc::TCP_REPAIR, OFF_WITHOUT_PROBE);
}

#[test]
fn a_hole_within_data_costs_nothing_and_any_other_is_told() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (client, server) = pair();
    let mut requests = Frames::client();
    requests.frame(HEADERS, END_HEADERS, 1, &[0x82; 20]);
    pass(&client, &server, &requests.bytes);
    let data = frame(DATA, 0, 1, &[b'd'; 3000]);
    let call = |stream| {
        let call = frame(HEADERS, END_HEADERS, stream, &[0x82; 20]);
        [
            call,
            frame(DATA, 1, stream, &[7; 30]),
            frame(PING, 0, 0, &[0; 8]),
        ]
        .concat()
    };
    thread::scope(|threads| {
        threads.spawn(|| {
            let all = data.len() + 3 * call(3).len();
            (&server).read_exact(&mut vec![0; all]).unwrap();
        });
        (&client).write_all(&data[..1000]).unwrap();
        send_unseen(&client, &data[1000..2000]);
        (&client).write_all(&data[2000..]).unwrap();
        (&client).write_all(&call(3)).unwrap();
        send_unseen(&client, &call(5));
        (&client).write_all(&call(7)).unwrap();
    });
    drop((client, server));
    let (client, _) = ends(watched.closed(2));
    assert!(client.stream.followed);
    let segments = watched.segments(client.cookie);
    let flags: Vec<_> = segments.iter().map(|s| (s.after_gap, s.joined)).collect();
    assert_eq!(
        flags,
        [(false, false), (false, false), (false, false), (true, true)]
    );
    let [.., before, behind] = &segments[..] else {
        panic!("{segments:?}");
    };
    assert_eq!(before.messages_before, 1);
    assert_eq!(behind.index, before.index + 1);
    assert_eq!(behind.offset - before.offset, 2 * call(3).len() as u64);
    watched.assert_clean();
}

#[test]
fn an_upgrade_leads_to_frames() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (client, server) = pair();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    pass(&client, &server, request);
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n";
    let response = frame(HEADERS, END_HEADERS | 1, 1, &[0x88; 20]);
    let settings = Frames::server().bytes;
    pass(
        &server,
        &client,
        &[&switching[..], &settings, &response].concat(),
    );
    pass(&client, &server, &Frames::client().bytes);
    pass(
        &client,
        &server,
        &frame(HEADERS, END_HEADERS | 1, 3, &[0x82; 20]),
    );
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    assert!(client.stream.followed && server.stream.followed);
    assert_eq!((client.stream.messages, server.stream.messages), (2, 2));
    let told = |cookie| {
        let segments = watched.segments(cookie).into_iter();
        let told = segments.map(|s| (s.http2, s.bytes.len(), s.messages_before, s.first_message));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(client.cookie),
        [
            (false, request.len(), 0, Some(0)),
            (true, 24 + 15, 1, Some(24)),
            (true, 29, 1, Some(0))
        ]
    );
    assert_eq!(
        told(server.cookie),
        [
            (false, switching.len(), 0, Some(0)),
            (true, settings.len() + response.len(), 1, Some(0))
        ]
    );
    watched.assert_clean();
}
