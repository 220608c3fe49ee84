//! TCP out of the ordinary: data on the handshake, packets beyond 64 KiB, forged segments, several
//! paths.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

use meshwitness::{
    capture::{Multipath, Observation, Peer, Phase},
    http::{Bounds, Exchange, Gap, HttpEvent, Tracker},
    timestamp::Timestamp,
};
use rustix::net::{AddressFamily, Protocol, SocketType, bind, connect, ipproto, listen, socket};

use crate::scene::{Scene, Watched, ends, run, sockets};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sets a number as an option.
fn set(socket: &impl AsRawFd, level: i32, option: i32, value: libc::c_int) {
    // SAFETY: the option takes an int.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// An exchange on an open connection whose request was sent already, then both ends close.
fn answer(mut client: TcpStream, mut server: TcpStream) {
    server.read_exact(&mut [0; REQUEST.len()]).unwrap();
    server.write_all(RESPONSE).unwrap();
    client.read_exact(&mut [0; RESPONSE.len()]).unwrap();
}

/// Both ends were followed from the first byte to the last.
fn assert_followed(watched: &mut Watched) {
    let (client, server) = ends(watched.closed(2));
    assert!(matches!(client.peer, Peer::Local { cookie, .. } if cookie == server.cookie));
    assert!(matches!(server.peer, Peer::Local { cookie, .. } if cookie == client.cookie));
    for (end, sent) in [(&client, REQUEST), (&server, RESPONSE)] {
        assert_eq!(
            (end.bytes_sent, end.stream.messages),
            (sent.len() as u64, 1)
        );
        let segments = watched.segments(end.cookie);
        assert_eq!(segments.len(), 1, "{segments:?}");
        assert_eq!((&segments[0].bytes[..], segments[0].offset), (sent, 0));
        assert!(!segments[0].after_gap && !segments[0].joined);
    }
    watched.assert_clean();
}

#[test]
fn a_request_on_the_syn() {
    let scene = Scene::new();
    // As a client and as a server.
    fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").unwrap();
    scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16);
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    // The first connection gets the cookie with which the second may.
    for number in 0..2 {
        let mut watched = scene.capture(1 << 20);
        scene.enter("client");
        let client =
            TcpStream::from(socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
        send_on_syn(&client, REQUEST, address);
        let (server, _) = listener.accept().unwrap();
        answer(client, server);
        if number == 1 {
            let data = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
            assert!(counter(&data, "TCPFastOpenPassive") > 0, "{data}");
        }
        assert_followed(&mut watched);
    }
}

fn send_on_syn(client: &TcpStream, bytes: &[u8], to: SocketAddrV4) {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the bytes and the address are alive, and as long as said.
    let sent = unsafe {
        libc::sendto(
            client.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_FASTOPEN,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    assert_eq!(sent, bytes.len() as isize);
}

/// A number in netstat: names in one line, values in the next.
fn counter(netstat: &str, name: &str) -> u64 {
    let lines: Vec<&str> = netstat.lines().collect();
    let values = lines.chunks(2).flat_map(|pair| {
        let names = pair[0].split(' ');
        names.zip(pair[1].split(' '))
    });
    let value = values.into_iter().find(|(of, _)| *of == name).unwrap().1;
    value.parse().unwrap()
}

#[test]
fn packets_beyond_sixty_four_kibibytes() {
    const BODY: usize = 1 << 20;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let scene = Scene::new();
        let device = "link set lo gso_max_size 400000 gro_max_size 400000";
        run("ip", &device.split(' ').collect::<Vec<_>>());
        allow_long_ipv4(1, 400_000);
        let mut watched = scene.capture(1 << 20);
        scene.enter("both");
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").into_bytes();
        let head = response.len();
        response.resize(head + BODY, b'b');
        for _ in 0..8 {
            client.write_all(REQUEST).unwrap();
            server.read_exact(&mut [0; REQUEST.len()]).unwrap();
            thread::scope(|threads| {
                threads.spawn(|| server.write_all(&response).unwrap());
                client.read_exact(&mut vec![0; response.len()]).unwrap();
            });
        }
        drop((client, server));
        let (client, server) = ends(watched.closed(2));
        assert_eq!((client.stream.messages, server.stream.messages), (8, 8));
        assert_eq!(server.bytes_sent, 8 * response.len() as u64);
        assert!(client.stream.followed && server.stream.followed);
        let segments = watched.segments(server.cookie);
        let longest = segments
            .iter()
            .map(|segment| segment.bytes.len() as u64 + segment.elided)
            .max()
            .unwrap();
        assert!(longest > 1 << 16, "no long packet was sent: {longest}");
        let heads: Vec<&[u8]> = segments
            .iter()
            .filter(|segment| segment.first_message.is_some())
            .map(|segment| &segment.bytes[segment.first_message.unwrap() as usize..][..head])
            .collect();
        assert_eq!(heads, vec![&response[..head]; 8]);
        watched.assert_clean();
    }
}

/// What `ip link set gso_ipv4_max_size` of a newer iproute2 does.
fn allow_long_ipv4(device: i32, bytes: u32) {
    const NEW_LINK: u16 = 16;
    const REQUEST_ACKNOWLEDGED: u16 = 5;
    const GSO_IPV4_MAX_SIZE: u16 = 63;
    const GRO_IPV4_MAX_SIZE: u16 = 64;
    // Without a protocol it is that of routes and links.
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    let mut message = Vec::new();
    message.extend(48_u32.to_ne_bytes());
    message.extend(
        [NEW_LINK, REQUEST_ACKNOWLEDGED]
            .map(u16::to_ne_bytes)
            .concat(),
    );
    // Sequence and sender; family and kind; the device; flags and what of them changes.
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(device.to_ne_bytes());
    message.extend([0; 8]);
    for attribute in [GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE] {
        message.extend([8, attribute].map(u16::to_ne_bytes).concat());
        message.extend(bytes.to_ne_bytes());
    }
    rustix::net::send(&netlink, &message, rustix::net::SendFlags::empty()).unwrap();
    let mut answer = [0; 64];
    rustix::net::recv(&netlink, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(answer[16..20], [0; 4], "the kernel has no such limit");
}

/// Whoever may send raw packets can forge a segment of another's connection. Where its checksum is
/// wrong nobody receives it, and nothing of it may be taken for what the connection carried.
#[test]
fn a_forged_segment_that_nobody_receives() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.enter("client");
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    scene.enter("forger");
    let (next, expected) = (
        sequence(&client, SEND_QUEUE),
        sequence(&client, RECEIVE_QUEUE),
    );
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).unwrap();
    let mut segment = Vec::new();
    for end in [client.local_addr().unwrap(), client.peer_addr().unwrap()] {
        segment.extend(end.port().to_be_bytes());
    }
    segment.extend(next.to_be_bytes());
    segment.extend(expected.to_be_bytes());
    // Five words of header; PSH and ACK; a window; a checksum that is wrong; no urgent data.
    segment.extend([0x50, 0x18, 0x10, 0, 0xba, 0xd0, 0, 0]);
    segment.extend(b"GET /forged HTTP/1.1\r\nhost: y\r\n\r\n");
    let to: SocketAddrV4 = "127.0.0.1:0".parse().unwrap();
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendto(&raw, &segment, flags, &to).unwrap();
    client.write_all(REQUEST).unwrap();
    answer(client, server);
    assert_followed(&mut watched);
}

/// Queues of TCP_REPAIR_QUEUE.
const RECEIVE_QUEUE: libc::c_int = 1;
const SEND_QUEUE: libc::c_int = 2;

/// The sequence number that comes next in a queue of a connection.
fn sequence(stream: &TcpStream, queue: libc::c_int) -> u32 {
    // Off, without a probe that would show the far end something.
    const OFF_WITHOUT_PROBE: libc::c_int = -1;
    set(stream, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1);
    set(stream, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, queue);
    let mut number = 0_u32;
    let mut length = size_of_val(&number) as libc::socklen_t;
    // SAFETY: the option is a number of this length.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUEUE_SEQ,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    assert_eq!(got, 0);
    set(
        stream,
        libc::IPPROTO_TCP,
        libc::TCP_REPAIR,
        OFF_WITHOUT_PROBE,
    );
    number
}

/// Multipath TCP over one path, and its fall back to TCP where the server knows nothing of it: each
/// path is a TCP connection of its own, and this one carries everything.
#[test]
fn one_path_of_multipath_tcp() {
    for (server_protocol, part) in [
        (ipproto::MPTCP, Multipath::First),
        (ipproto::TCP, Multipath::No),
    ] {
        let scene = Scene::new();
        let mut watched = scene.capture(1 << 20);
        let (mut client, server, _) = multipath(&scene, "127.0.0.1:0", server_protocol);
        client.write_all(REQUEST).unwrap();
        answer(client, server);
        assert_followed(&mut watched);
        let closed: Vec<_> = sockets(&watched.seen, Phase::Closed).collect();
        assert!(closed.iter().all(|end| end.multipath == part), "{closed:?}");
        let exchanges = exchanges(&events(&watched));
        assert_eq!(exchanges.len(), 1);
        assert!(exchanges[0].gap.is_none() && exchanges[0].response.is_some());
    }
}

/// Over two paths, each is told as what it is, and nothing that they carry is read: neither as what
/// it is not, nor as if there were no more.
#[test]
fn two_paths_of_multipath_tcp() {
    const BODY: usize = 8 << 20;
    let scene = Scene::new();
    for arguments in [
        "address add 10.0.0.1/32 dev lo",
        "address add 10.0.0.2/32 dev lo",
        "mptcp limits set subflow 1 add_addr_accepted 1",
        "mptcp endpoint add 10.0.0.2 dev lo subflow",
    ] {
        run("ip", &arguments.split(' ').collect::<Vec<_>>());
    }
    let mut watched = scene.capture(1 << 22);
    let (mut client, mut server, _listener) = multipath(&scene, "10.0.0.1:0", ipproto::MPTCP);
    // The second path joins once both ends know that there are no others.
    client.write_all(REQUEST).unwrap();
    server.read_exact(&mut [0; REQUEST.len()]).unwrap();
    server.write_all(RESPONSE).unwrap();
    client.read_exact(&mut [0; RESPONSE.len()]).unwrap();
    watched.until(|seen| {
        let mut told = sockets(seen, Phase::Settled);
        told.find(|end| end.multipath == Multipath::Joined)
    });
    let upload = thread::spawn(move || {
        for _ in 0..3 {
            let head = format!("PUT /a HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&vec![b'x'; BODY]).unwrap();
            client.read_exact(&mut [0; RESPONSE.len()]).unwrap();
        }
    });
    for _ in 0..3 {
        let mut body = vec![0; BODY];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        server.read_exact(&mut body).unwrap();
        server.write_all(RESPONSE).unwrap();
    }
    upload.join().unwrap();
    drop(server);
    // The server's end tries to join too, at a port where nobody listens.
    let closed = watched.until(|seen| {
        let mut closed: Vec<_> = sockets(seen, Phase::Closed).collect();
        closed.retain(|end| end.established);
        (closed.len() == 4).then_some(closed)
    });
    watched.all();
    for part in [Multipath::First, Multipath::Joined] {
        let of_it = closed.iter().filter(|end| end.multipath == part);
        assert_eq!(of_it.clone().count(), 2, "{closed:#?}");
        assert!(of_it.map(|end| end.bytes_sent).sum::<u64>() > 1 << 20);
    }
    let events = events(&watched);
    let lost = events.iter().filter(|event| {
        let cause = Gap::Mptcp;
        matches!(event, HttpEvent::Lost { cause: it, .. } if *it == cause)
    });
    assert_eq!(lost.count(), 2, "{events:#?}");
    // The first was over before there were two paths; it may have been read by then.
    for exchange in exchanges(&events) {
        let head = exchange.request.head.unwrap();
        assert_eq!((head.path.as_deref(), exchange.exchange), (Some("/"), 0));
    }
    // What comes to the first path has holes that the kernel side does not know of.
    assert_eq!(watched.capture.malformed(), 0);
}

/// A connection of Multipath TCP to a server of a protocol, and who listens there: further paths are
/// accepted from it.
fn multipath(
    scene: &Scene,
    address: &str,
    server: Protocol,
) -> (TcpStream, TcpStream, TcpListener) {
    let socket =
        |protocol| socket(AddressFamily::INET, SocketType::STREAM, Some(protocol)).unwrap();
    scene.enter("server");
    let listener = socket(server);
    bind(&listener, &address.parse::<SocketAddrV4>().unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let listener = TcpListener::from(listener);
    scene.enter("client");
    let client = socket(ipproto::MPTCP);
    connect(&client, &listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (TcpStream::from(client), server, listener)
}

/// What follows from all that was seen.
fn events(watched: &Watched) -> Vec<HttpEvent> {
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    let after = Observation::Progress(Timestamp(u64::MAX >> 1));
    for observation in watched.seen.iter().cloned().chain([after]) {
        tracker.observe(observation, &mut events);
    }
    events
}

fn exchanges(events: &[HttpEvent]) -> Vec<Exchange> {
    let ended = |event: &HttpEvent| match event {
        HttpEvent::Ended(exchange) => Some(exchange.clone()),
        _ => None,
    };
    events.iter().filter_map(ended).collect()
}
