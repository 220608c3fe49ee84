//! Connections of Multipath TCP: where one path carries everything it is read, of several none is.

use super::{
    connections::{moved, one},
    script::{Cutting, START, Script, closed, exchanges, lost, run},
};
use crate::{
    capture::{Multipath, Observation, Peer, Phase, Socket},
    http::{Gap, HttpEvent},
    timestamp::Timestamp,
};

/// All that is told of a path, which has another pair of sockets: the facts of both ends, two
/// segments, both closes.
fn path(multipath: Multipath, by: u64) -> Vec<Observation> {
    let told = one().observations(&Cutting::default()).into_iter();
    let told = told.filter(|told| !matches!(told, Observation::Progress(_)));
    told.map(|told| match moved(told, by) {
        Observation::Socket(socket) => Observation::Socket(Socket {
            multipath,
            ..socket
        }),
        told => told,
    })
    .collect()
}

/// The same between others.
fn elsewhere(mut path: Vec<Observation>) -> Vec<Observation> {
    for observation in &mut path {
        match observation {
            Observation::Socket(socket) => {
                socket.cgroup += 100;
                if let Peer::Local { cgroup, .. } = &mut socket.peer {
                    *cgroup += 100;
                }
            }
            Observation::Segment(segment) => segment.cgroup += 100,
            _ => {}
        }
    }
    path
}

/// What follows from some observations, and that nothing comes any more.
fn events(parts: &[&[Observation]]) -> Vec<HttpEvent> {
    let end = Observation::Progress(Timestamp(u64::MAX >> 1));
    run(parts.concat().into_iter().chain([end]).collect())
}

/// Exchanges read, and how often it is told that an unknown number is not.
fn read(events: &[HttpEvent]) -> (usize, usize) {
    let unknown = lost(events)
        .iter()
        .filter(|lost| **lost == (0, Gap::Mptcp))
        .count();
    assert_eq!(lost(events).len(), unknown);
    (exchanges(events).len(), unknown)
}

#[test]
fn a_single_path_is_read() {
    let first = path(Multipath::First, 0);
    assert_eq!(read(&events(&[&first])), (1, 0));
}

#[test]
fn a_path_that_joins_ends_what_is_read_of_the_first() {
    let (first, second) = (path(Multipath::First, 0), path(Multipath::Joined, 10));
    // Behind the facts; the request; the response; the closes.
    for (joins, expected) in [(2, (0, 2)), (3, (1, 2)), (4, (1, 2)), (6, (1, 1))] {
        let (before, after) = first.split_at(joins);
        let events = events(&[before, &second, after]);
        assert_eq!(read(&events), expected, "joins behind {joins}: {events:#?}");
        assert_eq!(closed(&events).len(), 2);
        let gap = exchanges(&events).pop().and_then(|exchange| exchange.gap);
        assert_eq!(gap.is_some(), joins == 3);
    }
}

/// The facts of the first path were refused while there was no room.
#[test]
fn a_path_may_be_told_before_the_one_that_it_joined() {
    let (first, second) = (path(Multipath::First, 0), path(Multipath::Joined, 10));
    let (facts, rest) = second.split_at(4);
    assert_eq!(read(&events(&[facts, &first, rest])), (0, 2));
    // This one was opened when the other had ended.
    assert_eq!(read(&events(&[&second, &first])), (1, 1));
}

/// The end that opens it tells so as soon as it is established, when the kernel has found no more
/// than who listens there.
#[test]
fn a_path_whose_far_end_is_not_known_is_one_already() {
    let (first, second) = (path(Multipath::First, 0), path(Multipath::Joined, 10));
    let Observation::Socket(mut early) = second[0].clone() else {
        panic!("{:?}", second[0]);
    };
    let Peer::Local { cookie, cgroup } = early.peer else {
        panic!("{early:?}");
    };
    early.peer = Peer::Listener {
        cookie: cookie + 100,
        cgroup,
    };
    let early = [Observation::Socket(early)];
    let (facts, rest) = first.split_at(2);
    let events = events(&[facts, &early, rest, &second]);
    assert_eq!(read(&events), (0, 2), "{events:#?}");
}

#[test]
fn a_path_between_others_concerns_nobody_else() {
    let first = path(Multipath::First, 0);
    let other = elsewhere(path(Multipath::Joined, 10));
    let plain = path(Multipath::No, 20);
    let (before, after) = first.split_at(2);
    assert_eq!(read(&events(&[before, &other, after, &plain])), (2, 1));
}

#[test]
fn a_connection_that_is_opened_later_is_another() {
    let (first, second) = (path(Multipath::First, 0), path(Multipath::Joined, 10));
    let mut later = path(Multipath::First, 20);
    for observation in &mut later {
        if let Observation::Socket(socket) = observation {
            socket.opened = Script::time(99);
            if socket.phase == Phase::Settled {
                socket.time = Script::time(100);
            }
        }
    }
    assert!(Script::time(99) > Timestamp(START));
    let (before, after) = second.split_at(4);
    let events = events(&[&first, before, &later, after]);
    assert_eq!(read(&events), (2, 1));
}
