//! Connections that never were, were before, or are none of our business.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use meshwitness::capture::{ListenerClosed, Observation, Opener, Options, Peer, Phase};

use crate::scene::{Scene, Watched, ends, sockets};

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

#[test]
fn a_connection_that_is_refused() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    let cgroup = scene.enter("client");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    TcpStream::connect(nobody).unwrap_err();
    let client = watched.closed(1).remove(0);
    assert_eq!((client.established, client.opener), (false, Opener::Here));
    assert_eq!((client.asked, client.remote), (Some(nobody), nobody));
    assert_eq!((client.bytes_sent, client.bytes_received), (0, 0));
    assert_eq!((client.cgroup, client.peer), (cgroup, Peer::Unknown));
    assert_eq!(client.process.unwrap().pid, std::process::id());
    watched.assert_clean();
}

#[test]
fn a_connection_without_a_route() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("client");
    TcpStream::connect("192.0.2.1:80").unwrap_err();
    let client = watched.until(|seen| sockets(seen, Phase::Released).next());
    assert_eq!((client.established, client.cgroup), (false, 0));
    assert_eq!(client.asked, Some("192.0.2.1:80".parse().unwrap()));
    watched.assert_clean();
}

#[test]
fn a_connection_that_is_older() {
    let scene = Scene::new();
    scene.enter("both");
    let (mut client, mut server) = pair();
    pass(
        &mut client,
        &mut server,
        b"POST /a HTTP/1.1\r\ncontent-length: 2000\r\n\r\n",
    );
    pass(&mut client, &mut server, &[b'a'; 1000]);
    let mut watched = scene.capture(1 << 20);
    pass(&mut client, &mut server, &[b'a'; 1000]);
    pass(
        &mut server,
        &mut client,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let request = b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n";
    pass(&mut client, &mut server, request);
    pass(&mut server, &mut client, b"HTTP/1.1 204 No Content\r\n\r\n");
    let (source, address) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop((client, server));

    watched.all();
    let released: Vec<_> = sockets(&watched.seen, Phase::Released).collect();
    assert_eq!(sockets(&watched.seen, Phase::Closed).count(), 0);
    assert_eq!(released.len(), 2);
    let client = released.iter().find(|end| end.local == source).unwrap();
    let server = released.iter().find(|end| end.local == address).unwrap();
    assert!(client.preexisting && client.established);
    assert_eq!(
        (client.opener, &client.process, client.asked),
        (Opener::Unknown, &None, None)
    );
    assert!(matches!(client.peer, Peer::Local { cookie, .. } if cookie == server.cookie));
    assert!(matches!(server.peer, Peer::Local { cookie, .. } if cookie == client.cookie));
    assert_eq!(client.bytes_sent, 1000 + request.len() as u64);
    assert_eq!((client.stream.messages, server.stream.messages), (1, 2));
    assert!(client.stream.followed && server.stream.followed);

    let requests = watched.segments(client.cookie);
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].bytes.as_slice(), requests[0].offset),
        (&request[..], 1000)
    );
    assert!(requests[0].joined && !requests[0].after_gap);
    let responses = watched.segments(server.cookie);
    let joined: Vec<bool> = responses.iter().map(|segment| segment.joined).collect();
    assert_eq!(joined, [true, false]);
    watched.assert_clean();
}

#[test]
fn what_is_not_http_is_shipped_once() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = pair();
    for _ in 0..5 {
        pass(&mut client, &mut server, b"\x16\x03\x01 something else");
        pass(&mut server, &mut client, b"220 GET / HTTP/1.1\r\n");
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    for end in [client, server] {
        assert_eq!(watched.segments(end.cookie).len(), 1);
        assert_eq!((end.stream.messages, end.stream.followed), (0, false));
    }
    watched.assert_clean();
}

#[test]
fn what_follows_101_is_not_shipped() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("both");
    let (mut client, mut server) = pair();
    let request = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    pass(&mut client, &mut server, request);
    let response = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
    pass(&mut server, &mut client, response);
    for _ in 0..5 {
        pass(&mut client, &mut server, b"\x81\x85 GET / HTTP/1.1\r\n\r\n");
        pass(&mut server, &mut client, b"\x81\x05 GET / HTTP/1.1\r\n\r\n");
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    let shipped = |cookie| {
        let segments = watched.segments(cookie).into_iter();
        segments.map(|segment| segment.bytes).collect::<Vec<_>>()
    };
    assert_eq!(shipped(client.cookie), [request]);
    assert_eq!(shipped(server.cookie), [response]);
    watched.assert_clean();
}

#[test]
fn an_excluded_cgroup_is_left_out() {
    let scene = Scene::new();
    let excluded = scene.enter("agent");
    let mut watched = Watched::load(&Options {
        ring_bytes: 1 << 20,
        cgroups: &[scene.root().to_owned()],
        excluded: &[excluded],
    })
    .unwrap();
    let mut listeners = Vec::new();
    for part in ["agent", "other"] {
        scene.enter(part);
        let (mut client, mut server) = pair();
        pass(&mut client, &mut server, b"GET / HTTP/1.1\r\n\r\n");
        listeners.push(server.local_addr().unwrap());
    }
    let closed = watched.closed(2);
    assert!(closed.iter().all(|end| end.cgroup != excluded));
    for seen in watched.all() {
        match seen {
            Observation::Listener(listener) => assert_eq!(listener.local, listeners[1]),
            Observation::ListenerClosed(listener) => assert_ne!(listener.cgroup, excluded),
            Observation::Socket(socket) => assert_ne!(socket.cgroup, excluded),
            Observation::Segment(segment) => assert_ne!(segment.cgroup, excluded),
            seen => panic!("{seen:?}"),
        }
    }
    watched.assert_clean();
}

#[test]
fn the_end_of_listeners() {
    let scene = Scene::new();
    let cgroup = scene.enter("server");
    let older = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut watched = scene.capture(1 << 20);
    let newer = TcpListener::bind("127.0.0.1:0").unwrap();
    let again = newer.try_clone().unwrap();
    let cookie = watched.until(|seen| {
        seen.iter().find_map(|seen| match seen {
            Observation::Listener(listener) => Some(listener.cookie),
            _ => None,
        })
    });
    drop(newer);
    // A connection that is closed is not the end of its listener.
    drop(TcpStream::connect(again.local_addr().unwrap()).unwrap());
    drop(again.accept().unwrap());
    let closed = |seen: &[Observation]| -> Vec<ListenerClosed> {
        let closed = seen.iter().filter_map(|seen| match seen {
            Observation::ListenerClosed(closed) => Some(closed.clone()),
            _ => None,
        });
        closed.collect()
    };
    watched.closed(2);
    assert_eq!(closed(watched.all()), [], "it has another holder");
    drop(again);
    drop(older);
    let closed = watched.until(|seen| Some(closed(seen)).filter(|closed| closed.len() >= 2));
    let cookies: Vec<_> = closed.iter().map(|closed| closed.cookie).collect();
    assert_eq!(cookies, [Some(cookie), None]);
    for listener in closed {
        let closed = (listener.cgroup, listener.process.pid);
        assert_eq!(closed, (cgroup, std::process::id()));
    }
    watched.assert_clean();
}

#[test]
fn a_cgroup_that_vanishes_leaves_the_others() {
    let scene = Scene::new();
    scene.enter("goes");
    scene.enter("stays");
    let mut watched = Watched::load(&Options {
        ring_bytes: 1 << 20,
        cgroups: &["goes", "stays"].map(|part| scene.root().join(part)),
        excluded: &[],
    })
    .unwrap();
    std::fs::remove_dir(scene.root().join("goes")).unwrap();
    drop(pair());
    watched.closed(2);
    watched.assert_clean();
}
