//! UDP flows and raw sockets.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use meshwitness::capture::{CgroupId, Cookie, Flow, Observation, RawSocket, Receiver, Refusal};
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, socket};

use crate::{
    far::Far,
    scene::{Scene, Watched, run},
};

const HERE: [&str; 2] = ["10.9.0.1:0", "[fd00:9::1]:0"];
const LOCALHOST: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn flows(watched: &mut Watched) -> Vec<Flow> {
    let of = |seen: &Observation| match seen {
        Observation::Flow(flow) => Some(flow.clone()),
        _ => None,
    };
    watched.all().iter().filter_map(of).collect()
}

fn closed(watched: &mut Watched) -> Vec<Cookie> {
    let of = |seen: &Observation| match seen {
        Observation::FlowsClosed { cookie, .. } => Some(*cookie),
        _ => None,
    };
    watched.all().iter().filter_map(of).collect()
}

/// Bytes sent and received.
fn bytes(watched: &Watched, flow: &Flow) -> (u64, u64) {
    let count = watched.capture.flow_count(flow.place);
    (count.bytes_sent, count.bytes_received)
}

fn bind(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    let patience = Some(Duration::from_secs(10));
    socket.set_read_timeout(patience).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    bytes.truncate(length);
    (bytes, from)
}

fn pid(flow: &Flow) -> Option<u32> {
    flow.process.as_ref().map(|process| process.pid)
}

#[test]
fn one_flow_for_each_remote_address_counted_both_ways() {
    for (here, connects) in HERE.iter().flat_map(|here| [(here, true), (here, false)]) {
        let scene = Scene::new();
        let far = Far::new();
        let mut watched = scene.capture(1 << 20);
        let app = scene.enter("app");
        let socket = bind(here);
        let local = socket.local_addr().unwrap();
        let to = Far::address(local.ip());
        if connects {
            socket.connect(to).unwrap();
        }
        for length in [0, 1, 31, 32, 33, 1400, 9000] {
            let sent = vec![b'x'; length];
            match connects {
                true => socket.send(&sent).unwrap(),
                false => socket.send_to(&sent, to).unwrap(),
            };
            far.answer();
            assert_eq!(receive(&socket), (sent, to));
        }
        let [flow] = &flows(&mut watched)[..] else {
            panic!("{:#?}", watched.seen);
        };
        assert_eq!((flow.cgroup, pid(flow)), (app, Some(std::process::id())));
        assert!(flow.sent && !flow.inside && flow.receiver.is_none());
        assert_eq!((flow.source, flow.destination), (local, to));
        assert_eq!(flow.connected, connects.then_some(to));
        assert_eq!((flow.length, flow.payload.len()), (0, 0));
        let sum = 1 + 31 + 32 + 33 + 1400 + 9000;
        assert_eq!(bytes(&watched, flow), (sum, sum));
        assert_eq!(closed(&mut watched), [0; 0]);
        let cookie = flow.cookie;
        drop(socket);
        assert_eq!(closed(&mut watched), [cookie]);
        watched.assert_clean();
    }
}

#[test]
fn one_socket_with_two_remote_addresses_has_two_flows() {
    let scene = Scene::new();
    let far = Far::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    let socket = bind("[::]:0");
    let to = HERE.map(|here| Far::address(here.parse::<SocketAddr>().unwrap().ip()));
    for (to, length) in to.into_iter().zip([3, 5]) {
        let mapped = match to {
            SocketAddr::V4(to) => SocketAddr::new(to.ip().to_ipv6_mapped().into(), to.port()),
            SocketAddr::V6(_) => to,
        };
        socket.send_to(&vec![b'x'; length], mapped).unwrap();
        far.answer();
        receive(&socket);
    }
    let flows = flows(&mut watched);
    let destinations: Vec<_> = flows.iter().map(|flow| flow.destination).collect();
    assert_eq!(destinations, to);
    assert_eq!(flows[0].cookie, flows[1].cookie);
    assert_eq!(bytes(&watched, &flows[0]), (3, 3));
    assert_eq!(bytes(&watched, &flows[1]), (5, 5));
    drop(socket);
    assert_eq!(closed(&mut watched), [flows[0].cookie]);
    watched.assert_clean();
}

#[test]
fn what_comes_in_first_is_a_flow_as_well() {
    for here in HERE {
        let scene = Scene::new();
        let far = Far::new();
        let mut watched = scene.capture(1 << 20);
        let server = scene.enter("server");
        let socket = bind(here);
        let local = socket.local_addr().unwrap();
        far.socket.send_to(b"a question", local).unwrap();
        let (_, from) = receive(&socket);
        socket.send_to(b"the answer", from).unwrap();
        far.socket.send_to(b"thanks", local).unwrap();
        receive(&socket);
        let [flow] = &flows(&mut watched)[..] else {
            panic!("{:#?}", watched.seen);
        };
        assert!(!flow.sent && !flow.inside && flow.receiver.is_none());
        assert_eq!((flow.cgroup, pid(flow)), (server, Some(std::process::id())));
        assert_eq!((flow.source, flow.destination), (from, local));
        assert_eq!(flow.payload, b"a question");
        assert_eq!(bytes(&watched, flow), (10, 16));
        watched.assert_clean();
    }
}

#[test]
fn inside_both_ends_tell_what_they_send() {
    for here in LOCALHOST {
        let scene = Scene::new();
        let mut watched = scene.capture(1 << 20);
        let server_cgroup = scene.enter("server");
        let server = bind(here);
        let app = scene.enter("app");
        let client = bind(here);
        let to = server.local_addr().unwrap();
        client.send_to(b"a question", to).unwrap();
        let (_, from) = receive(&server);
        server.send_to(b"an answer", from).unwrap();
        receive(&client);
        let [question, answer] = &flows(&mut watched)[..] else {
            panic!("{:#?}", watched.seen);
        };
        assert!(question.sent && question.inside && answer.sent && answer.inside);
        assert_eq!((question.cgroup, answer.cgroup), (app, server_cgroup));
        let receiver = |flow: &Flow, cgroup: CgroupId| Receiver {
            cookie: Some(flow.cookie),
            cgroup,
            process: flow.process.clone(),
        };
        assert_eq!(question.receiver, Some(receiver(answer, server_cgroup)));
        assert_eq!(answer.receiver, Some(receiver(question, app)));
        assert_eq!(bytes(&watched, question), (10, 0));
        assert_eq!(bytes(&watched, answer), (9, 0));
        watched.assert_clean();
    }
}

#[test]
fn elsewhere_although_a_socket_here_has_the_port() {
    let scene = Scene::new();
    let _far = Far::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    let _here = bind("0.0.0.0:9000");
    let socket = bind("0.0.0.0:0");
    socket.send_to(b"x", "10.9.0.2:9000").unwrap();
    let flow = flows(&mut watched).remove(0);
    assert!(!flow.inside && flow.receiver.is_none());
    assert_eq!(flow.source.ip().to_string(), "10.9.0.1");
    watched.assert_clean();
}

#[test]
fn behind_a_redirection_of_dns() {
    let scene = Scene::new();
    run("ip", &["address", "add", "10.77.0.11/24", "dev", "lo"]);
    run("ip", &["route", "add", "10.96.0.0/16", "dev", "lo"]);
    let rule = "-t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053";
    run("iptables", &rule.split(' ').collect::<Vec<_>>());
    let mut watched = scene.capture(1 << 20);
    let agent = scene.enter("agent");
    let resolver = bind("127.0.0.1:15053");
    scene.enter("app");
    let socket = bind("0.0.0.0:0");
    socket.connect("10.96.0.10:53").unwrap();
    socket.send(b"a question").unwrap();
    let (_, from) = receive(&resolver);
    resolver.send_to(b"an answer", from).unwrap();
    assert_eq!(receive(&socket).0, b"an answer");
    let [question, answer] = &flows(&mut watched)[..] else {
        panic!("{:#?}", watched.seen);
    };
    assert!(question.inside && answer.inside);
    assert_eq!(question.destination, "127.0.0.1:15053".parse().unwrap());
    assert_eq!(question.connected, Some("10.96.0.10:53".parse().unwrap()));
    let receiver = question.receiver.as_ref().unwrap();
    assert_eq!(
        (receiver.cookie, receiver.cgroup),
        (Some(answer.cookie), agent)
    );
    let asked = answer.receiver.as_ref().unwrap();
    assert_eq!(asked.cookie, Some(question.cookie));
    watched.assert_clean();
}

#[test]
fn a_flow_that_was_ended_begins_anew_and_its_place_is_used_again() {
    let scene = Scene::new();
    let _far = Far::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    let socket = bind("10.9.0.1:0");
    let send = || socket.send_to(b"x", "10.9.0.2:9000").unwrap();
    send();
    let first = flows(&mut watched).remove(0);
    watched.capture.end_flow(first.place);
    send();
    let second = flows(&mut watched).remove(1);
    assert_ne!(first.place, second.place);
    assert_eq!(
        (bytes(&watched, &first), bytes(&watched, &second)),
        ((1, 0), (1, 0))
    );
    watched.capture.free_flow(first.place);
    watched.capture.end_flow(second.place);
    send();
    let third = flows(&mut watched).remove(2);
    assert_eq!(first.place, third.place);
    assert_eq!(bytes(&watched, &third), (1, 0));
    watched.assert_clean();
}

#[test]
fn a_socket_older_than_the_programs_is_followed_from_its_next_datagram_on() {
    let scene = Scene::new();
    let far = Far::new();
    let app = scene.enter("app");
    let socket = bind("10.9.0.1:0");
    let mut watched = scene.capture(1 << 20);
    socket.send_to(b"x", "10.9.0.2:9000").unwrap();
    far.answer();
    receive(&socket);
    let flow = flows(&mut watched).remove(0);
    assert_eq!((flow.cgroup, pid(&flow)), (app, None));
    assert_eq!(bytes(&watched, &flow), (1, 1));
    let cookie = flow.cookie;
    drop(socket);
    assert_eq!(closed(&mut watched), [cookie]);
    watched.assert_clean();
}

#[test]
fn the_beginning_of_the_first_payload_comes_along() {
    let scene = Scene::new();
    let _far = Far::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    for length in [1_u8, 31, 32, 33, 200] {
        let socket = bind("10.9.0.1:0");
        let payload: Vec<_> = (1..=length).collect();
        socket.send_to(&payload, "10.9.0.2:9000").unwrap();
        let flow = flows(&mut watched).pop().unwrap();
        assert_eq!(flow.length, u32::from(length));
        assert_eq!(flow.payload, payload[..payload.len().min(32)]);
    }
    watched.assert_clean();
}

#[test]
fn a_flood_costs_its_own_cgroup_alone() {
    let scene = Scene::new();
    let _far = Far::new();
    let mut watched = scene.capture(1 << 20);
    let flooding = scene.enter("flooding");
    let flood = bind("10.9.0.1:0");
    const FLOWS: u32 = 20_000;
    let mut seen = 0;
    for number in 0..FLOWS {
        let port = 1 + (number % 60_000) as u16;
        flood.send_to(b"x", ("10.9.0.2", port)).unwrap();
        if number % 500 == 0 {
            watched.drain();
        }
    }
    // One more of each that was refused says nothing new.
    for port in FLOWS - 100..FLOWS {
        flood.send_to(b"x", ("10.9.0.2", 1 + port as u16)).unwrap();
    }
    let quiet = scene.enter("quiet");
    let sockets: Vec<_> = (0..100)
        .map(|_| {
            let socket = bind("10.9.0.1:0");
            socket.send_to(b"x", "10.9.0.2:9000").unwrap();
            socket
        })
        .collect();
    let mut of_quiet = 0;
    for flow in flows(&mut watched) {
        match flow.cgroup {
            cgroup if cgroup == flooding => seen += 1,
            cgroup if cgroup == quiet => of_quiet += 1,
            cgroup => panic!("{cgroup}"),
        }
    }
    assert_eq!(of_quiet, sockets.len());
    let losses = watched.capture.losses();
    let [loss] = &losses[..] else {
        panic!("{losses:?}")
    };
    assert_eq!((loss.cgroup, loss.refusal), (Some(flooding), Refusal::Flow));
    assert_eq!(seen + loss.count, u64::from(FLOWS));
    // A quarter of what there may be.
    assert_eq!(seen, 8192);
}

#[test]
fn raw_sockets_are_told_and_those_for_ping_are_not() {
    let scene = Scene::new();
    run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"]);
    let mut watched = scene.capture(1 << 20);
    let app = scene.enter("app");
    let make = |family, kind, protocol: Protocol| socket(family, kind, Some(protocol)).unwrap();
    let (four, six) = (AddressFamily::INET, AddressFamily::INET6);
    drop(make(four, SocketType::DGRAM, ipproto::ICMP));
    drop(make(six, SocketType::DGRAM, ipproto::ICMPV6));
    drop(make(four, SocketType::RAW, ipproto::ICMP));
    drop(make(six, SocketType::RAW, ipproto::ICMPV6));
    drop(make(four, SocketType::RAW, ipproto::UDP));
    drop(bind("127.0.0.1:0"));
    let of = |seen: &Observation| match seen {
        Observation::RawSocket(socket) => Some(socket.clone()),
        seen => panic!("{seen:?}"),
    };
    let told: Vec<RawSocket> = watched.all().iter().filter_map(of).collect();
    let of = |socket: &RawSocket| (socket.cgroup, socket.ipv6, socket.protocol);
    assert_eq!(
        told.iter().map(of).collect::<Vec<_>>(),
        [(app, false, 1), (app, true, 58), (app, false, 17)]
    );
    assert!(
        told.iter()
            .all(|socket| socket.process.pid == std::process::id())
    );
    watched.assert_clean();
}

#[test]
fn what_a_raw_socket_sends_is_no_flow() {
    let scene = Scene::new();
    let _far = Far::new();
    let mut watched = scene.capture(1 << 20);
    scene.enter("app");
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP)).unwrap();
    // Source and destination port, length, no checksum, two bytes.
    let datagram = [0x10, 0, 0x23, 0x28, 0, 10, 0, 0, b'h', b'i'];
    let to: std::net::SocketAddrV4 = "10.9.0.2:0".parse().unwrap();
    rustix::net::sendto(&raw, &datagram, rustix::net::SendFlags::empty(), &to).unwrap();
    assert_eq!(flows(&mut watched), []);
    watched.assert_clean();
}
