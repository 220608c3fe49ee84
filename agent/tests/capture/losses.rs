//! What is refused is counted, and what follows is understood all the same.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use meshwitness::capture::{Loss, Refusal, Segment};

use crate::scene::{Scene, ends};

const RING: u32 = 1 << 16;

fn exchange(client: &mut TcpStream, server: &mut TcpStream, number: usize) {
    let request = format!("GET /{number} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    server.read_exact(&mut vec![0; request.len()]).unwrap();
    let body = "b".repeat(number % 5000);
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    server.write_all(response.as_bytes()).unwrap();
    client.read_exact(&mut vec![0; response.len()]).unwrap();
}

/// How many heads are known by number only, and how many records are missing.
fn missing(segments: &[Segment], records: u32, messages: u32) -> (u32, u32) {
    let shipped: u32 = segments
        .iter()
        .map(|segment| u32::from(segment.first_message.is_some()))
        .sum();
    (messages - shipped, records - segments.len() as u32)
}

#[test]
fn a_ring_that_is_not_drained_loses_by_number() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let server_cgroup = scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client_cgroup = scene.enter("client");
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for number in 0..1000 {
        exchange(&mut client, &mut server, number);
    }
    watched.all();
    // From here on there is room again.
    for number in 1000..1010 {
        exchange(&mut client, &mut server, number);
        watched.all();
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    let losses = watched.capture.losses();
    assert_eq!(losses.len(), 2, "{losses:?}");
    for (end, cgroup, last) in [
        (
            client,
            client_cgroup,
            &b"GET /1009 HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        ),
        (
            server,
            server_cgroup,
            b"HTTP/1.1 200 OK\r\ncontent-length: 1009\r\n\r\nbbb",
        ),
    ] {
        assert_eq!(end.stream.messages, 1010);
        assert!(end.stream.followed);
        let segments = watched.segments(end.cookie);
        let (heads, records) = missing(&segments, end.stream.segments, 1010);
        assert!(heads > 800);
        let count = u64::from(records);
        let refusal = Refusal::StreamsRation;
        let cgroup = Some(cgroup);
        assert!(
            losses.contains(&Loss {
                cgroup,
                refusal,
                count
            }),
            "{losses:?}, {count}"
        );
        let tail = &segments[segments.len() - 10..];
        for (number, segment) in (1000..).zip(tail) {
            assert_eq!(segment.messages_before, number);
            assert_eq!(segment.first_message, Some(0));
            assert!(!segment.after_gap && !segment.joined);
        }
        assert!(tail[9].bytes.starts_with(last));
    }
}

#[test]
fn many_cgroups_fill_a_ring() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let mut connections = Vec::new();
    for part in 0..8 {
        scene.enter(&format!("part{part}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for number in 0..10 {
            exchange(&mut client, &mut server, number);
        }
        connections.push((client, server));
    }
    watched.all();
    drop(connections);
    let closed = watched.closed(16);
    let losses = watched.capture.losses();
    assert!(
        losses
            .iter()
            .any(|loss| loss.refusal == Refusal::StreamsFull),
        "{losses:?}"
    );
    let lost: u64 = losses.iter().map(|loss| loss.count).sum();
    let records: u32 = closed.iter().map(|end| end.stream.segments).sum();
    let shipped: usize = closed
        .iter()
        .map(|end| watched.segments(end.cookie).len())
        .sum();
    assert_eq!(lost + shipped as u64, u64::from(records));
    assert!(closed.iter().all(|end| end.stream.messages == 10));
}

#[test]
fn one_cgroup_does_not_use_up_another_ones_ration() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let flood = scene.enter("flood");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for number in 0..500 {
        exchange(&mut client, &mut server, number);
    }
    drop((client, server));
    scene.enter("quiet");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for number in 0..5 {
        exchange(&mut client, &mut server, number);
    }
    drop((client, server));
    for end in watched.closed(4) {
        let complete = watched.segments(end.cookie).len() == end.stream.segments as usize;
        assert_eq!(complete, end.cgroup != flood);
    }
    for loss in watched.capture.losses() {
        assert_eq!(loss.cgroup, Some(flood));
    }
}

#[test]
fn a_long_stream_is_followed_while_it_is_refused() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    scene.enter("both");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    // Chunks of a size that ships most of them, until the ration is used up.
    let chunk = format!("3e8\r\n{}\r\n", "c".repeat(1000));
    let body = chunk.repeat(300);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let response = format!("{head}{body}0\r\n\r\n");
    for _ in 0..3 {
        thread::scope(|threads| {
            threads.spawn(|| server.write_all(response.as_bytes()).unwrap());
            client.read_exact(&mut vec![0; response.len()]).unwrap();
        });
    }
    watched.all();
    exchange(&mut client, &mut server, 9);
    drop((client, server));
    let (_, server) = ends(watched.closed(2));
    assert_eq!(server.stream.messages, 4);
    assert!(server.stream.followed);
    let segments = watched.segments(server.cookie);
    assert!(server.stream.segments as usize > segments.len());
    let last = segments.last().unwrap();
    assert_eq!((last.messages_before, last.first_message), (3, Some(0)));
    assert_eq!(last.offset, 3 * response.len() as u64);
}

#[test]
fn what_is_too_intricate_is_given_up_and_found_again() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 24);
    scene.enter("both");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    exchange(&mut client, &mut server, 9);
    // Chunks of one byte, in packets as large as they get.
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let response = format!("{head}{}0\r\n\r\n", "1\r\nc\r\n".repeat(60_000));
    thread::scope(|threads| {
        threads.spawn(|| server.write_all(response.as_bytes()).unwrap());
        client.read_exact(&mut vec![0; response.len()]).unwrap();
    });
    exchange(&mut client, &mut server, 9);
    exchange(&mut client, &mut server, 9);
    drop((client, server));
    let (_, server) = ends(watched.closed(2));
    let losses = watched.capture.losses();
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].refusal, Refusal::Intricate);
    let segments = watched.segments(server.cookie);
    let missing = server.stream.segments as usize - segments.len();
    assert_eq!(losses[0].count, missing as u64);
    assert_eq!((server.stream.messages, server.stream.followed), (4, true));
    let [.., found, last] = &segments[..] else {
        panic!("{segments:?}");
    };
    assert!(found.after_gap && found.joined && !last.after_gap && !last.joined);
    assert_eq!((found.messages_before, found.first_message), (2, Some(0)));
    assert_eq!((last.messages_before, last.first_message), (3, Some(0)));
}
