//! Attempts at the app that the proxy gave up before the app was done with them.

use std::time::Duration;

use super::{Scene, entry, exchange, get, retries::attempt};
use crate::{
    http::Connection,
    ledger::{Exchange, Input, Line},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

/// The line of a request that began at `start` and ends now.
fn line(scene: &Scene, leg: &Connection, start: Timestamp, last: &Exchange, status: u16) -> Line {
    let mut line = scene.line(Side::Server, leg, last, &attempt(status));
    let fields = entry(&mut line);
    fields.start_time = Some(Timestamp(start.0 / 1_000_000 * 1_000_000));
    let lasted = scene.now.since(start).as_millis();
    fields.duration_milliseconds = Some(u64::try_from(lasted).unwrap());
    line
}

/// The same of one whose last attempt the proxy gave up.
fn cut_off(scene: &Scene, leg: &Connection, start: Timestamp, last: &Exchange) -> Line {
    let mut line = line(scene, leg, start, last, 504);
    let fields = entry(&mut line);
    fields.response_flags = Some("UT".into());
    fields.response_code_details = Some("response_timeout".into());
    line
}

fn begin(scene: &mut Scene, leg: &Connection, number: u32) -> Timestamp {
    let time = scene.now;
    let connection = leg.id;
    scene.feed(Input::Begun {
        connection,
        exchange: number,
        stream: None,
        time,
    });
    time
}

fn end(scene: &mut Scene, leg: &Connection, number: u32, began: Timestamp) -> Exchange {
    let ended = exchange(leg.id, number, began, scene.now, &attempt(200));
    scene.feed(Input::Ended(Box::new(ended.clone())));
    ended
}

/// Asserts that all exchanges but the first were attempts behind one line.
fn assert_one_line_of(scene: &mut Scene, attempts: usize) {
    scene.settle();
    let mut verdicts = scene.verdicts();
    verdicts.remove(0);
    let lines: u64 = verdicts.iter().map(|(_, units, _)| units.1).sum();
    assert_eq!((verdicts.len(), lines), (attempts, 1), "{verdicts:?}");
    let matched = |(verdict, units, reasons): &(Verdict, (u64, u64), Vec<Reason>)| {
        *verdict == Verdict::Matched && (units.1 == 1 || *reasons == [Reason::Retried])
    };
    assert!(verdicts.iter().all(matched), "{verdicts:?}");
    scene.stop();
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let exchange = scene.exchange(&leg, 0, &get("/first"));
    let line = scene.line(Side::Server, &leg, &exchange, &get("/first"));
    scene.read(line);
    scene.pass(Duration::from_millis(100));
    scene
}

#[test]
fn an_app_may_answer_an_attempt_while_the_next_but_last_is_on() {
    let mut scene = scene();
    let (first, second, third) = (scene.server_leg(), scene.server_leg(), scene.server_leg());
    let start = begin(&mut scene, &first, 0);
    scene.pass(Duration::from_millis(50));
    let second_began = begin(&mut scene, &second, 0);
    scene.pass(Duration::from_millis(20));
    end(&mut scene, &first, 0, start);
    scene.pass(Duration::from_millis(20));
    let failed = exchange(second.id, 0, second_began, scene.now, &attempt(503));
    scene.feed(Input::Ended(Box::new(failed)));
    scene.pass(Duration::from_millis(20));
    let last = scene.exchange(&third, 0, &attempt(200));
    let line = line(&scene, &third, start, &last, 200);
    scene.read(line);
    assert_one_line_of(&mut scene, 3);
}

#[test]
fn a_line_that_was_cut_off_is_of_the_last_attempt_of_its_connection() {
    let mut scene = scene();
    let (first, second) = (scene.server_leg(), scene.server_leg());
    let start = scene.now;
    scene.exchange(&first, 0, &attempt(503));
    scene.exchange(&second, 0, &attempt(503));
    let began = begin(&mut scene, &first, 1);
    scene.pass(Duration::from_millis(50));
    let last = end(&mut scene, &first, 1, began);
    let line = cut_off(&scene, &first, start, &last);
    scene.read(line);
    assert_one_line_of(&mut scene, 3);
}

#[test]
fn the_last_attempt_may_end_long_after_the_line_that_says_it_was_cut_off() {
    let mut scene = scene();
    let leg = scene.server_leg();
    let start = scene.now;
    let first = scene.exchange(&leg, 0, &attempt(503));
    let began = begin(&mut scene, &leg, 1);
    scene.pass(Duration::from_millis(50));
    let line = cut_off(&scene, &leg, start, &first);
    scene.read(line);
    scene.pass(Duration::from_secs(20));
    end(&mut scene, &leg, 1, began);
    scene.close(&leg, 1, 1);
    assert_one_line_of(&mut scene, 2);
}
