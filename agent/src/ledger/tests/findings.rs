//! Findings: opened once, told while they grow, closed when they stop.

use std::{sync::Arc, time::Duration};

use super::{Scene, UID, get};
use crate::{
    ledger::{Input, findings::MOST_OPEN},
    record::{Body, FindingBody, FindingKind, FindingState, Include, Kind, Severity, Side},
    workload::WorkloadFact,
};

pub(super) fn findings(scene: &Scene) -> Vec<&FindingBody> {
    let found = scene
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Finding(found) => {
                assert_eq!(record.kind, Kind::Finding);
                assert_eq!((record.verdict, record.units), (None, None));
                assert_eq!(found.workload.pod_uid.as_deref(), Some(UID));
                assert_eq!(found.workload.namespace.as_deref(), Some("shop"));
                assert_eq!(found.workload.pod.as_deref(), Some("a"));
                Some(&found.finding)
            }
            _ => None,
        });
    found.collect()
}

pub(super) fn states(scene: &Scene) -> Vec<(&'static str, FindingState, u64)> {
    let told = findings(scene).into_iter();
    told.map(|it| (it.id, it.state, it.count)).collect()
}

/// What was found and how often, by the last record of each finding: all are closed at the stop.
pub(super) fn found(scene: &mut Scene) -> Vec<(&'static str, u64)> {
    scene.stop();
    let mut last = std::collections::BTreeMap::new();
    for (id, state, count) in states(scene) {
        last.insert(id, (state, count));
    }
    let closed = |(state, count)| {
        assert_eq!(state, FindingState::Closed);
        count
    };
    let counts = last.into_iter().map(|(id, last)| (id, closed(last)));
    counts.collect()
}

fn unlogged(scene: &mut Scene) {
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/a"));
    scene.close(&leg, 1, 1);
    scene.settle();
}

pub(super) fn end_interval(scene: &mut Scene) {
    scene.pass(Duration::from_secs(3600));
    let now = scene.now;
    scene.feed(Input::Tick(now));
}

#[test]
fn logging_that_is_off_is_one_finding() {
    let mut scene = Scene::new();
    unlogged(&mut scene);
    unlogged(&mut scene);
    let opened = findings(&scene)[0];
    assert_eq!((opened.id, opened.severity), ("MW-001", Severity::High));
    assert_eq!(opened.records.len(), 1);
    end_interval(&mut scene);
    end_interval(&mut scene);
    assert_eq!(
        states(&scene),
        [
            ("MW-001", FindingState::Open, 1),
            ("MW-001", FindingState::Open, 2)
        ]
    );
    let named: Vec<_> = scene.records.iter().map(|record| &*record.id).collect();
    let records = &findings(&scene)[1].records;
    assert!(records.len() == 2 && records.iter().all(|id| named.contains(&id.as_str())));
    // A line: the log is on.
    scene.clean("/logged");
    end_interval(&mut scene);
    assert_eq!(states(&scene)[2], ("MW-001", FindingState::Closed, 2));
    end_interval(&mut scene);
    assert_eq!(states(&scene).len(), 3);
    scene.stop();
}

fn open(scene: &Scene) -> Vec<(FindingKind, u64)> {
    let mut open: Vec<_> = scene.ledger.open_findings().collect();
    assert!(open.is_empty() || open.len() == FindingKind::ALL.len());
    open.retain(|(_, count)| *count > 0);
    open
}

#[test]
fn what_is_open_is_closed_with_the_agent() {
    let mut scene = Scene::new();
    assert_eq!(open(&scene), []);
    unlogged(&mut scene);
    assert_eq!(open(&scene), [(FindingKind::LoggingOff, 1)]);
    scene.stop();
    let closed = ("MW-001", FindingState::Closed, 1);
    assert_eq!(states(&scene)[1], closed);
    let last = scene.records.iter().rev().take(2).map(|record| record.kind);
    assert!(last.eq([Kind::Lifecycle, Kind::Ledger]));
}

#[test]
fn what_was_quiet_for_an_interval_is_closed() {
    let mut scene = Scene::new();
    let kind = FindingKind::RawSocket;
    let uid = UID.into();
    scene.ledger.find(kind, Some(&uid), scene.now, None);
    scene.ledger.open_what_was_found();
    let (heard, interval) = (scene.ledger.captured_until, scene.ledger.settings.interval);
    scene
        .ledger
        .tell_findings(heard + interval - Duration::from_nanos(1));
    assert_eq!(open(&scene), [(kind, 1)]);
    scene.ledger.tell_findings(heard + interval);
    assert_eq!(open(&scene), []);
}

#[test]
fn of_pods_beyond_the_bound_nothing_is_opened() {
    let mut scene = Scene::new();
    let kind = FindingKind::RawSocket;
    let uids: Vec<Arc<str>> = (0..=MOST_OPEN).map(|pod| format!("{pod}").into()).collect();
    for uid in &uids {
        scene.ledger.find(kind, Some(uid), scene.now, None);
    }
    scene.ledger.open_what_was_found();
    assert_eq!(open(&scene), [(kind, MOST_OPEN as u64)]);
    // What is open still counts.
    scene.records.clear();
    for uid in [&uids[0], &uids[MOST_OPEN]] {
        scene.ledger.find(kind, Some(uid), scene.now, None);
    }
    end_interval(&mut scene);
    let bodies = scene.records.iter().map(|record| &record.body);
    let twice = bodies.filter_map(|body| match body {
        Body::Finding(found) if found.finding.count == 2 => found.workload.pod_uid.as_deref(),
        _ => None,
    });
    assert_eq!(twice.collect::<Vec<_>>(), ["0"]);
}

#[test]
fn who_observes_is_not_alarmed() {
    let mut settings = super::settings(Vec::new());
    settings.observe = true;
    let kinds = Some(vec![Kind::Http]);
    let include = Include {
        kinds,
        verdicts: None,
    };
    settings.sinks = vec![("sink".into(), include)];
    let mut scene = Scene::set_up(settings);
    scene.tell_pod();
    let time = scene.now;
    scene.feed(Input::Started { time });
    scene.tell_listeners();
    scene.pass(Duration::from_secs(1));
    unlogged(&mut scene);
    assert_eq!(scene.ledger.open_findings().count(), 0);
    scene.stop();
    let observed = ("MW-001", FindingState::Observed, 1);
    assert_eq!(states(&scene), [observed, observed]);
    let Body::Ledger(books) = &scene.records[scene.records.len() - 2].body else {
        panic!("the books")
    };
    // Two findings, and the record of the connection.
    assert_eq!(books.filtered["sink"], 3);
}

#[test]
fn exchanges_that_wait_for_the_first_http_line_are_told_of() {
    let mut scene = Scene::new();
    let server = scene.server_leg();
    let other = scene.exchange(&server, 0, &get("/"));
    let line = scene.line(Side::Server, &server, &other, &get("/"));
    scene.read(line);
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/waits"));
    for _ in 0..14 {
        scene.settle();
    }
    assert!(findings(&scene).is_empty());
    for _ in 0..4 {
        scene.settle();
    }
    assert_eq!(states(&scene), [("MW-002", FindingState::Open, 1)]);
    let line = scene.line(Side::Client, &leg, &exchange, &get("/waits"));
    scene.read(line);
    end_interval(&mut scene);
    assert_eq!(states(&scene)[1], ("MW-002", FindingState::Closed, 1));
    scene.stop();
}

#[test]
fn what_waits_goes_on_until_its_line_comes() {
    let mut scene = Scene::new();
    let server = scene.server_leg();
    let other = scene.exchange(&server, 0, &get("/"));
    let line = scene.line(Side::Server, &server, &other, &get("/"));
    scene.read(line);
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/waits"));
    for _ in 0..18 {
        scene.settle();
    }
    end_interval(&mut scene);
    end_interval(&mut scene);
    assert_eq!(states(&scene), [("MW-002", FindingState::Open, 1)]);
    scene.stop();
}

#[test]
fn with_its_pod_goes_what_goes_on() {
    let mut scene = Scene::new();
    unlogged(&mut scene);
    scene.feed(Input::Workload(WorkloadFact::PodGone { uid: UID.into() }));
    end_interval(&mut scene);
    let closed = ("MW-001", FindingState::Closed, 1);
    assert_eq!(states(&scene)[1..], [closed]);
    scene.stop();
}
