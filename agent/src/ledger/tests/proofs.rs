//! What verdicts are findings of.

use std::time::Duration;

use super::{
    Scene, entry,
    findings::{end_interval, findings, found, states},
    get,
};
use crate::{
    http::Gap,
    ledger::{Input, Line, LineContent},
    record::{FindingState, Side},
};

/// A scene in which one exchange has the line that the test makes of an honest one; the lines that
/// it gives are read.
fn one_line(tamper: impl FnOnce(Line) -> Vec<Line>) -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    one_more(&mut scene, "/a", tamper);
    scene
}

/// One more such exchange.
fn one_more(scene: &mut Scene, path: &str, tamper: impl FnOnce(Line) -> Vec<Line>) {
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get(path));
    let line = scene.line(Side::Client, &leg, &exchange, &get(path));
    for line in tamper(line) {
        scene.read(line);
    }
    scene.close(&leg, 100, 200);
    scene.settle();
}

#[test]
fn an_honest_line_is_none() {
    assert_eq!(found(&mut one_line(|line| vec![line])), []);
}

#[test]
fn an_edited_line_is_one() {
    let mut scene = one_line(|mut line| {
        entry(&mut line).response_code = Some(500);
        vec![line]
    });
    let proof = &findings(&scene)[0].records;
    let told = scene.records.iter().find(|record| *record.id == *proof[0]);
    let told = serde_json::to_value(told.unwrap()).unwrap();
    assert_eq!(told["verdict"], "mismatched");
    assert_eq!(found(&mut scene), [("MW-007", 1)]);
}

#[test]
fn a_line_that_is_repeated_is_one() {
    let mut scene = one_line(|line| vec![line.clone(), line]);
    assert_eq!(found(&mut scene), [("MW-006", 1)]);
}

#[test]
fn an_invented_line_is_one() {
    let mut scene = one_line(|line| {
        let mut invented = line.clone();
        let fields = entry(&mut invented);
        fields.downstream_remote_address = Some("10.0.0.1:9".parse().unwrap());
        fields.whole = None;
        vec![line, invented]
    });
    assert_eq!(found(&mut scene), [("MW-005", 1)]);
}

#[test]
fn a_line_that_can_be_read_in_more_than_one_way_is_one() {
    let mut scene = one_line(|mut line| {
        let LineContent::Entry(entry) = line.content else {
            panic!("an entry")
        };
        line.content = LineContent::Ambiguous(entry);
        vec![line]
    });
    assert_eq!(found(&mut scene), [("MW-009", 1)]);
}

#[test]
fn http_that_is_logged_as_bytes_is_one_for_each_connection() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let line = scene.line_of_the_whole(&leg, &exchange, 100, 200);
    scene.close(&leg, 100, 200);
    scene.read(line);
    scene.settle();
    assert_eq!(found(&mut scene), [("MW-010", 1)]);
}

#[test]
fn what_the_agent_missed_is_one_with_as_many_units() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/a"));
    scene.feed(Input::Lost {
        connection: leg.id,
        exchanges: 3,
        time: scene.now,
        cause: Gap::RingLost,
    });
    scene.close(&leg, 100, 200);
    scene.settle();
    // The three heads, and the exchange before them, whose line may be any.
    assert_eq!(found(&mut scene), [("MW-201", 4)]);
}

#[test]
fn what_the_kernel_moved_past_the_programs_is_one() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = super::exchange(leg.id, 0, scene.now, scene.now, &get("/hidden"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/hidden"));
    scene.close(&leg, 0, 0);
    scene.read(line);
    scene.settle();
    assert_eq!(found(&mut scene), [("MW-202", 1)]);
}

#[test]
fn what_stops_is_closed_and_what_comes_again_is_opened_anew() {
    let mut scene = one_line(|line| vec![line.clone(), line]);
    end_interval(&mut scene);
    end_interval(&mut scene);
    assert_eq!(states(&scene).len(), 2, "opened, closed");
    one_more(&mut scene, "/b", |line| vec![line.clone(), line]);
    assert_eq!(found(&mut scene), [("MW-006", 1)]);
    assert_eq!(states(&scene).len(), 4);
}

#[test]
fn what_was_found_within_an_interval_stands() {
    let mut scene = one_line(|line| vec![line.clone(), line]);
    // The scene's interval is an hour, and this was found in its first minute.
    scene.pass(Duration::from_secs(3_500));
    let now = scene.now;
    scene.feed(Input::Tick(now));
    one_more(&mut scene, "/b", |line| vec![line.clone(), line]);
    scene.pass(Duration::from_secs(200));
    let now = scene.now;
    scene.feed(Input::Tick(now));
    let open = |count| ("MW-006", FindingState::Open, count);
    assert_eq!(states(&scene), [open(1), open(2)]);
    assert_eq!(found(&mut scene), [("MW-006", 2)]);
}
