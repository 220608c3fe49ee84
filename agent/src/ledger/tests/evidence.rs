//! Each verdict names what it rests on.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{APP_CGROUP, APP_PID, Scene, UID, address, end, entry, get};
use crate::{
    http::Gap,
    ledger::{
        Input, Line,
        evidence::{Evidence, Misfit, Subject},
    },
    record::{Record, Side, Verdict},
};

/// Five exchanges on one connection, a path each; `tamper` does what it wants to the lines.
fn five(tamper: impl FnOnce(&mut Vec<Line>)) -> Scene {
    let mut scene = five_pending(tamper);
    scene.settle();
    scene
}

/// The same before anything is due.
fn five_pending(tamper: impl FnOnce(&mut Vec<Line>)) -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut lines = Vec::new();
    for number in 0..5 {
        let sent = get(&format!("/{number}"));
        let exchange = scene.exchange(&leg, number, &sent);
        let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
        line.offset = 1000 + 100 * u64::from(number);
        Arc::make_mut(&mut entry(&mut line).shown).path = Some(sent.path);
        lines.push(line);
        scene.pass(Duration::from_millis(5));
    }
    tamper(&mut lines);
    for line in lines {
        scene.read(line);
    }
    scene
}

/// The only record of a verdict, and its evidence.
fn only(scene: &Scene, verdict: Verdict) -> (&Record, &Evidence) {
    let mut found = scene
        .records
        .iter()
        .filter(|record| record.verdict == Some(verdict));
    let (Some(record), None) = (found.next(), found.next()) else {
        panic!("expected one {verdict:?} in {:?}", scene.verdicts());
    };
    (record, &scene.evidence[&record.sequence])
}

/// The record of the exchange with this number on the scene's second connection.
fn matched(scene: &Scene, path: &str) -> String {
    let has_path = |record: &&Record| {
        serde_json::to_value(record).unwrap()["attributes"]["url.path"] == json!(path)
    };
    scene.records.iter().find(has_path).unwrap().id.to_string()
}

#[test]
fn a_missing_line_names_the_window_and_its_neighbours() {
    let scene = five(|lines| {
        lines.remove(2);
    });
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    let connection = evidence.connection.as_ref().unwrap();
    assert_eq!(
        connection.asked,
        Some((
            address("10.0.0.1", 40_002),
            "10.0.0.9:8080".parse().unwrap()
        ))
    );
    assert_eq!(
        connection.sent,
        (
            address("10.0.0.1", 40_002),
            "127.0.0.1:15001".parse().unwrap()
        )
    );
    assert_eq!(connection.client.as_ref().unwrap().role, "app");
    assert_eq!(connection.server.as_ref().unwrap().role, "proxy");

    let log = evidence.log.as_ref().unwrap();
    assert!(log.lines_ever && log.holes.is_empty());
    assert!(log.read_until.unwrap() > log.to);
    assert_eq!(log.end.as_ref().unwrap().offset, 1500);
    assert_eq!(log.begin.as_ref().unwrap().offset, 0);

    let pairs: Vec<_> = evidence
        .candidates
        .iter()
        .map(
            |candidate| match (&candidate.subject, &candidate.misfits[..]) {
                (Subject::Pair { number, offset, .. }, [Misfit::Paired { record }]) => {
                    (*number, *offset, record.clone())
                }
                other => panic!("expected a pair, got {other:?}"),
            },
        )
        .collect();
    let expected = [
        (1, 1100, "/1"),
        (3, 1300, "/3"),
        (0, 1000, "/0"),
        (4, 1400, "/4"),
    ]
    .map(|(number, offset, path)| (number, offset, matched(&scene, path)));
    assert_eq!(pairs, expected);
}

#[test]
fn an_edited_line_names_the_field_with_both_values() {
    let scene = five(|lines| entry(&mut lines[2]).response_code = Some(404));
    let (_, evidence) = only(&scene, Verdict::Mismatched);
    let candidate = &evidence.candidates[0];
    assert!(
        matches!(&candidate.subject, Subject::Line { place, what, .. }
            if place.offset == 1200 && what.as_deref() == Some("GET /2 404")),
        "{candidate:?}"
    );
    assert_eq!(
        candidate.misfits,
        [Misfit::Differs {
            field: "http.response.status_code".into(),
            kernel: json!(200),
            log: json!(404),
        }]
    );
}

#[test]
fn an_invented_line_names_the_exchanges_of_its_connection() {
    let scene = five(|lines| {
        let mut forged = lines[2].clone();
        forged.offset = 9000;
        entry(&mut forged).path = Some(super::path("/invented"));
        entry(&mut forged).whole = None;
        lines.insert(3, forged);
    });
    let (_, evidence) = only(&scene, Verdict::Unseen);
    assert!(evidence.connection.is_some());
    assert!(
        matches!(
            evidence.candidates[0].subject,
            Subject::Pair { number: 2, .. }
        ),
        "{evidence:?}"
    );
    let record = matched(&scene, "/2");
    assert_eq!(evidence.candidates[0].misfits, [Misfit::Paired { record }]);
}

#[test]
fn a_repeated_line_names_the_pair_of_its_first() {
    let scene = five(|lines| {
        let mut again = lines[2].clone();
        again.offset = 9000;
        lines.insert(3, again);
    });
    let (_, evidence) = only(&scene, Verdict::Unseen);
    let record = matched(&scene, "/2");
    assert!(
        evidence.candidates.iter().any(|candidate| candidate.misfits
            == [Misfit::Repeated {
                record: record.clone()
            }]),
        "{evidence:?}"
    );
}

#[test]
fn a_line_that_was_moved_to_another_connection_is_named_by_the_exchange_that_misses_it() {
    let mut scene = five_pending(|lines| {
        entry(&mut lines[2]).downstream_remote_address = Some(address("10.0.0.1", 9));
    });
    scene.pass(Duration::from_secs(5));
    let now = scene.now;
    scene.feed(Input::CaptureProgress(now));
    scene.feed(Input::Tick(now));
    scene.settle();
    let (unseen, _) = only(&scene, Verdict::Unseen);
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    let moved = evidence
        .candidates
        .iter()
        .find(|candidate| matches!(candidate.subject, Subject::Line { .. }))
        .unwrap();
    assert_eq!(
        moved.misfits,
        [
            Misfit::AnotherConnection {
                source: Some(address("10.0.0.1", 9))
            },
            Misfit::Judged {
                record: unseen.id.to_string()
            },
        ]
    );
}

#[test]
fn a_line_of_another_time_names_the_connection_that_had_its_address() {
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.pass(Duration::from_secs(60));
    let leg = scene.client_leg();
    let sent = get("/x");
    let exchange = scene.exchange(&leg, 0, &sent);
    let honest = scene.line(Side::Client, &leg, &exchange, &sent);
    let mut early = honest.clone();
    early.time = early.time - Duration::from_secs(20);
    entry(&mut early).start_time = Some(leg.time - Duration::from_secs(20));
    scene.read(early);
    scene.read(honest);
    scene.settle();
    let (_, evidence) = only(&scene, Verdict::Unseen);
    let [candidate] = &evidence.candidates[..] else {
        panic!("{evidence:?}")
    };
    assert_eq!(
        candidate.subject,
        Subject::Connection {
            source: leg.source,
            destination: leg.destination,
            opened: leg.time,
            closed: None,
        }
    );
    assert_eq!(
        candidate.misfits,
        [Misfit::Time {
            seconds_after_begin: -20.0
        }]
    );
}

#[test]
fn a_bypass_has_both_ends_and_no_log() {
    let mut scene = Scene::new();
    let source = address("10.0.0.1", 45_000);
    let destination = "10.0.0.99:80".parse().unwrap();
    let client = end(APP_CGROUP, APP_PID, source, "10.0.0.99:80");
    let connection = scene.connect(Some(client), None, (source, destination), Some(destination));
    scene.close(&connection, 10, 10);
    scene.settle();
    let bypassed = scene
        .records
        .iter()
        .filter(|r| r.verdict == Some(Verdict::Bypassed));
    let bypassed: Vec<_> = bypassed
        .map(|record| &scene.evidence[&record.sequence])
        .collect();
    assert_eq!(bypassed.len(), 2);
    for evidence in &bypassed {
        let connection = evidence.connection.as_ref().unwrap();
        assert_eq!(connection.client.as_ref().unwrap().role, "app");
        assert_eq!(connection.server, None);
        assert_eq!(evidence.log, None);
    }
    let closed = |evidence: &Evidence| evidence.connection.as_ref().unwrap().closed;
    assert!(closed(bypassed[0]).is_none() && closed(bypassed[1]).is_some());
}

#[test]
fn a_loss_is_named_on_its_connection() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    let (connection, exchanges, cause) = (leg.id, 3, Gap::RingLost);
    scene.feed(Input::Lost {
        connection,
        exchanges,
        time,
        cause,
    });
    scene.close(&leg, 100, 100);
    scene.settle();
    let record = scene
        .records
        .iter()
        .find(|record| record.units.is_some_and(|units| units.observed == 3))
        .unwrap();
    let told = serde_json::to_value(record).unwrap();
    assert_eq!(told["attributes"]["server.port"], 8080);
    let evidence = &scene.evidence[&record.sequence];
    assert_eq!(evidence.losses.len(), 1);
    assert_eq!(
        (evidence.losses[0].cause, evidence.losses[0].heads),
        (Gap::RingLost, Some(3))
    );
}

#[test]
fn a_hole_in_the_log_is_named() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/x"));
    scene.feed(Input::Line(Box::new(Line {
        pod_uid: UID.into(),
        file: "0.log".into(),
        offset: 5,
        length: 0,
        time: scene.now + Duration::from_millis(100),
        content: crate::ledger::LineContent::Hole,
        sensitive: Vec::new(),
    })));
    scene.settle();
    let (_, evidence) = only(&scene, Verdict::Unverifiable);
    assert_eq!(evidence.log.as_ref().unwrap().holes.len(), 1);
}

#[test]
fn evidence_survives_its_encoding() {
    let scene = five(|lines| {
        lines.remove(2);
        entry(&mut lines[2]).response_code = Some(500);
    });
    for evidence in scene.evidence.values() {
        let text = serde_json::to_string(evidence).unwrap();
        let again: Evidence = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}

#[test]
fn nobody_who_does_not_ask_is_told() {
    let mut scene = Scene::bare(Vec::new());
    scene.ledger = crate::ledger::Ledger::new(scene.ledger.settings.clone());
    let time = scene.now;
    scene
        .ledger
        .handle(Input::Started { time }, &mut Vec::new());
    scene.ledger.handle(Input::Stopped(time), &mut Vec::new());
    assert!(scene.ledger.take_evidence().is_empty());
}

#[test]
fn times_are_those_of_the_wall_clock() {
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.settle();
    scene.pass(Duration::from_secs(3600));
    let (time, nanoseconds) = (scene.now, 3_580_000_000_000);
    scene.feed(Input::ClockStep { time, nanoseconds });
    scene.pass(Duration::from_secs(30));
    scene.feed(Input::CaptureProgress(scene.now));
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/x"));
    scene.settle();
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    assert_eq!(evidence.connection.as_ref().unwrap().opened, leg.time);
    assert_eq!(evidence.log.as_ref().unwrap().from, exchange.time);
    assert!(evidence.captured_until >= scene.now);
}

#[test]
fn a_line_that_waits_is_named_with_all_that_does_not_fit() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut sent = get("/a");
    sent.request_id = Some("r1".into());
    let exchange = scene.exchange(&leg, 0, &sent);
    let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
    // It names another connection, and came so late that the exchange does not wait for it.
    line.time = line.time + Duration::from_secs(60);
    let fields = entry(&mut line);
    let start = exchange.time + Duration::from_secs(30);
    (fields.start_time, fields.response_code) = (Some(start), Some(404));
    fields.request_id = Some(super::fingerprint("r2"));
    let source = Some(address("10.0.0.1", 9));
    fields.downstream_remote_address = source;
    scene.read(line.clone());
    let mut unreadable = line.clone();
    unreadable.content = crate::ledger::LineContent::Unknown;
    scene.read(unreadable);
    scene.read_log_until(exchange.end + Duration::from_secs(3));
    let evidence = scene.evidence.values().next().unwrap();
    let misfits: Vec<_> = evidence.candidates.iter().map(|it| &it.misfits).collect();
    let seconds_after_begin = 30.0;
    let differs = Misfit::Differs {
        field: "http.response.status_code".into(),
        kernel: json!(200),
        log: json!(404),
    };
    let of_line = vec![
        Misfit::AnotherConnection { source },
        Misfit::RequestId,
        Misfit::Time {
            seconds_after_begin,
        },
        differs,
    ];
    assert!(misfits.contains(&&of_line), "{misfits:?}");
    assert!(misfits.contains(&&vec![Misfit::Unreadable]), "{misfits:?}");
}

#[test]
fn a_connection_without_a_line_names_what_its_log_has() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.close(&leg, 70, 90);
    let mut stray = leg.clone();
    stray.source.set_port(9);
    let nothing = super::exchange(leg.id, 0, scene.now, scene.now, &get("/"));
    let line = scene.line_of_the_whole(&stray, &nothing, 70, 90);
    scene.read(line);
    let due = scene.now + Duration::from_secs(3);
    scene.read_log_until(due);
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    let [candidate] = &evidence.candidates[..] else {
        panic!("{evidence:?}")
    };
    let source = Some(stray.source);
    assert_eq!(candidate.misfits, [Misfit::AnotherConnection { source }]);
    let log = evidence.log.as_ref().unwrap();
    assert_eq!((log.from, log.to), (leg.time, due));
}

#[test]
fn the_window_is_the_time_in_which_the_line_was_due() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/x"));
    scene.settle();
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    let log = evidence.log.as_ref().unwrap();
    let due = exchange.end + Duration::from_secs(3);
    assert_eq!((log.from, log.to), (exchange.time, due));
}

#[test]
fn further_candidates_are_counted() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/x"));
    for number in 0..20_u64 {
        let mut line = scene.line(Side::Client, &leg, &exchange, &get("/other"));
        line.time = line.time + Duration::from_secs(60 + number);
        entry(&mut line).start_time = Some(exchange.time + Duration::from_secs(60 + number));
        entry(&mut line).whole = None;
        entry(&mut line).downstream_remote_address = Some(address("10.0.0.1", 9));
        scene.read(line);
    }
    scene.read_log_until(exchange.end + Duration::from_secs(3));
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    assert_eq!(evidence.candidates.len(), 8);
    assert_eq!(evidence.further_candidates, 12);
}

#[test]
fn a_surplus_line_may_be_that_of_any_exchange_without_one() {
    let mut scene = five_pending(|lines| drop(lines.remove(2)));
    scene.settle();
    let (removed, _) = only(&scene, Verdict::Unlogged);
    let record = removed.id.to_string();
    // The connection of the five.
    let mut leg = scene.client_leg();
    (leg.id, leg.source) = (2, address("10.0.0.1", 40_002));
    let forged = super::exchange(2, 6, scene.now, scene.now, &get("/forged"));
    let line = scene.line(Side::Client, &leg, &forged, &get("/forged"));
    scene.read(line);
    scene.settle();
    scene.close(&leg, 1, 1);
    scene.settle();
    let (_, evidence) = only(&scene, Verdict::Unseen);
    let exchanges = evidence.candidates.iter().filter_map(|candidate| {
        let judged = candidate.misfits.contains(&Misfit::Judged {
            record: record.clone(),
        });
        match candidate.subject {
            Subject::Exchange { number, .. } => Some((number, judged)),
            _ => None,
        }
    });
    let exchanges: Vec<_> = exchanges.collect();
    assert_eq!(exchanges, [(2, true)]);
}

#[test]
fn a_line_behind_x_forwarded_for_that_waits_may_be_that_of_any_exchange() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/x"));
    let mut sent = get("/other");
    sent.forwarded = true;
    let other = super::exchange(leg.id, 1, exchange.time, exchange.end, &sent);
    let line = scene.line(Side::Client, &leg, &other, &sent);
    scene.read(line);
    scene.capture_until(exchange.end + Duration::from_millis(1));
    scene.read_log_until(exchange.end + Duration::from_secs(60));
    let (_, evidence) = only(&scene, Verdict::Unlogged);
    let is_line = |subject: &Subject| matches!(subject, Subject::Line { .. });
    let found = evidence.candidates.iter();
    assert_eq!(found.filter(|it| is_line(&it.subject)).count(), 1);
}
