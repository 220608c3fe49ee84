//! One fault, one record.

use std::time::Duration;

use super::{APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, Sent, address, end, entry, get};
use crate::{
    config::{Direction, Expectation, PolicyRule},
    ledger::{Input, Line, ListenerEnd},
    record::{Body, Reason, Record, Side, Verdict},
};

/// Ten exchanges on one connection; `tamper` does what it wants to the lines.
fn keep_alive(distinct: bool, tamper: impl FnOnce(&mut Vec<Line>)) -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut lines = Vec::new();
    for number in 0..10 {
        let sent = if distinct {
            get(&format!("/{number}"))
        } else {
            get("/same")
        };
        let exchange = scene.exchange(&leg, number, &sent);
        lines.push(scene.line(Side::Client, &leg, &exchange, &sent));
        scene.pass(Duration::from_millis(5));
    }
    tamper(&mut lines);
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    scene
}

fn accusations(scene: &Scene) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
    let mut verdicts = scene.verdicts();
    verdicts.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    verdicts
}

fn shown_path(record: &Record) -> String {
    match &record.body {
        Body::Traffic(traffic) => traffic.attributes.shown.path.clone().unwrap(),
        other => panic!("expected traffic, got {other:?}"),
    }
}

#[test]
fn a_removed_line_is_found_in_the_middle_of_a_connection() {
    for distinct in [true, false] {
        let mut scene = keep_alive(distinct, |lines| {
            lines.remove(4);
        });
        assert_eq!(accusations(&scene), [(Verdict::Unlogged, (1, 0), vec![])]);
        if distinct {
            let record = scene
                .records
                .iter()
                .find(|r| r.verdict == Some(Verdict::Unlogged));
            assert_eq!(shown_path(record.unwrap()), "/4");
        }
        assert_eq!(scene.verdicts().len(), 11);
        scene.stop();
    }
}

#[test]
fn an_edited_line_is_found() {
    for distinct in [true, false] {
        let mut scene = keep_alive(distinct, |lines| {
            entry(&mut lines[4]).response_code = Some(404);
        });
        assert_eq!(accusations(&scene), [(Verdict::Mismatched, (1, 1), vec![])]);
        scene.stop();
        let mut scene = keep_alive(distinct, |lines| {
            entry(&mut lines[9]).path = Some(super::path("/elsewhere"));
        });
        assert_eq!(accusations(&scene), [(Verdict::Mismatched, (1, 1), vec![])]);
        let record = scene
            .records
            .iter()
            .find(|r| r.verdict == Some(Verdict::Mismatched))
            .unwrap();
        let Body::Traffic(traffic) = &record.body else {
            panic!("expected traffic")
        };
        assert_eq!(traffic.differences.len(), 1);
        assert_eq!(traffic.differences[0].field, "url.path");
        scene.stop();
    }
}

/// Identical requests without a pause, whose times tell them apart no more than their lines do.
fn burst(tamper: impl FnOnce(&mut Vec<Line>)) -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut lines = Vec::new();
    for number in 0..10 {
        let exchange = scene.exchange(&leg, number, &get("/same"));
        lines.push(scene.line(Side::Client, &leg, &exchange, &get("/same")));
        scene.now = exchange.time + Duration::from_micros(100);
    }
    tamper(&mut lines);
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    scene
}

#[test]
fn an_edited_line_in_a_burst_of_identical_requests_is_one_finding() {
    for at in [0, 4, 9] {
        let mut scene = burst(|lines| entry(&mut lines[at]).response_code = Some(404));
        assert_eq!(accusations(&scene), [(Verdict::Mismatched, (1, 1), vec![])]);
        scene.stop();
    }
}

#[test]
fn an_invented_line_in_a_burst_of_identical_requests_is_one_finding() {
    let mut scene = burst(|lines| {
        let mut forged = lines[4].clone();
        entry(&mut forged).path = Some(super::path("/invented"));
        entry(&mut forged).whole = None;
        lines.insert(4, forged);
    });
    assert_eq!(accusations(&scene), [(Verdict::Unseen, (0, 1), vec![])]);
    scene.stop();
}

#[test]
fn a_line_that_is_repeated_behind_an_edited_one_is_known_as_such() {
    let mut scene = burst(|lines| {
        entry(&mut lines[4]).response_code = Some(404);
        let again = lines[6].clone();
        lines.insert(7, again);
    });
    let mut found = accusations(&scene);
    found.sort();
    assert_eq!(
        found,
        [
            (Verdict::Mismatched, (1, 1), vec![]),
            (Verdict::Unseen, (0, 1), vec![Reason::Repeated])
        ]
    );
    scene.stop();
}

#[test]
fn a_removed_and_an_edited_line_are_two_findings() {
    let mut scene = keep_alive(true, |lines| {
        lines.remove(3);
        entry(&mut lines[3]).response_code = Some(500);
    });
    let mut found = accusations(&scene);
    found.sort();
    assert_eq!(
        found,
        [
            (Verdict::Mismatched, (1, 1), vec![]),
            (Verdict::Unlogged, (1, 0), vec![])
        ]
    );
    scene.stop();
}

#[test]
fn an_invented_line_is_unseen() {
    let mut scene = keep_alive(true, |lines| {
        let mut forged = lines[5].clone();
        entry(&mut forged).path = Some(super::path("/invented"));
        entry(&mut forged).whole = None;
        lines.insert(6, forged);
        let mut elsewhere = lines[5].clone();
        entry(&mut elsewhere).downstream_remote_address = Some(address("10.0.0.1", 9));
        entry(&mut elsewhere).whole = None;
        lines.insert(2, elsewhere);
    });
    assert_eq!(
        accusations(&scene),
        [
            (Verdict::Unseen, (0, 1), vec![]),
            (Verdict::Unseen, (0, 1), vec![])
        ]
    );
    scene.stop();
}

#[test]
fn a_repeated_line_is_unseen() {
    let mut scene = keep_alive(true, |lines| {
        let again = lines[5].clone();
        lines.insert(8, again);
    });
    assert_eq!(
        accusations(&scene),
        [(Verdict::Unseen, (0, 1), vec![Reason::Repeated])]
    );
    scene.stop();
}

#[test]
fn a_line_that_repeats_another_does_not_hide_a_removed_one() {
    let mut scene = keep_alive(false, |lines| {
        lines[6] = lines[5].clone();
    });
    let mut found = accusations(&scene);
    found.sort();
    assert_eq!(
        found,
        [
            (Verdict::Unlogged, (1, 0), vec![]),
            (Verdict::Unseen, (0, 1), vec![Reason::Repeated])
        ]
    );
    scene.stop();
}

#[test]
fn a_killed_proxy_takes_its_lines_with_it() {
    for (cookies, ended) in [
        (&[Some(15001), Some(15006)][..], true),
        (&[Some(15006)], false),
        (&[None, None], true),
        (&[None], false),
    ] {
        let mut scene = Scene::bare(Vec::new());
        scene.tell_pod();
        let time = scene.now;
        scene.feed(Input::Started { time });
        // Listeners without a cookie are older than the agent.
        if cookies[0].is_some() {
            scene.tell_listeners();
        }
        scene.pass(Duration::from_secs(1));
        scene.clean("/first");
        let keep_alive = scene.client_leg();
        scene.exchange(&keep_alive, 0, &get("/flushed"));
        scene.pass(Duration::from_millis(1500));
        scene.exchange(&keep_alive, 1, &get("/buffered"));
        scene.pass(Duration::from_millis(300));
        let time = scene.now;
        scene.feed(Input::Begun {
            connection: keep_alive.id,
            exchange: 2,
            stream: None,
            time,
        });
        scene.pass(Duration::from_millis(2));
        for cookie in cookies {
            let end = ListenerEnd {
                cookie: *cookie,
                time: scene.now,
                cgroup: PROXY_CGROUP,
                pid: PROXY_PID,
            };
            scene.feed(Input::ListenerClosed(end));
        }
        scene.pass(Duration::from_millis(2));
        let cut = super::exchange(keep_alive.id, 2, time, scene.now, &get("/cut"));
        scene.feed(Input::Ended(Box::new(cut)));
        scene.close(&keep_alive, 3, 3);
        scene.settle();
        let reasons = if ended {
            vec![Reason::ProxyKilled]
        } else {
            Vec::new()
        };
        assert_eq!(
            accusations(&scene),
            [
                (Verdict::Unlogged, (1, 0), vec![]),
                (Verdict::Unlogged, (1, 0), reasons.clone()),
                (Verdict::Unlogged, (1, 0), reasons),
            ],
            "{cookies:?}"
        );
        scene.stop();
    }
}

#[test]
fn an_edited_line_behind_x_forwarded_for_is_found() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let sent = Sent {
        forwarded: true,
        ..get("/x")
    };
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &sent);
    let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
    entry(&mut line).response_code = Some(201);
    scene.read(line);
    scene.settle();
    assert_eq!(accusations(&scene), [(Verdict::Mismatched, (1, 1), vec![])]);
    scene.stop();
}

#[test]
fn a_bypass_is_told_at_once_and_counted_once() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.99", 80));
    let bypass = scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    let verdicts = scene.records.iter().map(|record| record.verdict);
    assert!(
        verdicts.eq([None, Some(Verdict::Bypassed), None]),
        "and a finding"
    );
    assert!(scene.verdicts().is_empty(), "an open connection is no unit");
    scene.close(&bypass, 100, 100);
    assert_eq!(scene.verdicts(), [(Verdict::Bypassed, (1, 0), vec![])]);
    scene.stop();
}

#[test]
fn another_program_in_the_proxys_container_is_a_bypass() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.1", 5556), address("10.0.0.99", 80));
    let foreign = scene.connect(
        Some(end(PROXY_CGROUP, 999, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&foreign, 100, 100);
    let expected = (Verdict::Bypassed, (1, 0), vec![Reason::FromProxyContainer]);
    assert_eq!(scene.verdicts(), [expected]);
    scene.stop();
}

#[test]
fn policy_expects_what_it_names() {
    let rule = |expect| PolicyRule {
        direction: Some(Direction::Outbound),
        workload: Some("shop/*".parse().unwrap()),
        ..super::policy::any(expect)
    };
    let path = Some("/health*".parse().unwrap());
    let unlogged = PolicyRule {
        path,
        ..rule(Expectation::Unlogged)
    };
    let direct = PolicyRule {
        port: Some(80),
        ..rule(Expectation::Direct)
    };
    let mut scene = Scene::with_policy(vec![unlogged, direct]);
    scene.clean("/first");
    for path in ["/healthz", "/other"] {
        let leg = scene.client_leg();
        scene.exchange(&leg, 0, &get(path));
        scene.close(&leg, 1, 1);
    }
    let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.99", 80));
    let direct = scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&direct, 1, 1);
    scene.settle();
    let mut found = accusations(&scene);
    found.sort();
    assert_eq!(
        found,
        [
            (Verdict::Unlogged, (1, 0), vec![]),
            (Verdict::Outside, (1, 0), vec![Reason::Policy]),
            (Verdict::Outside, (1, 0), vec![Reason::Policy]),
        ]
    );
    scene.stop();
}
