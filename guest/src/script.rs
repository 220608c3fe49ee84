//! What is said on a connection, byte by byte.

use crate::record::Exchange;

/// What the two ends say to each other, one after the other, and the exchanges in it.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) turns: Vec<(Speaker, Vec<u8>)>,
    pub(crate) exchanges: Vec<Exchange>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Client,
    Server,
}

impl Script {
    fn say(&mut self, speaker: Speaker, parts: &[&[u8]]) {
        self.turns.push((speaker, parts.concat()));
    }

    /// How many one of them sends.
    pub(crate) fn bytes(&self, speaker: Speaker) -> u64 {
        let turns = self.turns.iter().filter(|(by, _)| *by == speaker);
        turns.map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// HTTP/1.1 with each kind of body: none, of a known length, chunked, long, and that of HEAD.
pub(crate) fn http1() -> Script {
    const LONG: usize = 200_000;
    let mut script = Script::default();
    let mut exchange = |request: (&str, &str, usize), answer: (u16, &str, &[u8], usize)| {
        let (method, path, request_bytes) = request;
        let (status, fields, body, response_bytes) = answer;
        let length = match request_bytes {
            0 => String::new(),
            bytes => format!("content-length: {bytes}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: far.example\r\n{length}\r\n");
        let client_body = vec![b'q'; request_bytes];
        script.say(Speaker::Client, &[head.as_bytes(), &client_body]);
        let head = format!("HTTP/1.1 {status} Status\r\n{fields}\r\n");
        script.say(Speaker::Server, &[head.as_bytes(), body]);
        script.exchanges.push(Exchange {
            stream: None,
            method: Some(method.into()),
            path: Some(path.into()),
            authority: Some("far.example".into()),
            request_bytes: request_bytes as u64,
            status: Some(status),
            response_bytes: response_bytes as u64,
            whole: true,
            gap: None,
        });
    };
    exchange(
        ("GET", "/short", 0),
        (200, "content-length: 5\r\n", b"hello", 5),
    );
    let chunks = b"a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n";
    let chunked = (201, "transfer-encoding: chunked\r\n", &chunks[..], 13);
    exchange(("POST", "/chunked", 3000), chunked);
    exchange(
        ("HEAD", "/head", 0),
        (200, "content-length: 7000\r\n", b"", 0),
    );
    let long = format!("content-length: {LONG}\r\n");
    exchange(
        ("GET", "/long?a=1", LONG),
        (200, &long, &vec![b'r'; LONG], LONG),
    );
    exchange(("DELETE", "/none", 0), (204, "", b"", 0));
    script
}

/// HTTP/2 by prior knowledge: streams one after the other and two at once, a body of several
/// frames, trailers. Fields come from HPACK's static table and, the second time, from the dynamic.
pub(crate) fn http2() -> Script {
    const LONG: usize = 60_000;
    let mut script = Script::default();
    let exchange = |stream, method: &str, path: &str, status| Exchange {
        stream: Some(stream),
        method: Some(method.into()),
        path: Some(path.into()),
        authority: Some("far.example".into()),
        status: Some(status),
        whole: true,
        ..Exchange::default()
    };
    let settings = frame(SETTINGS, 0, 0, &[]);
    let acknowledged = frame(SETTINGS, ACK, 0, &[]);

    let last = END_HEADERS | END_STREAM;
    let get = [&[GET, SCHEME_HTTP][..], &path("/short"), &new_authority()].concat();
    let get = frame(HEADERS, last, 1, &get);
    script.say(Speaker::Client, &[PREFACE, &settings, &get]);
    let head = frame(HEADERS, END_HEADERS, 1, &[STATUS_200]);
    let body = frame(DATA, END_STREAM, 1, b"hello");
    script.say(Speaker::Server, &[&settings, &acknowledged, &head, &body]);
    script.exchanges.push(Exchange {
        response_bytes: 5,
        ..exchange(1, "GET", "/short", 200)
    });

    let post = [&[POST, SCHEME_HTTP][..], &path("/long"), &[FIRST_DYNAMIC]].concat();
    let post = frame(HEADERS, END_HEADERS, 3, &post);
    let body = frame(DATA, END_STREAM, 3, &[b'q'; 3000]);
    let get = [&[GET, SCHEME_HTTP][..], &path("/at/once"), &[FIRST_DYNAMIC]].concat();
    let get = frame(HEADERS, last, 5, &get);
    script.say(Speaker::Client, &[&acknowledged, &post, &body, &get]);
    let absent = frame(HEADERS, last, 5, &[STATUS_404]);
    let head = frame(HEADERS, END_HEADERS, 3, &[STATUS_200]);
    let body = vec![b'r'; LONG];
    let body: Vec<u8> = body
        .chunks(LARGEST)
        .flat_map(|part| frame(DATA, 0, 3, part))
        .collect();
    let trailers = [&[0, 11][..], b"grpc-status", &[1, b'0']].concat();
    let trailers = frame(HEADERS, last, 3, &trailers);
    script.say(Speaker::Server, &[&absent, &head, &body, &trailers]);
    script.exchanges.push(exchange(5, "GET", "/at/once", 404));
    script.exchanges.push(Exchange {
        request_bytes: 3000,
        response_bytes: LONG as u64,
        ..exchange(3, "POST", "/long", 200)
    });
    script
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types and flags of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest payload that may be sent unasked.
const LARGEST: usize = 16_384;

/// Fields of HPACK's static table (RFC 7541 appendix A).
const GET: u8 = 0x82;
const POST: u8 = 0x83;
const SCHEME_HTTP: u8 = 0x86;
const STATUS_200: u8 = 0x88;
const STATUS_404: u8 = 0x8d;
/// The newest of the dynamic one.
const FIRST_DYNAMIC: u8 = 0x80 | 62;

/// `:path`, which no table takes.
fn path(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap_or(0);
    [&[0x04, length], path.as_bytes()].concat()
}

/// `:authority`, which the dynamic table takes.
fn new_authority() -> Vec<u8> {
    [&[0x41, 11][..], b"far.example"].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// No HTTP at all: the server greets.
pub(crate) fn tcp() -> Script {
    let mut script = Script::default();
    script.say(Speaker::Server, &[b"220 ready\r\n"]);
    for length in [4, 1000, 100_000] {
        script.say(Speaker::Client, &[&vec![0xc1; length]]);
        script.say(Speaker::Server, &[&vec![0x5e; length / 2]]);
    }
    script
}
