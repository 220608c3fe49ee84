//! What is refused is counted, and what follows is understood all the same.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    thread,
};

use meshwitness::capture::{Loss, Refusal, Segment};

use crate::scene::{Scene, ends};

const RING: u32 = 1 << 16;
const HEADERS: u8 = 1;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    to.read_exact(&mut vec![0; bytes.len()]).unwrap();
}

/// Both ends say that they speak HTTP/2.
fn begin_calls(client: &mut TcpStream, server: &mut TcpStream) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat();
    pass(client, server, &preface);
    pass(server, client, &settings);
}

/// A request and a response, each HEADERS and DATA on a stream of its own.
fn call(client: &mut TcpStream, server: &mut TcpStream, number: usize) {
    let stream = (number as u32 * 2 + 1).to_be_bytes();
    let message = |block: usize, data: usize| {
        let mut message = vec![0, 0, block as u8, HEADERS, 4];
        message.extend(stream);
        message.resize(9 + block, 0x88);
        message.extend(
            (data as u32).to_be_bytes()[1..]
                .iter()
                .chain(&[0, 1])
                .chain(&stream),
        );
        message.resize(message.len() + data, b'd');
        message
    };
    pass(client, server, &message(number % 100, number % 3));
    pass(server, client, &message(number % 70, number % 5000));
}

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
fn many_cgroups_share_a_ring() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let mut connections = Vec::new();
    for part in 0..8 {
        scene.enter(&format!("part{part}"));
        let (mut client, mut server) = pair();
        for number in 0..20 {
            exchange(&mut client, &mut server, number);
        }
        connections.push((client, server));
    }
    watched.all();
    drop(connections);
    let closed = watched.closed(16);
    let losses = watched.capture.losses();
    // The last, too, had room.
    assert!(
        closed
            .iter()
            .all(|end| !watched.segments(end.cookie).is_empty())
    );
    let lost: u64 = losses.iter().map(|loss| loss.count).sum();
    assert!(lost > 0);
    let records: u32 = closed.iter().map(|end| end.stream.segments).sum();
    let shipped: usize = closed
        .iter()
        .map(|end| watched.segments(end.cookie).len())
        .sum();
    assert_eq!(lost + shipped as u64, u64::from(records));
    assert!(closed.iter().all(|end| end.stream.messages == 20));
}

/// Four floods at once, each in a cgroup of its own and more than its part of the ring; then a
/// cgroup that is quiet.
#[test]
fn floods_do_not_use_up_what_a_quiet_cgroup_needs() {
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let mut floods: Vec<_> = (0..4)
        .map(|part| {
            let cgroup = scene.enter(&format!("flood{part}"));
            let (mut client, mut server) = pair();
            if part % 2 == 0 {
                begin_calls(&mut client, &mut server);
            }
            (cgroup, client, server)
        })
        .collect();
    let quiet = scene.enter("quiet");
    let (mut client, mut server) = pair();
    let mut flood = |numbers: Range<usize>| {
        for number in numbers {
            for (part, (_, client, server)) in floods.iter_mut().enumerate() {
                if part % 2 == 0 {
                    call(client, server, number);
                } else {
                    exchange(client, server, number);
                }
            }
        }
    };
    flood(0..300);
    for number in 0..3 {
        exchange(&mut client, &mut server, number);
        flood(300 + number * 20..320 + number * 20);
    }
    drop((client, server));
    let cgroups: Vec<_> = floods.iter().map(|(cgroup, ..)| *cgroup).collect();
    drop(floods);
    let closed = watched.closed(10);
    let losses = watched.capture.losses();
    for cgroup in cgroups.iter().chain([&quiet]) {
        let ends = closed.iter().filter(|end| end.cgroup == *cgroup);
        let (mut sent, mut recorded) = (0, 0);
        for end in ends {
            assert!(end.stream.followed);
            assert_eq!(end.stream.messages, if *cgroup == quiet { 3 } else { 360 });
            sent += u64::from(end.stream.segments);
            recorded += watched.segments(end.cookie).len() as u64;
        }
        let lost = losses.iter().filter(|loss| loss.cgroup == Some(*cgroup));
        let lost: Vec<_> = lost.map(|loss| (loss.refusal, loss.count)).collect();
        if *cgroup == quiet {
            assert_eq!((lost, recorded), (vec![], 6));
        } else {
            assert_eq!(lost, [(Refusal::StreamsRation, sent - recorded)]);
        }
    }
}

/// Once per turn the slow reader comes, and finds that not everything had room.
#[test]
fn calls_are_recorded_or_counted_to_the_unit() {
    const CALLS: usize = 3000;
    let scene = Scene::new();
    let mut watched = scene.capture(RING);
    let server_cgroup = scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client_cgroup = scene.enter("client");
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    begin_calls(&mut client, &mut server);
    for number in 0..CALLS {
        call(&mut client, &mut server, number);
        if number % 200 == 0 {
            watched.all();
        }
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    let losses = watched.capture.losses();
    for (end, cgroup) in [(client, client_cgroup), (server, server_cgroup)] {
        assert_eq!(end.stream.messages as usize, CALLS);
        assert!(end.stream.followed);
        let segments = watched.segments(end.cookie);
        let count = u64::from(end.stream.segments) - segments.len() as u64;
        assert!(count > 1000);
        assert!(
            losses.contains(&Loss {
                cgroup: Some(cgroup),
                refusal: Refusal::StreamsRation,
                count,
            }),
            "{losses:?}, {count}"
        );
        // Those that were recorded say how many were not.
        for segment in segments.iter().filter(|segment| segment.offset > 100) {
            assert!(segment.http2 && !segment.after_gap && !segment.joined);
            assert_eq!(
                (segment.first_message, segment.bytes[3]),
                (Some(0), HEADERS)
            );
            let stream = u32::from_be_bytes(segment.bytes[5..9].try_into().unwrap());
            assert_eq!(segment.messages_before, stream / 2);
        }
    }
    assert_eq!(losses.len(), 2, "{losses:?}");
}

/// Places in the ring that are given up are charged as well: whoever causes many of them does not
/// take them from others.
#[test]
fn what_is_looked_at_in_vain_is_charged() {
    let scene = Scene::new();
    let flood = scene.enter("flood");
    let (mut client, mut server) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut watched = scene.capture(RING);
    // From the middle of a body: a message is looked for in each segment.
    for _ in 0..200 {
        client.write_all(&[b'b'; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
    }
    let quiet = scene.enter("quiet");
    let (mut client, mut server) = pair();
    for number in 0..5 {
        exchange(&mut client, &mut server, number);
    }
    drop((client, server));
    for end in watched.closed(2) {
        assert_eq!(end.cgroup, quiet);
        assert_eq!(end.stream.segments, 5);
        assert_eq!(watched.segments(end.cookie).len(), 5);
    }
    for loss in watched.capture.losses() {
        assert_eq!(loss.cgroup, Some(flood));
    }
    // There is room again once the reader has passed them.
    assert!(watched.capture.fill().1 < f64::EPSILON);
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
