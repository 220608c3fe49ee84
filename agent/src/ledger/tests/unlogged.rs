//! Units without a line: removed ones, or silence.

use std::time::Duration;

use super::{
    Scene,
    findings::{findings, found, states},
    get,
};
use crate::{
    http::Connection,
    ledger::{Exchange, Input},
    record::Side,
};

/// Exchanges without their lines.
fn without_lines(scene: &mut Scene, count: u32) -> (Connection, Vec<Exchange>) {
    let leg = scene.client_leg();
    let exchanges = (0..count).map(|number| scene.exchange(&leg, number, &get("/a")));
    let exchanges = exchanges.collect();
    scene.close(&leg, 100, 200);
    scene.settle();
    (leg, exchanges)
}

/// Lets what is held become a finding if a line after it was read.
fn wait(scene: &mut Scene) {
    scene.settle();
    scene.settle();
}

#[test]
fn one_that_is_followed_by_a_line_is_missing() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 1);
    assert!(findings(&scene).is_empty(), "its line may be late");
    scene.clean("/later");
    wait(&mut scene);
    let opened = findings(&scene)[0];
    assert_eq!((opened.id, opened.count), ("MW-004", 1));
    // One of the two that were judged since.
    assert_eq!(opened.share, Some(0.5));
    assert_eq!(opened.records.len(), 1);
    assert_eq!(found(&mut scene), [("MW-004", 1)]);
}

#[test]
fn many_that_are_followed_by_a_line_are_missing() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 7);
    scene.clean("/later");
    wait(&mut scene);
    assert_eq!(found(&mut scene), [("MW-004", 7)]);
}

#[test]
fn five_with_nothing_after_them_are_silence() {
    for (count, expected) in [(4, ("MW-004", 4)), (5, ("MW-003", 5))] {
        let mut scene = Scene::new();
        scene.clean("/first");
        without_lines(&mut scene, count);
        assert!(findings(&scene).is_empty());
        wait(&mut scene);
        wait(&mut scene);
        assert_eq!(states(&scene).len(), 1);
        assert_eq!(found(&mut scene), [expected]);
    }
}

#[test]
fn what_the_stop_finds_held_is_found() {
    for (count, expected) in [(4, ("MW-004", 4)), (5, ("MW-003", 5))] {
        let mut scene = Scene::new();
        scene.clean("/first");
        without_lines(&mut scene, count);
        assert_eq!(found(&mut scene), [expected]);
    }
}

#[test]
fn silence_ends_with_the_next_line() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 6);
    wait(&mut scene);
    // Of these the end of the silence is known when they are found.
    without_lines(&mut scene, 2);
    scene.clean("/spoken");
    wait(&mut scene);
    assert_eq!(states(&scene).len(), 1);
    without_lines(&mut scene, 1);
    scene.clean("/last");
    wait(&mut scene);
    assert_eq!(found(&mut scene), [("MW-003", 8), ("MW-004", 1)]);
}

#[test]
fn a_proxy_that_is_killed_is_not_silent() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    for number in 0..6 {
        scene.exchange(&leg, number, &get("/a"));
    }
    let time = scene.now;
    for port in [15001, 15006] {
        scene.feed(Input::ListenerClosed(crate::ledger::ListenerEnd {
            cookie: Some(port),
            time,
            cgroup: super::PROXY_CGROUP,
            pid: super::PROXY_PID,
        }));
    }
    scene.close(&leg, 100, 200);
    scene.settle();
    assert_eq!(found(&mut scene), [("MW-004", 6)]);
}

#[test]
fn a_late_line_takes_it_back() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/late"));
    scene.pass(Duration::from_secs(4));
    let now = scene.now;
    scene.capture_until(now);
    scene.read_log_until(now);
    scene.feed(Input::Tick(now));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/late"));
    scene.read(line);
    scene.close(&leg, 100, 200);
    wait(&mut scene);
    assert_eq!(scene.verdicts().len(), 3, "accused, and revised");
    assert_eq!(found(&mut scene), []);
}

#[test]
fn a_line_that_is_later_still_takes_it_out_of_the_finding() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let late = scene.exchange(&leg, 0, &get("/late"));
    scene.exchange(&leg, 1, &get("/never"));
    scene.settle();
    scene.clean("/after");
    wait(&mut scene);
    assert_eq!(findings(&scene).len(), 1);
    let line = scene.line(Side::Client, &leg, &late, &get("/late"));
    scene.read(line);
    scene.close(&leg, 100, 200);
    wait(&mut scene);
    assert_eq!(found(&mut scene), [("MW-004", 1)]);
    let named = &findings(&scene).last().unwrap().records;
    let named: Vec<_> = scene
        .records
        .iter()
        .filter(|record| named.contains(&record.id.to_string()))
        .map(|record| serde_json::to_value(record).unwrap())
        .collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["attributes"]["url.path"], "/never");
}

#[test]
fn a_line_of_what_began_early_and_ended_late_ends_no_silence_before() {
    for (lasted, expected) in [(0, "MW-003"), (3_600_000, "MW-004")] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        let long = scene.exchange(&leg, 0, &get("/long"));
        without_lines(&mut scene, 6);
        let mut line = scene.line(Side::Client, &leg, &long, &get("/long"));
        super::entry(&mut line).duration_milliseconds = Some(lasted);
        scene.read(line);
        wait(&mut scene);
        assert_eq!(found(&mut scene), [(expected, 6)]);
    }
}

#[test]
fn a_line_of_what_ended_with_the_last_ends_no_silence() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let [mut first, mut second] = [(0, "/first"), (1, "/second")].map(|(number, path)| {
        let exchange = scene.exchange(&leg, number, &get(path));
        scene.line(Side::Client, &leg, &exchange, &get(path))
    });
    // Both say that they ended where the second began.
    let end = super::entry(&mut second).start_time;
    for line in [&mut first, &mut second] {
        let entry = super::entry(line);
        (entry.start_time, entry.duration_milliseconds) = (end, Some(0));
    }
    scene.read(first);
    without_lines(&mut scene, 5);
    wait(&mut scene);
    scene.read(second);
    without_lines(&mut scene, 2);
    wait(&mut scene);
    // The second itself had no line for so long.
    assert_eq!(found(&mut scene), [("MW-003", 1 + 5 + 2)]);
}

#[test]
fn a_second_silence_is_told_like_the_first() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 5);
    wait(&mut scene);
    scene.clean("/spoken");
    wait(&mut scene);
    without_lines(&mut scene, 6);
    wait(&mut scene);
    assert_eq!(found(&mut scene), [("MW-003", 11)]);
}

#[test]
fn a_second_silence_may_begin_while_the_first_is_not_all_told() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 5);
    wait(&mut scene);
    without_lines(&mut scene, 1);
    scene.clean("/spoken");
    without_lines(&mut scene, 6);
    wait(&mut scene);
    assert_eq!(found(&mut scene), [("MW-003", 12)]);
}

#[test]
fn the_share_is_of_what_went_through_the_sidecar() {
    let mut scene = Scene::new();
    scene.clean("/first");
    without_lines(&mut scene, 1);
    let (source, to) = (
        super::address("10.0.0.1", 7),
        super::address("10.0.0.99", 80),
    );
    let app = super::end(super::APP_CGROUP, super::APP_PID, source, "10.0.0.99:80");
    let bypass = scene.connect(Some(app), None, (source, to), Some(to));
    scene.close(&bypass, 1, 1);
    let unused = scene.client_leg();
    scene.close(&unused, 0, 0);
    scene.clean("/later");
    wait(&mut scene);
    let missing = findings(&scene);
    let missing = missing.iter().find(|found| found.id == "MW-004").unwrap();
    assert_eq!(missing.share, Some(0.5));
    scene.stop();
}

#[test]
fn more_than_are_held_are_found_at_once() {
    let mut scene = Scene::new();
    scene.clean("/first");
    for count in [4096, 1] {
        assert!(findings(&scene).is_empty());
        without_lines(&mut scene, count);
    }
    assert_eq!(findings(&scene)[0].id, "MW-003");
    scene.stop();
}
