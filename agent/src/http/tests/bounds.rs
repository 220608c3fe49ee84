//! What is kept of connections is bounded.

use super::{
    connections::{GET, OK, moved, one},
    script::{CLIENT, Cutting, Script, assert_order, begun, closed, exchanges, lost, socket},
};
use crate::{
    capture::{Observation, Peer, Phase, Socket},
    http::{Bounds, Gap, HttpEvent, Tracker},
};

#[test]
fn a_flood_evicts_its_own() {
    let bounds = Bounds {
        connections: 4,
        ..Bounds::default()
    };
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    let script = Script::default().request(GET, "");
    let begin = |tracker: &mut Tracker, events: &mut Vec<HttpEvent>, by: u64, cgroup: u64| {
        for observation in script.observations(&Cutting::default()) {
            match moved(observation, by) {
                Observation::Socket(socket) if socket.phase == Phase::Settled => {
                    tracker.observe(Observation::Socket(Socket { cgroup, ..socket }), events);
                }
                Observation::Segment(segment) => {
                    tracker.observe(Observation::Segment(segment), events);
                }
                _ => {}
            }
        }
    };
    begin(&mut tracker, &mut events, 0, 7);
    for flood in 1..20 {
        begin(&mut tracker, &mut events, flood * 10, 8);
    }
    assert_order(&events);
    assert_eq!(lost(&events).len(), 16, "told for each");
    let evicted: Vec<_> = exchanges(&events)
        .iter()
        .map(|exchange| (exchange.connection, exchange.gap))
        .collect();
    assert_eq!(evicted.len(), 16);
    assert!(
        evicted
            .iter()
            .all(|(id, gap)| *id != 1 && *gap == Some(Gap::Evicted))
    );
    let counters = tracker.counters();
    assert_eq!((counters.open, counters.open_evicted), (8, 4));
    assert_eq!(counters.evicted, 16);
}

#[test]
fn what_an_evicted_connection_sends_is_counted() {
    let bounds = Bounds {
        connections: 1,
        ..Bounds::default()
    };
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    let script = one().request(GET, "").response(OK, "ok");
    let other = Observation::Socket(Socket {
        cookie: 99,
        peer: Peer::Remote,
        ..socket(CLIENT)
    });
    for (index, observation) in script
        .observations(&Cutting::default())
        .into_iter()
        .enumerate()
    {
        if index == 4 {
            tracker.observe(other.clone(), &mut events);
        }
        tracker.observe(observation, &mut events);
    }
    assert_eq!((begun(&events), exchanges(&events).len()), (1, 1));
    assert_eq!(lost(&events), [(0, Gap::Evicted), (1, Gap::Evicted)]);
    assert_eq!(closed(&events).len(), 1);
}

#[test]
fn outstanding_exchanges_are_bounded() {
    let bounds = Bounds {
        outstanding: 4,
        ..Bounds::default()
    };
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    let mut script = Script::default();
    for index in 0..10 {
        script = script.request(&format!("GET /{index} HTTP/1.1\r\n\r\n"), "");
    }
    for index in 0..10 {
        script = script.response(
            &format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", 400 + index),
            "",
        );
    }
    for observation in script.observations(&Cutting::default()) {
        tracker.observe(observation, &mut events);
    }
    assert_order(&events);
    let told: Vec<_> = exchanges(&events)
        .iter()
        .map(|exchange| {
            let status = exchange.response.as_ref().and_then(|r| r.status);
            (exchange.exchange, status, exchange.gap)
        })
        .collect();
    let evicted = (0..7).map(|index| (index, None, Some(Gap::Evicted)));
    let whole = (7..10).map(|index| (index, u16::try_from(400 + index).ok(), None));
    assert_eq!(told, evicted.chain(whole).collect::<Vec<_>>());
}

#[test]
fn memory_is_bounded() {
    let bounds = Bounds {
        memory: 100_000,
        ..Bounds::default()
    };
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    let head = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(40_000));
    let script = Script::default().raw(CLIENT, head.as_bytes());
    for by in 0..5 {
        for observation in script.observations(&Cutting::default()) {
            match &observation {
                Observation::Progress(_) => {}
                Observation::Socket(socket) if socket.phase == Phase::Closed => {}
                _ => tracker.observe(moved(observation, by * 10), &mut events),
            }
        }
        assert!(tracker.counters().bytes <= bounds.memory);
    }
    assert_eq!(tracker.counters().evicted, 3);
    assert_eq!(exchanges(&events).len(), 3);
}

#[test]
fn what_waits_is_bounded() {
    let bounds = Bounds {
        waiting_segments: 2,
        ..Bounds::default()
    };
    let mut script = Script::default();
    for index in 0..5 {
        script = script.request(&format!("GET /{index} HTTP/1.1\r\n\r\n"), "");
    }
    let mut all = script.observations(&Cutting::default());
    // The facts come after the first four segments.
    all[..6].rotate_left(2);
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    assert_order(&events);
    assert_eq!(lost(&events), [(2, Gap::Evicted)]);
    assert_eq!(begun(&events), 3);
}
