//! Who receives what a socket sends.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::mpsc,
    thread,
};

use meshwitness::capture::{Opener, Peer, Phase};

use crate::scene::{Scene, Watched, ends, new_network, run, sockets};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// So many exchanges, one after the other, then both ends close.
fn exchanges(client: TcpStream, server: TcpStream, count: usize) {
    let (mut client, mut server) = (client, server);
    for _ in 0..count {
        client.write_all(REQUEST).unwrap();
        server.read_exact(&mut [0; REQUEST.len()]).unwrap();
        server.write_all(RESPONSE).unwrap();
        client.read_exact(&mut [0; RESPONSE.len()]).unwrap();
    }
}

/// The ends of one connection point at each other, and both sides' heads arrived.
fn assert_local(watched: &mut Watched) -> (SocketAddr, SocketAddr) {
    let (client, server) = ends(watched.closed(2));
    let of = |peer: &Peer| match peer {
        Peer::Local { cookie, cgroup } => (*cookie, *cgroup),
        peer => panic!("{peer:?}"),
    };
    assert_eq!(of(&client.peer), (server.cookie, server.cgroup));
    assert_eq!(of(&server.peer), (client.cookie, client.cgroup));
    assert_eq!(watched.segments(client.cookie)[0].bytes, REQUEST);
    assert_eq!(watched.segments(server.cookie)[0].bytes, RESPONSE);
    watched.assert_clean();
    // What one end sends is addressed as the other receives it.
    let (source, destination) = client.sent.unwrap();
    assert_eq!((server.local, server.remote), (destination, source));
    (client.asked.unwrap(), destination)
}

fn over(listen: &str, connect: impl Fn(SocketAddr) -> SocketAddr) -> (SocketAddr, SocketAddr) {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("server");
    let listener = TcpListener::bind(listen).unwrap();
    scene.enter("client");
    let client = TcpStream::connect(connect(listener.local_addr().unwrap())).unwrap();
    let (server, _) = listener.accept().unwrap();
    exchanges(client, server, 2);
    assert_local(&mut watched)
}

#[test]
fn over_ipv6() {
    let (asked, sent) = over("[::1]:0", |address| address);
    assert!(asked.is_ipv6());
    assert_eq!(asked, sent);
}

#[test]
fn over_a_dual_stack_listener() {
    let port = |address: SocketAddr| SocketAddr::from(([127, 0, 0, 1], address.port()));
    let (asked, sent) = over("[::]:0", port);
    assert!(asked.is_ipv4());
    assert_eq!(asked, sent);
}

#[test]
fn over_a_mapped_address() {
    let mapped = |address: SocketAddr| -> SocketAddr {
        format!("[::ffff:127.0.0.1]:{}", address.port())
            .parse()
            .unwrap()
    };
    let (asked, sent) = over("127.0.0.1:0", mapped);
    assert!(asked.is_ipv4(), "{asked}");
    assert_eq!(asked, sent);
}

#[test]
fn behind_a_redirection() {
    let scene = Scene::new();
    run("ip", &["address", "add", "10.77.0.11/24", "dev", "lo"]);
    run("ip", &["route", "add", "10.99.0.0/16", "dev", "lo"]);
    let rule = "-t nat -A OUTPUT -p tcp -d 10.99.0.0/16 -j REDIRECT --to-ports 15001";
    run("iptables", &rule.split(' ').collect::<Vec<_>>());
    let mut watched = scene.capture(1 << 20);
    scene.enter("proxy");
    let listener = TcpListener::bind("0.0.0.0:15001").unwrap();
    scene.enter("app");
    let client = TcpStream::connect("10.99.1.2:80").unwrap();
    let (server, _) = listener.accept().unwrap();
    exchanges(client, server, 2);
    let (asked, sent) = assert_local(&mut watched);
    assert_eq!(asked, "10.99.1.2:80".parse().unwrap());
    assert_eq!(sent, "127.0.0.1:15001".parse().unwrap());
    let (client, server) = ends(sockets(&watched.seen, Phase::Closed).collect());
    assert_eq!(client.remote, asked);
    // What the proxy sends claims to come from where the app wanted to go.
    assert_eq!(server.sent.unwrap().0, asked);
}

#[test]
fn elsewhere_although_a_listener_here_has_the_port() {
    let scene = Scene::new();
    let (ready, is_ready) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let far = thread::spawn(move || {
        new_network();
        ready
            .send(rustix::thread::gettid().as_raw_nonzero().to_string())
            .unwrap();
        may_go.recv().unwrap();
        run("ip", &["address", "add", "10.9.0.2/24", "dev", "far"]);
        run("ip", &["link", "set", "far", "up"]);
        let listener = TcpListener::bind("10.9.0.2:8080").unwrap();
        ready.send(String::new()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut request = [0; REQUEST.len()];
        while server.read_exact(&mut request).is_ok() {
            server.write_all(RESPONSE).unwrap();
        }
    });
    let namespace = is_ready.recv().unwrap();
    let link = "link add near type veth peer name far netns";
    run(
        "ip",
        &link
            .split(' ')
            .chain([namespace.as_str()])
            .collect::<Vec<_>>(),
    );
    run("ip", &["address", "add", "10.9.0.1/24", "dev", "near"]);
    run("ip", &["link", "set", "near", "up"]);
    go.send(()).unwrap();
    is_ready.recv().unwrap();

    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    let _here = TcpListener::bind("0.0.0.0:8080").unwrap();
    let mut client = TcpStream::connect("10.9.0.2:8080").unwrap();
    for _ in 0..20 {
        client.write_all(REQUEST).unwrap();
        client.read_exact(&mut [0; RESPONSE.len()]).unwrap();
    }
    drop(client);
    far.join().unwrap();
    let settled = watched.closed(1).remove(0);
    assert_eq!(settled.peer, Peer::Remote);
    assert_eq!(settled.opener, Opener::Here);
    assert_eq!(settled.bytes_sent, 20 * REQUEST.len() as u64);
    assert_eq!(settled.bytes_received, 20 * RESPONSE.len() as u64);
    // Once that is known, nothing more is shipped of it.
    assert!(watched.segments(settled.cookie).len() < 5);
    let at_once = sockets(&watched.seen, Phase::Settled).next().unwrap();
    assert_eq!(at_once.peer, Peer::Remote);
    watched.assert_clean();
}

#[test]
fn accepted_only_with_its_first_bytes() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let seconds: libc::c_int = 5;
    // SAFETY: the option takes an int.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
    scene.enter("client");
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // The first request is HEAD: its response's length is not that of a body.
    let requests = [&b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"[..], REQUEST];
    let responses = [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"[..],
        RESPONSE,
    ];
    client.write_all(requests[0]).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for (request, response) in requests.into_iter().zip(responses) {
        if request == REQUEST {
            client.write_all(request).unwrap();
        }
        server.read_exact(&mut vec![0; request.len()]).unwrap();
        server.write_all(response).unwrap();
        client.read_exact(&mut vec![0; response.len()]).unwrap();
    }
    drop((client, server));
    let (client, server) = ends(watched.closed(2));
    assert!(matches!(client.peer, Peer::Local { cookie, .. } if cookie == server.cookie));
    assert_eq!((client.stream.messages, server.stream.messages), (2, 2));
    let shipped: Vec<u8> = watched
        .segments(server.cookie)
        .into_iter()
        .flat_map(|segment| segment.bytes)
        .collect();
    assert_eq!(shipped, responses.concat());
    watched.assert_clean();
}
