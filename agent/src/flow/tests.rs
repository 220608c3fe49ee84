use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{FIRST_ID, Flows, IDLE, Orders};
use crate::{
    capture::{Flow, FlowCount, FlowPlace, Process, Receiver},
    http::{Closed, Connection, ConnectionId, Udp},
    timestamp::Timestamp,
};

const APP: u64 = 1;
const OTHER: u64 = 2;
const PUBLIC: &str = "203.0.113.9:4000";

/// The table as the kernel keeps it, with a clock.
#[derive(Default)]
struct Table {
    now: Duration,
    counts: BTreeMap<FlowPlace, (Duration, u64, u64)>,
}

impl Table {
    fn count(&self, place: FlowPlace) -> FlowCount {
        let (last, bytes_sent, bytes_received) = self.counts[&place];
        FlowCount {
            last: Timestamp::default() + last,
            quiet: self.now - last,
            bytes_sent,
            bytes_received,
        }
    }

    fn pass(&mut self, number: u32, sent: u64, received: u64) {
        let counts = self.counts.entry(place(number)).or_default();
        *counts = (self.now, counts.1 + sent, counts.2 + received);
    }

    fn sweep(&self, flows: &mut Flows) -> (Orders, Vec<Closed>) {
        flows.end_idle(|place| self.count(place));
        let mut closed = Vec::new();
        let orders = flows.sweep(|place| self.count(place), |end| closed.push(end));
        (orders, closed)
    }
}

const fn place(number: u32) -> FlowPlace {
    FlowPlace { number, account: 7 }
}

const fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn process(pid: u32) -> Option<Process> {
    Some(Process {
        pid,
        user: 1000,
        command: "app".into(),
    })
}

/// What a socket sends to elsewhere.
fn sent(cookie: u64, destination: &str, number: u32) -> Flow {
    Flow {
        cookie,
        time: at(1),
        cgroup: 10 * cookie,
        process: process(100),
        sent: true,
        inside: false,
        receiver: None,
        source: address("10.0.0.1:3000"),
        destination: address(destination),
        connected: None,
        length: 5,
        payload: b"hello".to_vec(),
        place: place(number),
    }
}

fn received(cookie: u64, source: &str, number: u32) -> Flow {
    Flow {
        sent: false,
        source: address(source),
        destination: address("10.0.0.1:3000"),
        ..sent(cookie, source, number)
    }
}

/// What one socket of a pod sends to another.
fn within(
    (cookie, source): (u64, &str),
    (receiver, destination): (Option<u64>, &str),
    number: u32,
) -> Flow {
    Flow {
        inside: true,
        receiver: Some(Receiver {
            cookie: receiver,
            cgroup: 20,
            process: process(200),
        }),
        source: address(source),
        ..sent(cookie, destination, number)
    }
}

fn begin(flows: &mut Flows, flow: Flow) -> Connection {
    flows.begin(flow).unwrap()
}

fn ends(closed: &[Closed]) -> Vec<(ConnectionId, Timestamp, u64, u64)> {
    let end = |closed: &Closed| {
        (
            closed.connection,
            closed.time,
            closed.client_bytes,
            closed.server_bytes,
        )
    };
    closed.iter().map(end).collect()
}

#[test]
fn who_sends_first_is_the_client() {
    let mut flows = Flows::default();
    let out = begin(&mut flows, sent(APP, PUBLIC, 1));
    let own = out.client.as_ref().unwrap();
    assert_eq!((own.cookie, own.cgroup), (APP, 10));
    assert_eq!((own.local, own.remote), (out.source, address(PUBLIC)));
    assert_eq!(out.server, None);
    assert_eq!((out.id, out.time, out.asked), (FIRST_ID, at(1), None));
    let inside = false;
    assert_eq!(
        out.udp,
        Some(Udp {
            inside,
            quic: false
        })
    );

    let in_ = begin(&mut flows, received(OTHER, PUBLIC, 2));
    let own = in_.server.as_ref().unwrap();
    assert_eq!((own.cookie, own.remote), (OTHER, address(PUBLIC)));
    assert_eq!((in_.client, in_.source), (None, address(PUBLIC)));
    assert_eq!(in_.id, FIRST_ID + 1);
}

#[test]
fn a_socket_has_a_flow_with_each_remote_address() {
    let mut flows = Flows::default();
    let mut table = Table::default();
    for (number, to) in [
        (1, PUBLIC),
        (2, "203.0.113.9:4001"),
        (3, "203.0.113.8:4000"),
    ] {
        begin(&mut flows, sent(APP, to, number));
        table.pass(number, u64::from(number), 0);
    }
    begin(&mut flows, sent(OTHER, PUBLIC, 4));
    table.pass(4, 4, 0);
    flows.close(APP, at(5));
    let (orders, closed) = table.sweep(&mut flows);
    assert_eq!(
        (orders.end, orders.free),
        ((1..=3).map(place).collect(), vec![])
    );
    assert_eq!(closed, []);
    // One that was on its way.
    table.pass(1, 10, 0);
    let (orders, closed) = table.sweep(&mut flows);
    assert_eq!(
        (orders.end, orders.free),
        (vec![], (1..=3).map(place).collect())
    );
    assert_eq!(
        ends(&closed),
        [
            (FIRST_ID, at(5), 11, 0),
            (FIRST_ID + 1, at(5), 2, 0),
            (FIRST_ID + 2, at(5), 3, 0),
        ]
    );
    assert_eq!(table.sweep(&mut flows), (Orders::default(), vec![]));
}

#[test]
fn bytes_are_told_by_client_and_server() {
    for is_sent in [true, false] {
        let mut flows = Flows::default();
        let mut table = Table::default();
        begin(
            &mut flows,
            match is_sent {
                true => sent(APP, PUBLIC, 1),
                false => received(APP, PUBLIC, 1),
            },
        );
        table.pass(1, 30, 4);
        let bytes = if is_sent { (30, 4) } else { (4, 30) };
        let carried = flows.carried(|place| table.count(place));
        assert_eq!(carried, [(FIRST_ID, bytes)]);
        flows.close(APP, at(5));
        table.sweep(&mut flows);
        let (_, closed) = table.sweep(&mut flows);
        assert_eq!(ends(&closed), [(FIRST_ID, at(5), bytes.0, bytes.1)]);
        assert_eq!(flows.carried(|place| table.count(place)), []);
    }
}

#[test]
fn a_flow_ends_when_it_was_quiet_long_enough() {
    let mut flows = Flows::default();
    let mut table = Table::default();
    begin(&mut flows, sent(APP, PUBLIC, 1));
    table.now = Duration::from_secs(100);
    table.pass(1, 5, 0);
    table.now += IDLE - Duration::from_nanos(1);
    assert_eq!(table.sweep(&mut flows), (Orders::default(), vec![]));
    table.now += Duration::from_nanos(1);
    let (orders, _) = table.sweep(&mut flows);
    assert_eq!(orders.end, [place(1)]);
    let (_, closed) = table.sweep(&mut flows);
    assert_eq!(ends(&closed), [(FIRST_ID, at(100), 5, 0)]);
    // What follows is another.
    assert_eq!(begin(&mut flows, sent(APP, PUBLIC, 2)).id, FIRST_ID + 1);
}

#[test]
fn first_datagrams_at_the_same_moment_are_of_one_flow() {
    let mut flows = Flows::default();
    let mut table = Table::default();
    begin(&mut flows, sent(APP, PUBLIC, 1));
    assert_eq!(flows.begin(received(APP, PUBLIC, 2)), None);
    table.pass(1, 3, 0);
    table.now = Duration::from_secs(20);
    table.pass(2, 0, 4);
    table.now = Duration::from_secs(40);
    // Either counts.
    assert_eq!(table.sweep(&mut flows), (Orders::default(), vec![]));
    flows.close(APP, at(41));
    let (orders, _) = table.sweep(&mut flows);
    assert_eq!(orders.end, [place(1), place(2)]);
    let (orders, closed) = table.sweep(&mut flows);
    assert_eq!(orders.free, [place(1), place(2)]);
    assert_eq!(ends(&closed), [(FIRST_ID, at(41), 3, 4)]);
}

#[test]
fn within_a_pod_the_answer_belongs_to_the_question() {
    let (app, server) = ("127.0.0.1:3000", "127.0.0.1:15053");
    // The receiver is known, or is older than the programs; NAT shows another source of the answer.
    for (receiver, from) in [
        (Some(OTHER), server),
        (Some(OTHER), "10.96.0.10:53"),
        (None, server),
    ] {
        let mut flows = Flows::default();
        let mut table = Table::default();
        let mut question = within((APP, app), (receiver, server), 1);
        question.connected = Some(address("10.96.0.10:53"));
        let flow = begin(&mut flows, question);
        assert_eq!(flow.asked, Some(address("10.96.0.10:53")));
        assert_eq!(flow.client.unwrap().remote, address("10.96.0.10:53"));
        let other = flow.server.unwrap();
        assert_eq!((other.cgroup, other.process), (20, process(200)));
        assert_eq!(other.local, address(server));
        let answer = within((OTHER, from), (Some(APP), app), 2);
        assert_eq!(flows.begin(answer), None);
        table.pass(1, 30, 0);
        table.pass(2, 500, 0);
        // The other end goes on with other flows.
        flows.close(OTHER, at(4));
        assert_eq!(table.sweep(&mut flows), (Orders::default(), vec![]));
        flows.close(APP, at(5));
        let (orders, _) = table.sweep(&mut flows);
        assert_eq!(orders.end, [place(1), place(2)]);
        let (_, closed) = table.sweep(&mut flows);
        assert_eq!(ends(&closed), [(FIRST_ID, at(5), 30, 500)]);
    }
}

#[test]
fn within_a_pod_what_answers_nothing_is_a_flow_of_its_own() {
    let (app, server, third) = ("127.0.0.1:3000", "127.0.0.1:4000", "127.0.0.1:5000");
    let answers = [
        // From another socket, to another socket of the app, from one that nobody knows.
        within((3, third), (Some(APP), app), 2),
        within((OTHER, server), (Some(APP), "127.0.0.1:3001"), 2),
        within((OTHER, server), (None, app), 2),
        // Not within.
        sent(OTHER, app, 2),
    ];
    for answer in answers {
        let mut flows = Flows::default();
        begin(&mut flows, within((APP, app), (Some(OTHER), server), 1));
        assert_eq!(begin(&mut flows, answer).id, FIRST_ID + 1);
    }
}

#[test]
fn where_a_connected_socket_sends_to_is_not_where_it_is_connected() {
    let mut flows = Flows::default();
    let mut flow = sent(APP, PUBLIC, 1);
    flow.connected = Some(address("10.96.0.10:53"));
    let connection = begin(&mut flows, flow);
    assert_eq!(connection.asked, None);
    assert_eq!(connection.client.unwrap().remote, address(PUBLIC));
    assert_eq!(connection.destination, address(PUBLIC));
}

#[test]
fn quic_is_told_by_the_first_datagram() {
    let mut flows = Flows::default();
    let mut flow = sent(APP, PUBLIC, 1);
    flow.payload = [&[0xc3, 0, 0, 0, 1, 8][..], &[0; 26]].concat();
    flow.length = 1200;
    let inside = false;
    let udp = begin(&mut flows, flow).udp;
    assert_eq!(udp, Some(Udp { inside, quic: true }));
}
