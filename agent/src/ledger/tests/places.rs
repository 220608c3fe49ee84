//! Where a pod's books look for what a line speaks of.

use std::{net::SocketAddr, time::Duration};

use super::{Scene, address, entry, get};
use crate::{
    http::{Connection, ConnectionId},
    ledger::{
        Entry, Line,
        copies::Copy,
        pod::{KEPT_HOLES, KEPT_LINES, KEPT_NETWORK_CONNECTIONS, PodBook},
    },
    record::Side,
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);
const TOLERANCE: Duration = Duration::from_millis(10);

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000 + seconds)
}

fn source() -> SocketAddr {
    address("10.0.0.1", 40_000)
}

fn connection(id: ConnectionId, opened: Timestamp) -> Connection {
    Connection {
        id,
        time: opened,
        client: None,
        server: None,
        source: source(),
        destination: address("10.0.0.1", 8080),
        asked: Some(address("10.0.0.9", 80)),
        established: true,
        preexisting: false,
        udp: None,
    }
}

/// A line that names the source, of a request that began and ended at these times.
fn line(side: Side, (start, end): (Timestamp, Timestamp)) -> Line {
    let mut scene = Scene::new();
    let mut leg = scene.client_leg();
    (leg.source, leg.asked) = (source(), None);
    let exchange = super::exchange(1, 0, start, end, &get("/"));
    let mut line = scene.line(side, &leg, &exchange, &get("/"));
    line.time = end;
    let fields = entry(&mut line);
    fields.start_time = Some(start);
    fields.start_time_precision_nanoseconds = 0;
    line
}

fn found(book: &PodBook, line: &Line) -> Option<ConnectionId> {
    book.find(line, line.entry().unwrap())
}

/// The client's connection 1 from 10 s to 20 s, and 2 with the same source from 30 s on.
fn port_that_comes_again() -> PodBook {
    let mut book = PodBook::default();
    book.index(Side::Client, &connection(1, at(10)), at(0));
    book.close(Side::Client, source(), 1, at(20));
    book.index(Side::Client, &connection(2, at(30)), at(0));
    book
}

#[test]
fn a_port_that_comes_again_is_each_time_another_connection() {
    let book = port_that_comes_again();
    let of = |start, end| found(&book, &line(Side::Client, (start, end)));
    let within = |moment| of(moment, moment);
    assert_eq!(within(at(10) - TOLERANCE - MOMENT), None);
    assert_eq!(within(at(10) - TOLERANCE), Some(1));
    assert_eq!(within(at(15)), Some(1));
    assert_eq!(within(at(20) + TOLERANCE), Some(1));
    assert_eq!(within(at(20) + TOLERANCE + MOMENT), None);
    assert_eq!(within(at(35)), Some(2));
    assert_eq!(within(at(3600)), Some(2));
    // One that was open at the start goes before one that came later.
    assert_eq!(of(at(15), at(40)), Some(1));
    assert_eq!(of(at(25), at(40)), Some(2));
    assert_eq!(found(&book, &line(Side::Server, (at(15), at(15)))), None);
}

#[test]
fn a_connection_is_found_until_it_is_forgotten() {
    let mut book = port_that_comes_again();
    let line = line(Side::Client, (at(15), at(40)));
    for (forgotten, expected) in [(1, Some(2)), (2, None)] {
        book.forget(Side::Client, source(), forgotten);
        assert_eq!(found(&book, &line), expected);
    }
    assert!(book.is_idle());
}

#[test]
fn the_destination_tells_apart_what_shares_a_source() {
    let (near, far) = (address("10.0.0.1", 8080), address("10.0.0.1", 9090));
    for side in [Side::Client, Side::Server] {
        let mut book = PodBook::default();
        for (id, destination) in [(1, near), (2, far)] {
            let connection = Connection {
                destination,
                asked: Some(destination),
                ..connection(id, at(10))
            };
            book.index(side, &connection, at(0));
        }
        let mut line = line(side, (at(15), at(15)));
        for (destination, expected) in [(near, Some(1)), (far, Some(2))] {
            let fields = entry(&mut line);
            fields.upstream_host = Some(destination.to_string());
            fields.downstream_local_address = Some(destination);
            assert_eq!(found(&book, &line), expected, "{side:?}");
        }
    }
}

#[test]
fn the_cluster_tells_which_address_counts() {
    let mut book = PodBook::default();
    book.index(Side::Client, &connection(1, at(10)), at(0));
    book.index(Side::Server, &connection(2, at(10)), at(0));
    let mut both = line(Side::Client, (at(15), at(15)));
    entry(&mut both).upstream_local_address = Some(source());
    for (cluster, expected) in [
        (None, 2),
        (Some("inbound|8080||"), 2),
        (Some("outbound|80||other"), 1),
    ] {
        entry(&mut both).upstream_cluster = cluster.map(str::to_owned);
        assert_eq!(found(&book, &both), Some(expected), "{cluster:?}");
    }
    let mut book = PodBook::default();
    book.index(Side::Client, &connection(1, at(10)), at(0));
    entry(&mut both).upstream_cluster = Some("inbound|8080||".into());
    assert_eq!(found(&book, &both), None);
    // X-Forwarded-For names an address and no port.
    let nobody = SocketAddr::new(source().ip(), 0);
    let mut forwarded = line(Side::Client, (at(15), at(15)));
    entry(&mut forwarded).downstream_remote_address = Some(nobody);
    let unknown = Connection {
        source: nobody,
        ..connection(3, at(10))
    };
    book.index(Side::Client, &unknown, at(0));
    assert_eq!(found(&book, &forwarded), None);
}

#[test]
fn the_proxy_held_a_network_connection_while_it_was_open() {
    let held = |book: &PodBook, peer: SocketAddr, moment| {
        let mut line = line(Side::Client, (moment, moment));
        entry(&mut line).downstream_remote_address = Some(peer);
        let held = book.held_network_connection(&line, line.entry().unwrap());
        let any = book.held_any_network_connection((moment, moment));
        assert!(any || !held);
        held
    };
    let mut book = PodBook::default();
    book.network_opened(&connection(1, at(10)), at(0));
    book.network_opened(&connection(2, at(50)), at(0));
    book.network_closed(source(), 1, at(20));
    for (moment, expected) in [
        (at(10) - TOLERANCE - MOMENT, false),
        (at(10) - TOLERANCE, true),
        (at(20) + TOLERANCE, true),
        (at(20) + TOLERANCE + MOMENT, false),
        (at(50), true),
        (at(3600), true),
    ] {
        assert_eq!(held(&book, source(), moment), expected, "{moment}");
        // Behind X-Forwarded-For any may have been it.
        let forwarded = address("9.9.9.9", 0);
        assert_eq!(held(&book, forwarded, moment), expected, "{moment}");
        assert_eq!(book.held_any_network_connection((moment, moment)), expected);
        assert!(!held(&book, address("10.0.0.2", 40_000), moment));
    }
}

#[test]
fn the_oldest_network_connections_give_way() {
    let peer = |number: usize| {
        let number = u32::try_from(number).unwrap();
        SocketAddr::new(std::net::Ipv4Addr::from_bits(number).into(), 1)
    };
    let mut book = PodBook::default();
    let open = |book: &mut PodBook, number: usize| {
        let source = peer(number);
        let opened = connection(number as u64, at(10));
        book.network_opened(&Connection { source, ..opened }, at(0));
    };
    let holds = |book: &PodBook, number| {
        let mut line = line(Side::Client, (at(15), at(15)));
        entry(&mut line).downstream_remote_address = Some(peer(number));
        book.held_network_connection(&line, line.entry().unwrap())
    };
    for number in 0..KEPT_NETWORK_CONNECTIONS {
        open(&mut book, number);
    }
    assert!(holds(&book, 0));
    open(&mut book, KEPT_NETWORK_CONNECTIONS);
    assert!(!holds(&book, 0) && holds(&book, 1));
    assert!(holds(&book, KEPT_NETWORK_CONNECTIONS));
}

#[test]
fn what_ended_around_a_hole_may_have_been_in_it() {
    let grace = Duration::from_secs(3);
    let mut book = PodBook::default();
    book.read_until = Some(at(100));
    book.tell_hole(at(110));
    let fell = |opened, began, ended| book.fell_into_hole(opened, (began, ended), grace);
    // Its line could come twice the grace after its end.
    let end = at(100) - grace * 2;
    assert!(fell(at(0), end, end) && !fell(at(0), end - MOMENT, end - MOMENT));
    // It began when the hole was known, or so soon after that an earlier one may be left over.
    let near = at(110) + Duration::from_millis(100);
    assert!(fell(at(110), near, near) && !fell(at(110), near + MOMENT, near + MOMENT));
    let opened = at(110) + MOMENT;
    assert!(fell(opened, at(110), at(110)) && !fell(opened, opened, opened));
}

#[test]
fn the_oldest_holes_give_way() {
    let mut book = PodBook::default();
    let known = |book: &PodBook| {
        let moment = at(0);
        book.fell_into_hole(at(0), (moment, moment), Duration::ZERO)
    };
    for hole in 0..KEPT_HOLES as u64 {
        book.tell_hole(at(60 * hole));
    }
    assert!(known(&book));
    book.tell_hole(at(60 * KEPT_HOLES as u64));
    assert!(!known(&book));
    assert_eq!(book.holes().count(), KEPT_HOLES);
}

#[test]
fn lines_wait_while_there_is_room_for_all_of_them() {
    let mut book = PodBook::default();
    let small = || {
        let (time, entry) = (at(0), Entry::default());
        Box::new(Line {
            pod_uid: "".into(),
            file: "".into(),
            offset: 0,
            length: 0,
            time,
            content: crate::ledger::LineContent::Entry(entry),
            sensitive: Vec::new(),
        })
    };
    for _ in 0..2 {
        book.doubtful.push_back(small());
        book.forwarded.add_line(small());
        let (of, line) = (None, small());
        book.copies.waiting.push(Copy { of, line });
    }
    assert_eq!(book.forwarded.lines(), 2);
    for _ in 0..KEPT_LINES - 7 {
        book.unplaced.push_back(small());
    }
    assert!(book.has_room_for_a_line());
    book.unplaced.push_back(small());
    assert!(!book.has_room_for_a_line());
    // Those that are judged make room.
    let taken = book.forwarded.take_due(at(0), |_| true, |_, _| true);
    assert_eq!((taken.len(), book.forwarded.lines()), (2, 0));
    assert!(book.has_room_for_a_line());
}
