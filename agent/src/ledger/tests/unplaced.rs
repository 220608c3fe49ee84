//! Lines that overtake the connection they name.

use std::time::Duration;

use super::{Scene, Sent, entry, exchange, get};
use crate::{
    http::Connection,
    ledger::{Input, Line},
    record::{Reason, Side, Verdict},
};

const PAIR: (Verdict, (u64, u64), Vec<Reason>) = (Verdict::Matched, (1, 1), Vec::new());

/// The line of an exchange that will be told.
fn to_come(side: Side, sent: &Sent) -> Line {
    let mut hidden = Scene::new();
    hidden.clean("/first");
    let leg = leg(&mut hidden, side);
    let exchange = hidden.exchange(&leg, 0, sent);
    hidden.line(side, &leg, &exchange, sent)
}

fn leg(scene: &mut Scene, side: Side) -> Connection {
    match side {
        Side::Server => scene.server_leg(),
        _ => scene.client_leg(),
    }
}

/// The connection is told after these lines, and the verdicts fall: that of another exchange, and
/// those that it is about.
fn told_after(lines: Vec<Line>, side: Side, sent: &Sent) -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    for line in lines {
        scene.read(line);
    }
    let leg = leg(&mut scene, side);
    scene.exchange(&leg, 0, sent);
    scene.pass(Duration::from_secs(30));
    scene.settle();
    scene
}

fn reasons(scene: &Scene) -> Vec<(Verdict, Vec<Reason>)> {
    let verdicts = scene.verdicts().into_iter().skip(1);
    let mut found: Vec<_> = verdicts
        .map(|(verdict, _, reasons)| (verdict, reasons))
        .collect();
    found.sort();
    found
}

#[test]
fn it_finds_its_exchange_once_that_is_told() {
    for side in [Side::Client, Side::Server] {
        let line = to_come(side, &get("/early"));
        let mut scene = told_after(vec![line], side, &get("/early"));
        assert_eq!(scene.verdicts()[1..], [PAIR], "{side:?}");
        scene.stop();
    }
}

#[test]
fn inbound_it_does_so_whatever_x_forwarded_for_says() {
    let sent = Sent {
        forwarded: true,
        ..get("/early")
    };
    let line = to_come(Side::Server, &sent);
    assert!(line.entry().unwrap().upstream_local_address.is_some());
    let mut scene = told_after(vec![line], Side::Server, &sent);
    assert_eq!(scene.verdicts()[1..], [PAIR]);
    scene.stop();
}

#[test]
fn what_a_proxy_writes_as_a_request_begins_may_overtake_it_as_well() {
    let line = to_come(Side::Client, &get("/early"));
    let mut interim = line.clone();
    let fields = entry(&mut interim);
    fields.access_log_type = Some("DownstreamStart".to_owned());
    fields.response_code = Some(0);
    fields.whole = None;
    let mut scene = told_after(vec![interim, line], Side::Client, &get("/early"));
    let expected = [
        (Verdict::Matched, vec![]),
        (Verdict::Matched, vec![Reason::Repeated]),
    ];
    assert_eq!(reasons(&scene), expected);
    scene.stop();
}

#[test]
fn a_copy_that_does_so_is_still_a_copy() {
    let line = to_come(Side::Client, &get("/early"));
    let mut copy = line.clone();
    copy.offset += 1_000;
    let mut scene = told_after(vec![line, copy], Side::Client, &get("/early"));
    let expected = [
        (Verdict::Matched, vec![]),
        (Verdict::Unseen, vec![Reason::Repeated]),
    ];
    assert_eq!(reasons(&scene), expected);
    scene.stop();
}

/// A retry: of the attempts on one connection, all alike, the line is that of the last.
#[test]
fn it_waits_for_all_that_was_sent_before_it_was_stamped() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.server_leg();
    let sent = Sent {
        request_id: Some("an-id".to_owned()),
        status: 503,
        ..get("/again")
    };
    let now = scene.now;
    scene.capture_until(now);
    let attempt = |number: u64| {
        let begins = now + Duration::from_millis(10 * number);
        let ends = begins + Duration::from_millis(3);
        exchange(leg.id, u32::try_from(number).unwrap(), begins, ends, &sent)
    };
    let attempts = [attempt(0), attempt(1)];
    let mut line = scene.line(Side::Server, &leg, &attempts[1], &sent);
    let fields = entry(&mut line);
    fields.start_time = Some(now);
    fields.duration_milliseconds = Some(14);
    fields.response_flags = Some("URX".to_owned());
    let stamped = line.time;
    scene.read(line);
    for attempt in attempts {
        scene.feed(Input::Begun {
            connection: leg.id,
            exchange: attempt.exchange,
            stream: None,
            time: attempt.time,
        });
        scene.feed(Input::Ended(Box::new(attempt)));
        assert_eq!(scene.verdicts().len(), 1);
    }
    scene.pass(Duration::from_secs(1));
    scene.capture_until(stamped);
    scene.settle();
    let expected = [
        (Verdict::Matched, (1, 0), vec![Reason::Retried]),
        (Verdict::Matched, (1, 1), vec![Reason::Retried]),
    ];
    let mut found = scene.verdicts().split_off(1);
    found.sort();
    assert_eq!(found, expected);
    scene.stop();
}
