//! Cases picked by hand here; random ones, and what they are held against, in the modules below.

extern crate std;

mod conversation;
mod follow;
mod random;
mod reference;

use std::{format, vec::Vec};

use self::follow::scan;
use super::{Framing, Mode, Scan};

/// Follows `stream` from its beginning, in one block.
fn follow(stream: &[u8]) -> (Framing, Scan) {
    let mut framing = Framing::default();
    let scan = scan(&mut framing, stream, 0, 0);
    (framing, scan)
}

fn mode(stream: &[u8]) -> Mode {
    follow(stream).0.mode()
}

#[test]
fn a_body_is_skipped() {
    let (mut framing, scan) = follow(b"PUT / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
    assert_eq!((scan.first_message, scan.ended), (0, false));
    assert_eq!((framing.skippable(), framing.messages()), (97, 1));
    assert!(!framing.skip(96));
    assert!(framing.skip(1));
    assert!(framing.at_message_start());
}

#[test]
fn lengths_that_readers_may_take_differently_are_not_believed() {
    for fields in [
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked;x\r\n",
        "transfer-encoding: chunk\r\n",
        "transfer-encoding: \r\n",
        "content-length: 5,5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5\r\n 5\r\n",
        "content-length: 999999999999999\r\n",
        "content-length: 18446744073709551621\r\n",
        "content-length : 5\r\n",
        "content-length\x0b: 5\r\n",
        "content-length\r\n",
        " content-length: 5\r\n",
        "x: y\r\n\tz\r\n",
        "x: y\n",
        "x: \0\r\n",
        "x: y\rz\r\n",
    ] {
        for start in ["POST / HTTP/1.1", "HTTP/1.1 200 OK"] {
            let (framing, _) = follow(format!("{start}\r\n{fields}\r\n12345").as_bytes());
            assert_eq!(framing.mode(), Mode::Raw, "{start} {fields:?}");
            assert_eq!((framing.skippable(), framing.messages()), (0, 1));
        }
    }
    for start in ["POST / HTTP/1.0", "HTTP/1.0 200 OK"] {
        let head = format!("{start}\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(mode(head.as_bytes()), Mode::Raw);
    }
}

#[test]
fn chunks_that_readers_may_take_differently_are_not_believed() {
    for chunk in [
        "g\r\n",
        "\r\n",
        " 5\r\n",
        "5 5\r\n",
        "0x5\r\n",
        "5\n",
        "5;a\nb\r\n",
        "5;a\rb\r\n",
        "5\r\nabcdef\r\n",
        "5\r\nabcde\n",
        "fffffffffffff\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let (framing, _) = follow(format!("{head}{chunk}").as_bytes());
        assert_eq!(
            (framing.mode(), framing.skippable()),
            (Mode::Raw, 0),
            "{chunk:?}"
        );
    }
}

#[test]
fn what_is_no_http_at_first_is_opaque_and_no_message() {
    for stream in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"*3\r\n$3\r\nSET\r\n",
        b"220 mail.example ESMTP\r\n",
        b"get key\r\n",
        b"\r\n\r\n\x00",
        b"\rx",
        b"\n",
        b" GET / HTTP/1.1\r\n",
        b"GET\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let (framing, scan) = follow(stream);
        assert_eq!(
            (framing.mode(), framing.messages()),
            (Mode::Opaque, 0),
            "{stream:?}"
        );
        assert_eq!((scan.first_message, scan.ended), (Scan::NO_MESSAGE, false));
    }
}

#[test]
fn what_a_lenient_server_may_take_is_raw() {
    for stream in [
        &b"GET  / HTTP/1.1\r\n"[..],
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1.1\n",
        b"GET /\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET /a b HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get / HTTP/1.1\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 600 OK\r\n",
        b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01",
        b"GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 \r\n\r\nGET / HTTP/1.1\r\n",
        b"HTTP/1.1 204 \r\n\r\n\r\n",
    ] {
        assert_eq!(mode(stream), Mode::Raw, "{stream:?}");
    }
}

#[test]
fn a_connection_may_be_handed_over() {
    assert_eq!(
        mode(b"HTTP/1.1 101 \r\nUpgrade: x\r\n\r\n\x81"),
        Mode::Opaque
    );
    assert_eq!(mode(b"CONNECT a:1 HTTP/1.1\r\n\r\n"), Mode::Raw);
    let (mut framing, _) = follow(b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n");
    framing.hand_over();
    assert_eq!((framing.mode(), framing.skippable()), (Mode::Opaque, 0));
    framing.give_up();
    assert_eq!((framing.mode(), framing.skippable()), (Mode::Raw, 0));
}

#[test]
fn a_response_may_last_until_the_end() {
    let (mut framing, scan) = follow(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(
        (framing.mode(), framing.skippable()),
        (Mode::UntilClose, u64::MAX)
    );
    assert_eq!((framing.messages(), scan.ended), (1, false));
    assert!(!framing.skip(1 << 40));
    assert_eq!(framing.skippable(), u64::MAX);
}

#[test]
fn head_bits_are_counted_in_both_directions() {
    let mut framing = Framing::default();
    let get = b"GET / HTTP/1.1\r\n\r\n";
    let head = b"HEAD / HTTP/1.1\r\n\r\n";
    for ordinal in 0..200_u32 {
        let (request, bits) = if ordinal % 7 == 3 {
            (&head[..], 1 << (ordinal % 64))
        } else {
            (&get[..], 0)
        };
        assert_eq!(scan(&mut framing, request, 0, 0).heads, bits);
    }

    let mut framing = Framing::default();
    let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let length = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    assert_eq!(scan(&mut framing, interim, 1, 0).heads, 0);
    let answer = scan(&mut framing, length, 1, 0);
    assert_eq!((answer.heads, answer.ended), (1, true));
    let answer = scan(&mut framing, length, 1, 0);
    assert_eq!(
        (answer.heads, answer.ended, framing.skippable()),
        (0, false, 9)
    );
    assert!(framing.responses());
    assert_eq!(framing.messages(), 3);
}

#[test]
fn a_lost_position_is_found_at_a_start_line() {
    let (mut framing, _) = follow(b"GET / HTTP/1.1\r\ncontent-length: 9\r\n\r\n");
    framing.rejoin();
    assert!(framing.joining());
    let none = scan(&mut framing, b"ordinary body, with words", 0, 0);
    assert_eq!(
        (framing.mode(), none.first_message),
        (Mode::Lost, Scan::NO_MESSAGE)
    );
    assert_eq!(framing.messages(), 1);
    framing.rejoin();
    scan(&mut framing, b"looks-like-a-method", 0, 0);
    assert_eq!((framing.mode(), framing.messages()), (Mode::Framed, 2));
    framing.rejoin();
    assert_eq!(framing.messages(), 1);
    // Of the other direction.
    scan(&mut framing, b"HTTP/1.1 200 OK\r\n", 0, 0);
    assert_eq!((framing.mode(), framing.messages()), (Mode::Lost, 1));
    framing.rejoin();
    let found = scan(&mut framing, b"GET / HTTP/1.1\r\n\r\n", 0, 0);
    assert_eq!((found.first_message, found.ended), (0, true));
    assert!(!framing.joining());
    scan(&mut framing, b"nonsense\r\n", 0, 0);
    assert_eq!((framing.mode(), framing.messages()), (Mode::Raw, 3));
}

#[test]
fn a_stream_may_be_joined_from_nothing() {
    let mut framing = Framing::default();
    framing.rejoin();
    scan(&mut framing, b"GET /half a line", 0, 0);
    assert_eq!((framing.mode(), framing.messages()), (Mode::Lost, 0));
    framing.rejoin();
    scan(
        &mut framing,
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
        0,
        0,
    );
    assert_eq!((framing.skippable(), framing.messages()), (3, 1));
    assert!(framing.responses() && !framing.joining());
}

#[test]
fn a_block_with_too_much_to_look_at_is_cut() {
    let mut stream = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    stream.extend(b"1\r\na\r\n".repeat(330));
    let (mut framing, first) = follow(&stream);
    assert!(usize::from(first.scanned) < stream.len());
    let mut at = usize::from(first.scanned);
    while at < stream.len() {
        let scan = scan(&mut framing, &stream[at..], 0, 0);
        assert_ne!(scan.scanned, 0);
        at += usize::from(scan.scanned);
    }
    assert_eq!((framing.mode(), framing.messages()), (Mode::Framed, 1));
    assert!(scan(&mut framing, b"0\r\n\r\n", 0, 0).ended);
}

#[test]
fn an_ordinary_head_is_not_cut() {
    let mut head = b"GET /some/path?with=query HTTP/1.1\r\nHost: orders.shop:8080\r\n".to_vec();
    head.extend(
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
        Accept: application/json, text/plain, */*\r\n\
        Content-Type: application/json\r\n\
        X-Request-Id: 5f4dcc3b-5aa7-65d6-1d83-27deb882cf99\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
            .repeat(5),
    );
    let (_, scan) = follow(&head);
    assert!(head.len() > 1300);
    assert_eq!(usize::from(scan.scanned), head.len());
}

#[test]
fn where_framing_is_over_a_block_is_not_looked_at() {
    for stream in [&b"\0"[..], b"GET / HTTP/1.1\n", b"HTTP/1.1 200 OK\r\n\r\n"] {
        let (mut framing, _) = follow(stream);
        let before = framing;
        let next: Vec<u8> = b"GET / HTTP/1.1\r\n\r\n".repeat(20);
        let scan = scan(&mut framing, &next, 0, 0);
        assert_eq!(usize::from(scan.scanned), next.len());
        assert_eq!((scan.first_message, scan.ended), (Scan::NO_MESSAGE, false));
        assert_eq!(framing, before);
    }
}

#[test]
fn no_bytes_change_nothing() {
    let mut framing = Framing::default();
    let scan = scan(&mut framing, b"", 0, b'G');
    assert_eq!(
        (scan.scanned, scan.first_message, scan.ended),
        (0, Scan::NO_MESSAGE, false)
    );
    assert_eq!(framing, Framing::default());
    let (mut framing, _) = follow(b"GET / HTTP/1.1\r\n\r\n");
    assert!(!follow::scan(&mut framing, b"", 0, 0).ended);
}
