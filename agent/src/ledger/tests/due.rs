//! When a verdict falls: not a moment before the other account must have told.

use std::time::Duration;

use super::{FLUSH, Scene, UID, entry, get};
use crate::{
    http::Connection,
    ledger::{Exchange, Input, Line},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);

/// `flush`, and what a container runtime may take on top.
const GRACE: Duration = Duration::from_secs(FLUSH.as_secs() + 2);

const UNLOGGED: (Verdict, (u64, u64), Vec<Reason>) = (Verdict::Unlogged, (1, 0), Vec::new());
const UNSEEN: (Verdict, (u64, u64), Vec<Reason>) = (Verdict::Unseen, (0, 1), Vec::new());

/// A line that names a connection and no exchange on it.
fn invented(scene: &Scene, leg: &Connection, like: &Exchange) -> Line {
    let mut line = scene.line(Side::Client, leg, like, &get("/invented"));
    entry(&mut line).whole = None;
    line
}

/// What was judged since a scene's first exchange.
fn judged(scene: &Scene) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
    scene.verdicts().split_off(1)
}

#[test]
fn a_line_is_missed_once_flush_and_the_runtimes_delay_are_over() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/unlogged"));
    let due = exchange.end + GRACE;
    scene.capture_until(due);
    scene.read_log_until(due - MOMENT);
    assert_eq!(judged(&scene), []);
    scene.read_log_until(due);
    assert_eq!(judged(&scene), [UNLOGGED]);
    scene.stop();
}

#[test]
fn a_line_is_invented_once_the_capture_is_two_seconds_past_it() {
    // It names an open connection, or none that there is.
    for known in [true, false] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let mut leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &get("/logged"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/logged"));
        scene.read(line);
        if !known {
            leg.source.set_port(9);
        }
        let line = invented(&scene, &leg, &exchange);
        let due = line.time + Duration::from_secs(2);
        scene.read(line);
        for (time, expected) in [(due - MOMENT, vec![]), (due, vec![UNSEEN])] {
            scene.capture_until(time);
            scene.feed(Input::Tick(time));
            assert_eq!(judged(&scene)[1..], expected, "known: {known}");
        }
        scene.stop();
    }
}

#[test]
fn a_line_waits_for_an_exchange_that_goes_on_and_no_longer() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    scene.begin(&leg, 0);
    scene.pass(Duration::from_millis(3));
    let exchange = super::exchange(leg.id, 0, time, scene.now, &get("/slow"));
    let forged = invented(&scene, &leg, &exchange);
    let due = forged.time + Duration::from_secs(2);
    let line = scene.line(Side::Client, &leg, &exchange, &get("/slow"));
    scene.read(forged);
    scene.read(line);
    scene.capture_until(due);
    assert_eq!(judged(&scene), []);
    scene.tell_ended(&[exchange]);
    let matched = (Verdict::Matched, (1, 1), vec![]);
    assert_eq!(judged(&scene), [matched]);
    // It is looked at every half second, without any progress of the log.
    scene.capture_until(due + Duration::from_millis(500));
    assert_eq!(judged(&scene)[1..], [UNSEEN]);
    scene.stop();
}

#[test]
fn what_waits_for_its_port_is_judged_soon_after_that_proves_http() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/unlogged"));
    let due = exchange.end + GRACE;
    scene.capture_until(due);
    scene.read_log_until(due);
    scene.clean("/proof");
    assert_eq!(judged(&scene), []);
    scene.read_log_until(due + Duration::from_millis(500));
    assert_eq!(judged(&scene), [UNLOGGED]);
    scene.stop();
}

#[test]
fn an_invented_line_is_found_though_the_capture_lags_behind_the_log() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/logged"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/logged"));
    scene.read(line);
    let forged = invented(&scene, &leg, &exchange);
    let due = forged.time + Duration::from_secs(2);
    scene.read(forged);
    scene.close(&leg, 1, 1);
    for seconds in [3, 60, 600] {
        scene.read_log_until(exchange.end + Duration::from_secs(seconds));
    }
    assert_eq!(judged(&scene).len(), 1);
    scene.capture_until(due);
    assert_eq!(judged(&scene)[1..], [UNSEEN]);
    scene.stop();
}

#[test]
fn a_log_that_nobody_finds_is_waited_for_a_minute() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/a"));
    scene.close(&leg, 1, 1);
    let due = scene.now + GRACE + Duration::from_secs(60);
    for (time, judged) in [(due - MOMENT, 0), (due, 1)] {
        scene.capture_until(time);
        scene.feed(Input::Tick(time));
        assert_eq!(scene.verdicts().len(), judged);
    }
    assert_eq!(scene.verdicts()[0].2, [Reason::NoLog]);
    scene.stop();
}

#[test]
fn a_late_line_acquits_for_five_minutes_after_the_close() {
    let kept = GRACE + Duration::from_secs(300);
    for (log, acquitted) in [(kept - MOMENT, true), (kept, false)] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &get("/late"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/late"));
        scene.close(&leg, 1, 1);
        let closed = scene.now;
        scene.settle();
        assert_eq!(judged(&scene), [UNLOGGED]);
        scene.read_log_until(closed + log);
        scene.read(line);
        scene.settle();
        let late = match acquitted {
            true => (Verdict::Matched, (1, 1), vec![Reason::LateLine]),
            false => UNSEEN,
        };
        assert_eq!(judged(&scene)[1..], [late]);
        scene.stop();
    }
}

#[test]
fn progress_that_is_told_again_takes_nothing_back() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/unlogged"));
    let due = exchange.end + GRACE;
    scene.capture_until(due);
    scene.capture_until(Timestamp::default());
    scene.read_log_until(due);
    scene.read_log_until(Timestamp::default());
    let until = |scene: &Scene| {
        let lag = scene.ledger.pods().next().unwrap().lag;
        (scene.ledger.pods().next().unwrap().uid.to_owned(), lag)
    };
    assert_eq!(until(&scene), (UID.to_owned(), Some(Duration::ZERO)));
    assert_eq!(judged(&scene), [UNLOGGED]);
    scene.stop();
}
