//! Connections without exchanges, and lines that speak of no exchange.

use std::time::Duration;

use super::{
    APP_CGROUP, APP_PID, OTHER_APP_CGROUP, PROXY_CGROUP, PROXY_PID, Scene, address, end, entry, get,
};
use crate::{
    config::{Direction, Expectation, PolicyRule},
    http::{Closed, Connection, Gap},
    ledger::{Input, LineContent},
    record::{Kind, Reason, Side, Verdict},
};

fn found(scene: &Scene) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
    scene.verdicts().split_off(1)
}

#[test]
fn a_connection_that_carried_nothing_needs_no_line() {
    type Alter = fn(&mut Closed);
    let table: [(Alter, bool); 7] = [
        (|_| {}, false),
        (|closed| closed.no_request = true, true),
        (|closed| closed.unread = true, true),
        (|closed| closed.established = false, true),
        (|closed| closed.client_bytes = 0, false),
        (|closed| closed.server_bytes = 0, false),
        (
            |closed| (closed.client_bytes, closed.server_bytes) = (0, 0),
            true,
        ),
    ];
    for (at, (alter, is_outside)) in table.into_iter().enumerate() {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        let mut closed = scene.closed(&leg, 70, 90);
        alter(&mut closed);
        scene.feed(Input::Closed(closed));
        scene.settle();
        let expected = match is_outside {
            true => (Verdict::Outside, (1, 0), vec![Reason::NoRequest]),
            false => (Verdict::Unlogged, (1, 0), vec![]),
        };
        assert_eq!(found(&scene), [expected], "{at}");
        scene.stop();
    }
}

#[test]
fn beside_exchanges_a_line_of_the_whole_is_invented() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.read(line);
    let mut whole = scene.line_of_the_whole(&leg, &exchange, 100, 200);
    entry(&mut whole).whole = None;
    scene.read(whole);
    scene.close(&leg, 100, 200);
    scene.settle();
    let matched = (Verdict::Matched, (1, 1), vec![]);
    assert_eq!(found(&scene), [matched, (Verdict::Unseen, (0, 1), vec![])]);
    scene.stop();
}

#[test]
fn a_connection_that_waits_for_its_line_is_told_when_the_agent_ends() {
    for closed in [true, false] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        if closed {
            scene.close(&leg, 70, 90);
        }
        scene.stop();
        let down = (Verdict::Unverifiable, (1, 0), vec![Reason::AgentDown]);
        let expected = if closed { vec![down] } else { Vec::new() };
        assert_eq!(found(&scene), expected, "an open one is no unit");
    }
}

/// A connection between two apps of the pod.
fn pod_internal(scene: &mut Scene) -> Connection {
    let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.1", 9090));
    scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "10.0.0.1:9090")),
        Some(end(OTHER_APP_CGROUP, 1, destination, "10.0.0.1:5555")),
        (source, destination),
        None,
    )
}

#[test]
fn what_goes_on_within_a_pod_is_a_unit_when_the_agent_ends() {
    let mut scene = Scene::new();
    let leg = pod_internal(&mut scene);
    scene.begin(&leg, 0);
    scene.stop();
    let internal = (Verdict::Outside, (1, 0), vec![Reason::PodInternal]);
    assert_eq!(scene.verdicts(), [internal]);
}

#[test]
fn heads_that_are_lost_within_a_pod_are_units() {
    let mut scene = Scene::new();
    let leg = pod_internal(&mut scene);
    for exchanges in [0, 2] {
        scene.feed(Input::Lost {
            connection: leg.id,
            exchanges,
            time: scene.now,
            cause: Gap::RingLost,
        });
        let of_them = scene.records.iter();
        let told = of_them.filter(|record| record.kind == Kind::Http).count();
        assert_eq!(told, usize::from(exchanges > 0));
    }
    scene.exchange(&leg, 2, &get("/seen"));
    let lost = scene.records.iter().find(|record| {
        let units = record.units.unwrap_or_default();
        units.observed == 2
    });
    let lost = serde_json::to_value(lost.unwrap()).unwrap();
    assert_eq!(lost["side"], "client");
    assert_eq!(lost["workload"]["k8s.pod.name"], "a");
    scene.close(&leg, 10, 10);
    let internal = (Verdict::Outside, (1, 0), vec![Reason::PodInternal]);
    let lost = (Verdict::Unverifiable, (2, 0), vec![Reason::RingLost]);
    assert_eq!(scene.verdicts(), [lost, internal]);
    scene.stop();
}

#[test]
fn a_bypass_is_one_unit_whatever_it_carries() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.99", 80));
    let client = end(APP_CGROUP, APP_PID, source, "10.0.0.99:80");
    let bypass = scene.connect(Some(client), None, (source, destination), Some(destination));
    scene.exchange(&bypass, 0, &get("/a"));
    scene.close(&bypass, 10, 10);
    assert_eq!(scene.verdicts(), [(Verdict::Bypassed, (1, 0), vec![])]);
    scene.stop();
}

#[test]
fn the_proxy_answers_on_a_network_connection_that_is_open() {
    for open in [true, false] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let (source, destination) = (address("10.0.0.7", 33333), address("10.0.0.1", 15006));
        let accepted = end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.7:33333");
        let network = scene.connect(None, Some(accepted), (source, destination), None);
        if !open {
            scene.close(&network, 1, 1);
            scene.pass(Duration::from_secs(60));
        }
        let leg = scene.client_leg();
        let time = scene.now;
        let nothing = super::exchange(9, 0, time, time, &get("/denied"));
        let mut line = scene.line(Side::Server, &leg, &nothing, &get("/denied"));
        entry(&mut line).upstream_local_address = None;
        scene.read(line);
        scene.settle();
        let expected = match open {
            true => (Verdict::ProxyAnswered, (0, 1), vec![]),
            false => (Verdict::Unseen, (0, 1), vec![]),
        };
        assert_eq!(found(&scene), [expected]);
        scene.stop();
    }
}

#[test]
fn a_line_that_nobody_can_read_waits_for_who_misses_it() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    let nothing = super::exchange(leg.id, 0, time, time, &get("/"));
    let mut line = scene.line(Side::Client, &leg, &nothing, &get("/"));
    line.content = LineContent::Unknown;
    let due = line.time + Duration::from_secs(3);
    scene.read(line);
    let unknown = (
        Verdict::Unverifiable,
        (0, 1),
        vec![Reason::LogFormatUnknown],
    );
    let moment = Duration::from_nanos(1);
    for (read_until, expected) in [(due - moment, vec![]), (due, vec![unknown])] {
        scene.read_log_until(read_until);
        scene.feed(Input::Tick(read_until));
        assert_eq!(found(&scene), expected);
    }
    scene.stop();
}

#[test]
fn a_direct_connection_is_expected_by_what_the_app_asked_for() {
    for (port, verdict) in [(8443, Verdict::Outside), (9999, Verdict::Bypassed)] {
        let rule = PolicyRule {
            direction: Some(Direction::Outbound),
            port: Some(port),
            cidr: Some("10.0.0.99/32".parse().unwrap()),
            ..super::policy::any(Expectation::Direct)
        };
        let mut scene = Scene::with_policy(vec![rule]);
        let (source, asked) = (address("10.0.0.1", 5555), address("10.0.0.99", 8443));
        // NAT sent it elsewhere.
        let destination = address("10.0.0.50", 9999);
        let client = end(APP_CGROUP, APP_PID, source, "10.0.0.99:8443");
        let direct = scene.connect(Some(client), None, (source, destination), Some(asked));
        scene.close(&direct, 1, 1);
        assert_eq!(scene.verdicts()[0].0, verdict);
        scene.stop();
    }
}
