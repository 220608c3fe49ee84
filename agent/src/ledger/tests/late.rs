//! Lines that come after they were missed.

use std::time::Duration;

use super::{Scene, entry, get};
use crate::{
    http::Gap,
    ledger::Input,
    record::{Body, Reason, Side, Verdict},
};

#[test]
fn a_late_line_revises() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/late"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/late"));
    scene.settle();
    let accused = scene.records.last().unwrap().id.clone();
    assert_eq!(scene.verdicts()[1], (Verdict::Unlogged, (1, 0), vec![]));
    scene.read(line);
    assert_eq!(
        scene.verdicts()[2],
        (Verdict::Matched, (1, 1), vec![Reason::LateLine])
    );
    let Body::Traffic(traffic) = &scene.records.last().unwrap().body else {
        panic!("traffic")
    };
    assert_eq!(traffic.revises, [accused]);
    scene.stop();
}

#[test]
fn a_late_line_of_the_whole_connection_revises() {
    let mut scene = Scene::new();
    scene.clean("/as-http");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    scene.exchange(&leg, 1, &get("/b"));
    scene.settle();
    assert_eq!(
        scene.verdicts()[1..],
        [
            (Verdict::Unlogged, (1, 0), vec![]),
            (Verdict::Unlogged, (1, 0), vec![])
        ]
    );
    scene.close(&leg, 70, 90);
    let line = scene.line_of_the_whole(&leg, &exchange, 70, 90);
    scene.read(line);
    scene.settle();
    assert_eq!(
        scene.verdicts()[3..],
        [(
            Verdict::Matched,
            (2, 1),
            vec![Reason::LoggedAsTcp, Reason::LateLine]
        )]
    );
    let revised = scene
        .records
        .iter()
        .rev()
        .find_map(|record| match &record.body {
            Body::Traffic(traffic) if !traffic.revises.is_empty() => Some(traffic.revises.len()),
            _ => None,
        });
    assert_eq!(revised, Some(3), "both exchanges, and the connection's end");
    scene.stop();
}

#[test]
fn a_first_line_that_comes_after_all_is_not_forged() {
    let mut scene = Scene::new();
    scene.pass(Duration::from_secs(1));
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.close(&leg, 1, 1);
    scene.settle();
    scene.read(line);
    scene.settle();
    let no_log = |units| (Verdict::Unverifiable, units, vec![Reason::NoLog]);
    assert_eq!(scene.verdicts(), [no_log((1, 0)), no_log((0, 1))]);
    scene.stop();
}

#[test]
fn a_late_line_of_what_was_seen_in_part_is_not_forged() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    scene.feed(Input::Begun {
        connection: leg.id,
        exchange: 0,
        stream: None,
        time,
    });
    let mut exchange = super::exchange(leg.id, 0, time, time, &get("/part"));
    exchange.gap = Some(Gap::StreamGap);
    let line = scene.line(Side::Client, &leg, &exchange, &get("/part"));
    scene.feed(Input::Ended(Box::new(exchange)));
    scene.settle();
    scene.read(line);
    scene.settle();
    let gap = |units| (Verdict::Unverifiable, units, vec![Reason::StreamGap]);
    assert_eq!(scene.verdicts()[1..], [gap((1, 0)), gap((0, 1))]);
    scene.stop();
}

#[test]
fn a_late_line_behind_x_forwarded_for_revises() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let sent = super::Sent {
        forwarded: true,
        ..get("/late")
    };
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &sent);
    let line = scene.line(Side::Client, &leg, &exchange, &sent);
    scene.settle();
    assert_eq!(scene.verdicts()[1], (Verdict::Unlogged, (1, 0), vec![]));
    scene.read(line);
    scene.settle();
    let late = (Verdict::Matched, (1, 1), vec![Reason::LateLine]);
    assert_eq!(scene.verdicts()[2..], [late]);
    scene.stop();
}

#[test]
fn a_line_from_before_the_agents_time_is_held_against_nobody() {
    for side in [Side::Client, Side::Server] {
        let mut scene = Scene::new();
        let [first, leg] = [(), ()].map(|()| match side {
            Side::Client => scene.client_leg(),
            _ => scene.server_leg(),
        });
        let exchange = scene.exchange(&first, 0, &get("/first"));
        let line = scene.line(side, &first, &exchange, &get("/first"));
        scene.read(line);
        let exchange = scene.exchange(&leg, 0, &get("/unlogged"));
        let mut line = scene.line(side, &leg, &exchange, &get("/older"));
        // The agent began a second before. Where a request to an app waits for its connection, only
        // DURATION tells how long.
        let fields = entry(&mut line);
        fields.start_time = Some(exchange.time - Duration::from_secs(2));
        (fields.method, fields.duration_milliseconds) = (Some("DELETE".into()), None);
        scene.read(line);
        scene.settle();
        let mut found = scene.verdicts().split_off(1);
        found.sort();
        let expected = [
            (Verdict::Unlogged, (1, 0), vec![]),
            (Verdict::Unverifiable, (0, 1), vec![Reason::BeforeStart]),
        ];
        assert_eq!(found, expected, "{side:?}");
        scene.stop();
    }
}
