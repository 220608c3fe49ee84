//! Several attempts at the app, one inbound line.

use std::time::Duration;

use super::{Scene, Sent, entry, get};
use crate::{
    http::Connection,
    ledger::{Exchange, Input, Line},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

const ATTEMPT: (Verdict, (u64, u64), [Reason; 1]) = (Verdict::Matched, (1, 0), [Reason::Retried]);
const NAMED: (Verdict, (u64, u64), [Reason; 1]) = (Verdict::Matched, (1, 1), [Reason::Retried]);

pub(super) fn attempt(status: u16) -> Sent {
    Sent {
        status,
        request_id: Some("r1".into()),
        ..get("/retried")
    }
}

/// The line of a request that began at `start` and whose last attempt this was.
fn line(scene: &Scene, leg: &Connection, start: Timestamp, last: &Exchange, status: u16) -> Line {
    let mut line = scene.line(Side::Server, leg, last, &attempt(status));
    let fields = entry(&mut line);
    let start = Timestamp(start.0 / 1_000_000 * 1_000_000);
    fields.start_time = Some(start);
    fields.duration_milliseconds = Some(u64::try_from(last.end.since(start).as_millis()).unwrap());
    line
}

/// A scene whose server side is known to be HTTP, so that what is missing is missed.
fn scene() -> (Scene, Connection) {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let exchange = scene.exchange(&leg, 0, &get("/first"));
    let line = scene.line(Side::Server, &leg, &exchange, &get("/first"));
    scene.read(line);
    scene.pass(Duration::from_millis(100));
    (scene, leg)
}

fn found(scene: &Scene) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
    let mut verdicts = scene.verdicts();
    verdicts.remove(0);
    verdicts.sort();
    verdicts
}

fn with(reasons: (Verdict, (u64, u64), [Reason; 1])) -> (Verdict, (u64, u64), Vec<Reason>) {
    (reasons.0, reasons.1, reasons.2.to_vec())
}

#[test]
fn attempts_on_other_connections_belong_to_the_line_of_the_last() {
    let (mut scene, first) = scene();
    let start = scene.now;
    scene.exchange(&first, 1, &attempt(503));
    let second = scene.server_leg();
    scene.pass(Duration::from_millis(20));
    scene.exchange(&second, 0, &attempt(503));
    scene.pass(Duration::from_millis(20));
    let third = scene.server_leg();
    let last = scene.exchange(&third, 0, &attempt(200));
    let line = line(&scene, &third, start, &last, 200);
    scene.read(line);
    assert_eq!(found(&scene), [with(NAMED)], "lines of their own may come");
    scene.settle();
    assert_eq!(found(&scene), [with(ATTEMPT), with(ATTEMPT), with(NAMED)]);
    scene.stop();
}

#[test]
fn one_connection_may_carry_attempts_of_several_lines() {
    let (mut scene, shared) = scene();
    let other = scene.server_leg();
    let mut lines = Vec::new();
    for round in 0..3 {
        let id = |sent: Sent| Sent {
            request_id: Some(format!("round {round}")),
            ..sent
        };
        let start = scene.now;
        scene.exchange(&shared, 1 + 2 * round, &id(attempt(503)));
        scene.pass(Duration::from_millis(5));
        let leg = if round == 1 { &shared } else { &other };
        let number = if round == 1 { 4 } else { round };
        let last = scene.exchange(leg, number, &id(attempt(200)));
        lines.push(line(&scene, leg, start, &last, 200));
        scene.pass(Duration::from_millis(5));
    }
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    let expected = [ATTEMPT, ATTEMPT, ATTEMPT, NAMED, NAMED, NAMED].map(with);
    assert_eq!(found(&scene), expected);
    scene.stop();
}

#[test]
fn retries_that_all_fail_alike_on_one_connection() {
    let (mut scene, leg) = scene();
    let start = scene.now;
    scene.exchange(&leg, 1, &attempt(503));
    scene.pass(Duration::from_millis(10));
    scene.exchange(&leg, 2, &attempt(503));
    scene.pass(Duration::from_millis(10));
    let last = scene.exchange(&leg, 3, &attempt(503));
    let mut line = line(&scene, &leg, start, &last, 503);
    entry(&mut line).response_flags = Some("URX".into());
    scene.read(line);
    scene.settle();
    assert_eq!(found(&scene), [with(ATTEMPT), with(ATTEMPT), with(NAMED)]);
    scene.stop();
}

#[test]
fn the_last_attempt_may_find_no_connection() {
    let (mut scene, leg) = scene();
    let (source, destination) = (
        "10.0.0.7:33333".parse().unwrap(),
        "10.0.0.1:15006".parse().unwrap(),
    );
    let proxy = super::end(
        super::PROXY_CGROUP,
        super::PROXY_PID,
        destination,
        "10.0.0.7:33333",
    );
    scene.connect(None, Some(proxy), (source, destination), None);
    let start = scene.now;
    let last = scene.exchange(&leg, 1, &attempt(503));
    let mut line = line(&scene, &leg, start, &last, 503);
    let fields = entry(&mut line);
    fields.upstream_local_address = None;
    fields.response_flags = Some("UF,URX".into());
    fields.duration_milliseconds = Some(30);
    scene.read(line);
    scene.settle();
    let answered = (Verdict::ProxyAnswered, (0, 1), vec![]);
    assert_eq!(found(&scene), [with(ATTEMPT), answered]);
    scene.stop();
}

#[test]
fn an_app_may_answer_an_attempt_long_after_the_proxy_gave_it_up() {
    let (mut scene, _) = scene();
    let given_up = scene.server_leg();
    let start = scene.now;
    let began = Input::Begun {
        connection: given_up.id,
        exchange: 0,
        stream: None,
        time: start,
    };
    scene.feed(began);
    scene.pass(Duration::from_millis(50));
    let leg = scene.server_leg();
    let last = scene.exchange(&leg, 0, &attempt(200));
    let line = line(&scene, &leg, start, &last, 200);
    scene.read(line);
    scene.settle();
    assert_eq!(found(&scene).len(), 1, "the other goes on");
    let answered = super::exchange(given_up.id, 0, start, scene.now, &attempt(200));
    scene.feed(Input::Ended(Box::new(answered)));
    scene.close(&given_up, 1, 1);
    scene.settle();
    assert_eq!(found(&scene)[0], with(ATTEMPT));
    assert_eq!(found(&scene).len(), 2);
    scene.stop();
}

#[test]
fn an_attempt_waits_for_the_next_one_however_long_that_takes() {
    let (mut scene, leg) = scene();
    let start = scene.now;
    scene.exchange(&leg, 1, &attempt(503));
    let slow = scene.server_leg();
    scene.pass(Duration::from_millis(20));
    let began = scene.now;
    scene.feed(Input::Begun {
        connection: slow.id,
        exchange: 0,
        stream: None,
        time: began,
    });
    scene.settle();
    assert!(found(&scene).is_empty());
    let last = super::exchange(slow.id, 0, began, scene.now, &attempt(200));
    scene.feed(Input::Ended(Box::new(last.clone())));
    scene.pass(Duration::from_millis(900));
    let now = scene.now;
    scene.feed(Input::CaptureProgress(now));
    scene.feed(Input::LogProgress {
        pod_uid: super::UID.into(),
        read_until: now,
    });
    assert!(found(&scene).is_empty());
    let line = line(&scene, &slow, start, &last, 200);
    scene.read(line);
    scene.settle();
    assert_eq!(found(&scene), [with(ATTEMPT), with(NAMED)]);
    scene.stop();
}

#[test]
fn retries_without_a_line_are_found() {
    let (mut scene, leg) = scene();
    for number in 1..4 {
        scene.exchange(&leg, number, &attempt(503));
        scene.pass(Duration::from_millis(20));
    }
    scene.settle();
    scene.settle();
    let unlogged = (Verdict::Unlogged, (1, 0), vec![]);
    assert_eq!(
        found(&scene),
        [unlogged.clone(), unlogged.clone(), unlogged]
    );
    scene.stop();
}

#[test]
fn a_line_is_not_hidden_by_requests_of_one_id() {
    for status in [200, 404, 503] {
        let (mut scene, first) = scene();
        let legs = [first, scene.server_leg()];
        let mut lines = Vec::new();
        for number in 1..11_u32 {
            let leg = &legs[number as usize % 2];
            let start = scene.now;
            let exchange = scene.exchange(leg, number, &attempt(status));
            lines.push(line(&scene, leg, start, &exchange, status));
            scene.pass(Duration::from_millis(2));
        }
        lines.remove(4);
        for line in lines {
            scene.read(line);
        }
        scene.settle();
        scene.settle();
        let accused = |v: &&(Verdict, (u64, u64), Vec<Reason>)| v.0 != Verdict::Matched;
        let found = found(&scene);
        let accused: Vec<_> = found.iter().filter(accused).collect();
        assert_eq!(accused, [&(Verdict::Unlogged, (1, 0), vec![])], "{status}");
        scene.stop();
    }
}

#[test]
fn an_answer_that_was_taken_in_is_no_failed_attempt() {
    let (mut scene, leg) = scene();
    let start = scene.now;
    scene.exchange(&leg, 1, &attempt(200));
    scene.pass(Duration::from_millis(5));
    let last = scene.exchange(&leg, 2, &attempt(500));
    // It claims the time of both.
    let line = line(&scene, &leg, start, &last, 500);
    scene.read(line);
    scene.settle();
    scene.settle();
    let expected = [
        (Verdict::Matched, (1, 1), vec![]),
        (Verdict::Unlogged, (1, 0), vec![]),
    ];
    assert_eq!(found(&scene), expected);
    scene.stop();
}

#[test]
fn the_count_of_attempts_bounds_them() {
    let (mut scene, leg) = scene();
    let start = scene.now;
    for number in 1..4 {
        scene.exchange(&leg, number, &attempt(502));
        scene.pass(Duration::from_millis(10));
    }
    let other = scene.server_leg();
    let last = scene.exchange(&other, 0, &attempt(200));
    let mut line = line(&scene, &other, start, &last, 200);
    entry(&mut line).attempts = Some(3);
    scene.read(line);
    scene.settle();
    scene.settle();
    let unlogged = (Verdict::Unlogged, (1, 0), vec![]);
    assert_eq!(
        found(&scene),
        [with(ATTEMPT), with(ATTEMPT), with(NAMED), unlogged]
    );
    scene.stop();
}
