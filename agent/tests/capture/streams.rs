//! What is shipped of streams, compared with what was sent.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use meshwitness::capture::{Segment, Socket};

use crate::scene::{Scene, Watched, ends};

/// What one end sent, and where in it messages begin.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: Vec<u64>,
}

impl Sent {
    /// A message: its head and its body as they go over the wire.
    pub(crate) fn message(&mut self, head: &str, body: &[u8]) -> &mut Self {
        self.messages.push(self.bytes.len() as u64);
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(body);
        self
    }
}

/// What the kernel side said about one end.
pub(crate) struct Seen {
    socket: Socket,
    segments: Vec<Segment>,
}

impl Seen {
    fn of(watched: &Watched, socket: Socket) -> Self {
        let segments = watched.segments(socket.cookie);
        Self { socket, segments }
    }

    /// Nothing is missing but bodies, and everything is where it was sent.
    pub(crate) fn check(&self, sent: &Sent) {
        assert_eq!(self.socket.bytes_sent, sent.bytes.len() as u64);
        assert_eq!(self.socket.stream.messages as usize, sent.messages.len());
        assert_eq!(self.socket.stream.segments as usize, self.segments.len());
        assert!(self.socket.stream.followed);
        let mut position = 0;
        let mut begun: Vec<u64> = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            assert_eq!(segment.index as usize, index);
            assert!(segment.offset >= position, "{segment:?} after {position}");
            assert!(!segment.after_gap && !segment.joined);
            let start = usize::try_from(segment.offset).unwrap();
            let bytes = &sent.bytes[start..start + segment.bytes.len()];
            assert_eq!(segment.bytes, bytes);
            position = segment.offset + segment.bytes.len() as u64;
            let before = sent.messages.partition_point(|at| *at < segment.offset);
            assert_eq!(segment.messages_before as usize, before);
            let here = || {
                sent.messages[before..]
                    .iter()
                    .take_while(|at| **at < position)
            };
            assert_eq!(
                segment.first_message.map(u64::from),
                here().next().map(|at| at - segment.offset)
            );
            begun.extend(here().copied());
            position += segment.elided;
        }
        assert_eq!(begun, sent.messages);
        assert!(position <= sent.bytes.len() as u64);
    }

    pub(crate) fn shipped(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.bytes.len())
            .sum()
    }
}

/// Writes the requests, then the responses, over one connection, and drains until it is closed.
fn exchange(requests: &Sent, responses: &Sent) -> (Seen, Seen) {
    exchange_by(requests, responses, |mut stream, sent| {
        stream.write_all(&sent.bytes).unwrap();
    })
}

/// The same by another way of sending.
pub(crate) fn exchange_by(
    requests: &Sent,
    responses: &Sent,
    send: impl Fn(&TcpStream, &Sent) + Sync,
) -> (Seen, Seen) {
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
        threads.spawn(|| {
            let (mut server, mut read) = (server, vec![0; requests.bytes.len()]);
            server.read_exact(&mut read).unwrap();
            assert!(read == requests.bytes);
            send(&server, responses);
        });
        threads.spawn(|| {
            let (mut client, mut read) = (client, Vec::new());
            send(&client, requests);
            client.read_to_end(&mut read).unwrap();
            assert!(read == responses.bytes);
        });
    });
    let (client, server) = ends(watched.closed(2));
    watched.assert_clean();
    (Seen::of(&watched, client), Seen::of(&watched, server))
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn sixteen_requests_at_once() {
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    for number in 0..16 {
        requests.message(&format!("GET /{number} HTTP/1.1\r\nhost: x\r\n\r\n"), b"");
        responses.message("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok");
    }
    let (client, server) = exchange(&requests, &responses);
    client.check(&requests);
    server.check(&responses);
    assert_eq!(client.shipped(), requests.bytes.len());
    assert_eq!(server.shipped(), responses.bytes.len());
}

#[test]
fn responses_to_head_have_no_body() {
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    for number in 0..60 {
        let method = if number % 3 == 0 { "HEAD" } else { "GET" };
        requests.message(&format!("{method} / HTTP/1.1\r\nhost: x\r\n\r\n"), b"");
        let body: &[u8] = if method == "HEAD" { b"" } else { &[b'x'; 3000] };
        responses.message("HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n", body);
    }
    let (client, server) = exchange(&requests, &responses);
    client.check(&requests);
    server.check(&responses);
}

#[test]
fn long_bodies_are_left_out() {
    let body = vec![b'b'; 10 << 20];
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    requests
        .message(
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 10485760\r\n\r\n",
            &body,
        )
        .message("GET /b HTTP/1.1\r\nhost: x\r\n\r\n", b"");
    responses
        .message("HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n", &body)
        .message("HTTP/1.1 204 No Content\r\n\r\n", b"");
    let (client, server) = exchange(&requests, &responses);
    client.check(&requests);
    server.check(&responses);
    assert!(client.shipped() < 8192 && server.shipped() < 8192);
}

#[test]
fn a_body_that_ends_with_its_segment_is_told() {
    let body = vec![b'b'; 3 << 20];
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    requests.message("GET /a HTTP/1.1\r\nhost: x\r\n\r\n", b"");
    responses.message("HTTP/1.1 200 OK\r\ncontent-length: 3145728\r\n\r\n", &body);
    let (_, server) = exchange(&requests, &responses);
    server.check(&responses);
    let last = server.segments.last().unwrap();
    assert_eq!(last.bytes, b"");
    assert_eq!(last.offset, responses.bytes.len() as u64);
}

#[test]
fn chunks_small_and_large() {
    let body = vec![b'c'; 1_500_000];
    for size in [1, 7, 100, 1000, 4096, 100_000] {
        let some = &body[..body.len().min(size * 1500)];
        let (mut requests, mut responses) = (Sent::default(), Sent::default());
        requests.message(
            "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            &chunked(some, size),
        );
        requests.message("GET /b HTTP/1.1\r\n\r\n", b"");
        responses.message(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n",
            &chunked(some, size),
        );
        responses.message("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"");
        let (client, server) = exchange(&requests, &responses);
        client.check(&requests);
        server.check(&responses);
    }
}

#[test]
fn a_head_of_sixty_kibibytes() {
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    let field = format!("cookie: {}\r\n", "c".repeat(6000));
    requests
        .message(&format!("GET /a HTTP/1.1\r\n{}\r\n", field.repeat(10)), b"")
        .message("GET /b HTTP/1.1\r\n\r\n", b"");
    responses
        .message(&format!("HTTP/1.1 204 No\r\n{}\r\n", field.repeat(10)), b"")
        .message("HTTP/1.1 204 No\r\n\r\n", b"");
    let (client, server) = exchange(&requests, &responses);
    client.check(&requests);
    server.check(&responses);
    assert_eq!(client.shipped(), requests.bytes.len());
}
