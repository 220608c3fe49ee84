//! How directions begin: hellos of TLS are shipped whole and nothing behind them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use meshwitness::capture::{Cookie, FirstBytes, Observation, Peer};

use crate::scene::{Scene, Watched, ends, new_network, run};

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

/// A hello in one record, `length` bytes with all headers; no byte of it is like its neighbours.
fn hello(kind: u8, length: usize) -> Vec<u8> {
    let record = u16::try_from(length - 5).unwrap().to_be_bytes();
    let message = u16::try_from(length - 9).unwrap().to_be_bytes();
    let mut bytes = vec![
        22, 3, 1, record[0], record[1], kind, 0, message[0], message[1],
    ];
    bytes.extend((0..length - bytes.len()).map(|at| (at % 251) as u8));
    bytes
}

fn within() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// A connection to another network namespace.
fn across() -> (TcpStream, TcpStream) {
    let (ready, is_ready) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let far = thread::spawn(move || {
        new_network();
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        ready.send(thread).unwrap();
        may_go.recv().unwrap();
        run("ip", &["address", "add", "10.9.0.2/24", "dev", "far"]);
        run("ip", &["link", "set", "far", "up"]);
        let listener = TcpListener::bind("10.9.0.2:8080").unwrap();
        ready.send(String::new()).unwrap();
        listener.accept().unwrap().0
    });
    let namespace = is_ready.recv().unwrap();
    let link = "link add near type veth peer name far netns";
    let link = link.split(' ').chain([namespace.as_str()]);
    run("ip", &link.collect::<Vec<_>>());
    run("ip", &["address", "add", "10.9.0.1/24", "dev", "near"]);
    run("ip", &["link", "set", "near", "up"]);
    go.send(()).unwrap();
    is_ready.recv().unwrap();
    let client = TcpStream::connect("10.9.0.2:8080").unwrap();
    let server = far.join().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    to.read_exact(&mut vec![0; bytes.len()]).unwrap();
}

/// What looks like a protected record.
fn chatter(client: &mut TcpStream, server: &mut TcpStream) {
    for _ in 0..20 {
        pass(client, server, &[23, 3, 3, 0, 4, 1, 2, 3, 4]);
        pass(server, client, &[23, 3, 3, 0, 4, 5, 6, 7, 8]);
    }
}

/// All that was shipped of what a socket sent.
fn sent(watched: &Watched, cookie: Cookie) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, segment) in watched.segments(cookie).into_iter().enumerate() {
        assert_eq!(
            (segment.index as usize, segment.offset as usize),
            (index, bytes.len())
        );
        assert!(!segment.joined && !segment.after_gap && !segment.http2);
        bytes.extend(segment.bytes);
    }
    bytes
}

fn first_bytes(watched: &Watched, cookie: Cookie) -> Vec<FirstBytes> {
    let first = watched.seen.iter().filter_map(|seen| match seen {
        Observation::FirstBytes(first) if first.cookie == cookie => Some(first.clone()),
        _ => None,
    });
    first.collect()
}

/// All that was shipped of what a socket received, in order.
fn received(watched: &Watched, cookie: Cookie) -> Vec<u8> {
    let mut pieces: Vec<_> = first_bytes(watched, cookie)
        .into_iter()
        .map(|first| {
            assert!(first.received, "{first:?}");
            (first.offset, first.bytes.unwrap())
        })
        .collect();
    pieces.sort();
    let mut bytes = Vec::new();
    for (offset, piece) in pieces {
        assert_eq!(offset as usize, bytes.len());
        bytes.extend(piece);
    }
    bytes
}

#[test]
fn within_a_pod_they_are_read_where_they_are_sent() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = within();
    let (asked, chosen) = (hello(CLIENT, 1700), hello(SERVER, 100));
    pass(&mut client, &mut server, &asked[..12]);
    pass(&mut client, &mut server, &asked[12..1200]);
    pass(&mut client, &mut server, &asked[1200..]);
    // Certificates in the same packet are none of it.
    pass(
        &mut server,
        &mut client,
        &[&chosen[..], &[7; 3000]].concat(),
    );
    chatter(&mut client, &mut server);
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    assert!(sent(&watched, client.cookie) == asked);
    assert!(sent(&watched, server.cookie) == chosen);
    for end in [client, server] {
        assert_eq!((end.stream.messages, end.stream.followed), (0, false));
        assert_eq!(first_bytes(&watched, end.cookie), []);
    }
    watched.assert_clean();
}

#[test]
fn across_pods_both_ends_tell_both_directions() {
    for (length, cuts) in [(1700, [500, 600]), (3900, [2500, 3000]), (120, [40, 41])] {
        let scene = Scene::new();
        let mut watched = scene.capture(1 << 20);
        scene.enter("both");
        let (mut client, mut server) = across();
        let (asked, chosen) = (hello(CLIENT, length), hello(SERVER, 1215));
        let [first, second] = cuts;
        pass(&mut client, &mut server, &asked[..first]);
        pass(&mut client, &mut server, &asked[first..second]);
        pass(&mut client, &mut server, &asked[second..]);
        pass(
            &mut server,
            &mut client,
            &[&chosen[..], &[7; 3000]].concat(),
        );
        chatter(&mut client, &mut server);
        drop((client, server));
        let (client, server) = ends(watched.closed(2));
        assert_eq!((client.peer, server.peer), (Peer::Remote, Peer::Remote));
        for (end, own, others) in [(client, &asked, &chosen), (server, &chosen, &asked)] {
            assert!(sent(&watched, end.cookie) == *own);
            assert!(received(&watched, end.cookie) == *others);
            assert!(
                watched
                    .segments(end.cookie)
                    .iter()
                    .all(|it| it.cgroup == end.cgroup)
            );
            assert!(
                first_bytes(&watched, end.cookie)
                    .iter()
                    .all(|it| it.cgroup == end.cgroup)
            );
        }
        watched.assert_clean();
    }
}

#[test]
fn headers_that_are_split_are_shipped_with_what_follows_up_to_the_bound() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = across();
    let asked = [hello(CLIENT, 300), vec![9; 9000]].concat();
    pass(&mut client, &mut server, &asked[..7]);
    pass(&mut client, &mut server, &asked[7..]);
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    assert!(sent(&watched, client.cookie) == asked[..4096]);
    assert!(received(&watched, server.cookie) == asked[..4096]);
    watched.assert_clean();
}

#[test]
fn a_hello_beyond_the_bound_is_cut() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = across();
    let asked = hello(CLIENT, 9000);
    pass(&mut client, &mut server, &asked);
    chatter(&mut client, &mut server);
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    assert!(sent(&watched, client.cookie) == asked[..4096]);
    let told = |cookie| first_bytes(&watched, cookie).into_iter();
    let of_the_client = told(server.cookie).filter_map(|first| first.bytes);
    let of_the_client: Vec<u8> = of_the_client.flatten().collect();
    assert!(of_the_client == asked[..4096]);
    // The server did not begin with a handshake.
    assert!(told(client.cookie).any(|first| first.received && first.bytes.is_none()));
    watched.assert_clean();
}

#[test]
fn of_plaintext_to_elsewhere_only_that_is_told() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = across();
    for _ in 0..10 {
        pass(
            &mut client,
            &mut server,
            b"GET /secret HTTP/1.1\r\nhost: x\r\n\r\n",
        );
        pass(
            &mut server,
            &mut client,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        );
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    let plain = |cookie| {
        let told = first_bytes(&watched, cookie).into_iter();
        let mut told: Vec<_> = told
            .map(|first| (first.received, first.offset, first.bytes))
            .collect();
        told.sort();
        told
    };
    assert_eq!(sent(&watched, client.cookie), b"");
    assert_eq!(plain(client.cookie), [(false, 0, None), (true, 0, None)]);
    // The first that the server sends may come before it is known that the client is elsewhere.
    let told = plain(server.cookie);
    assert!(told.contains(&(true, 0, None)), "{told:?}");
    assert!(
        told.len() + watched.segments(server.cookie).len() == 2,
        "{told:?}"
    );
    watched.assert_clean();
}

#[test]
fn of_an_older_connection_nothing_is_said() {
    let scene = Scene::new();
    scene.enter("both");
    let (mut client, mut server) = across();
    let mut watched = scene.capture(1 << 20);
    pass(&mut client, &mut server, &hello(CLIENT, 300));
    pass(&mut server, &mut client, &hello(SERVER, 300));
    chatter(&mut client, &mut server);
    watched.all();
    let told =
        |seen: &Observation| matches!(seen, Observation::FirstBytes(_) | Observation::Segment(_));
    assert!(!watched.seen.iter().any(told), "{:#?}", watched.seen);
    watched.assert_clean();
}

#[test]
fn what_cannot_begin_a_message_takes_no_room() {
    let scene = Scene::new();
    scene.enter("both");
    let (mut client, mut server) = within();
    let mut watched = scene.capture(1 << 20);
    chatter(&mut client, &mut server);
    watched.all();
    let before = watched.capture.drained_bytes();
    chatter(&mut client, &mut server);
    watched.all();
    assert_eq!(watched.capture.drained_bytes(), before);
    pass(
        &mut client,
        &mut server,
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    watched.until(|seen| {
        seen.iter()
            .find(|seen| matches!(seen, Observation::Segment(_)))
            .map(drop)
    });
    watched.assert_clean();
}
