//! The wall clock is set, and nobody is accused for it.

use std::time::Duration;

use super::{Scene, UID, entry, get};
use crate::{
    ledger::Input,
    record::{Body, Lifecycle, Side, Verdict},
    timestamp::Timestamp,
    workload::{Owner, WorkloadFact},
};

/// Seconds by which the clock is set.
const STEPS: [f64; 10] = [
    3600.0, -3600.0, 60.0, -60.0, 5.0, -5.0, 1.5, -1.5, 0.01, -0.01,
];

impl Scene {
    #[expect(clippy::cast_possible_truncation, reason = "steps of hours")]
    fn set_clock(&mut self, seconds: f64) {
        let nanoseconds = (seconds * 1e9) as i64;
        self.now = Timestamp(self.now.0.saturating_add_signed(nanoseconds));
        self.feed(Input::ClockStep {
            time: self.now,
            nanoseconds,
        });
    }

    /// Capture and log are where the time is.
    fn keep_up(&mut self) {
        let now = self.now;
        self.feed(Input::CaptureProgress(now));
        self.feed(Input::LogProgress {
            pod_uid: UID.into(),
            read_until: now,
        });
        self.feed(Input::Tick(now));
    }
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.pass(Duration::from_secs(1));
    scene.keep_up();
    scene
}

fn only_matched(scene: &Scene, count: usize, step: f64) {
    let verdicts = scene.verdicts();
    let matched = verdicts.iter().all(|(v, ..)| *v == Verdict::Matched);
    assert!(matched && verdicts.len() == count, "{step} s: {verdicts:?}");
}

#[test]
fn what_waits_is_not_due_early() {
    for step in STEPS {
        let mut scene = scene();
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &get("/before"));
        let mut before = scene.line(Side::Client, &leg, &exchange, &get("/before"));
        before.time = exchange.end;
        scene.exchange(&leg, 1, &get("/removed before"));
        scene.keep_up();
        scene.set_clock(step);
        scene.pass(Duration::from_millis(10));
        scene.keep_up();
        let exchange = scene.exchange(&leg, 2, &get("/after"));
        let after = scene.line(Side::Client, &leg, &exchange, &get("/after"));
        scene.exchange(&leg, 3, &get("/removed after"));
        for _ in 0..3 {
            scene.pass(Duration::from_millis(300));
            scene.keep_up();
        }
        only_matched(&scene, 1, step);
        scene.read(before);
        scene.read(after);
        // One that was stamped before a step back lies ahead until that time comes again.
        scene.pass(Duration::from_millis(1_500));
        scene.keep_up();
        only_matched(&scene, 3, step);
        scene.settle();
        let mut verdicts = scene.verdicts();
        let missing = verdicts.split_off(3);
        let unlogged = |(verdict, ..): &(Verdict, _, _)| *verdict == Verdict::Unlogged;
        assert!(
            missing.len() == 2 && missing.iter().all(unlogged),
            "{step} s: {missing:?}"
        );
        scene.stop();
    }
}

#[test]
fn a_line_may_come_before_its_exchange_is_told() {
    for step in STEPS {
        let mut scene = scene();
        let leg = scene.client_leg();
        scene.pass(Duration::from_millis(100));
        scene.keep_up();
        scene.set_clock(step);
        scene.pass(Duration::from_millis(100));
        let time = scene.now;
        scene.pass(Duration::from_millis(3));
        let exchange = super::exchange(leg.id, 0, time, scene.now, &get("/early"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/early"));
        scene.read(line);
        scene.pass(Duration::from_millis(500));
        scene.keep_up();
        only_matched(&scene, 1, step);
        let connection = leg.id;
        scene.feed(Input::Begun {
            connection,
            exchange: 0,
            stream: None,
            time,
        });
        scene.feed(Input::Ended(Box::new(exchange)));
        only_matched(&scene, 2, step);
        scene.stop();
    }
}

#[test]
fn an_exchange_may_go_on_over_a_step() {
    for step in STEPS {
        let mut scene = scene();
        let leg = scene.client_leg();
        let began = scene.now;
        scene.feed(Input::Begun {
            connection: leg.id,
            exchange: 0,
            stream: None,
            time: began,
        });
        scene.pass(Duration::from_millis(700));
        scene.keep_up();
        scene.set_clock(step);
        scene.pass(Duration::from_millis(700));
        scene.keep_up();
        // Each of its times as the clock was, and the end the later of both messages' ends.
        let mut exchange = super::exchange(leg.id, 0, began, scene.now, &get("/long"));
        exchange.end = exchange.end.max(began);
        let mut line = scene.line(Side::Client, &leg, &exchange, &get("/long"));
        line.time = scene.now + Duration::from_millis(500);
        entry(&mut line).duration_milliseconds = Some(1400);
        scene.feed(Input::Ended(Box::new(exchange)));
        scene.pass(Duration::from_millis(900));
        scene.keep_up();
        only_matched(&scene, 1, step);
        scene.read(line);
        only_matched(&scene, 2, step);
        let Body::Traffic(traffic) = &scene.records.last().unwrap().body else {
            panic!("traffic")
        };
        let duration = traffic.duration.unwrap();
        assert!((1.3..1.5).contains(&duration), "{step} s: {duration}");
        scene.settle();
        scene.stop();
    }
}

#[test]
fn a_port_that_comes_again_belongs_to_its_time() {
    for step in STEPS {
        let mut scene = scene();
        let mut lines = Vec::new();
        for round in 0..6 {
            scene.next_id = 100 + round;
            let mut leg = scene.client_leg();
            // All have one source; each is told with an id of its own.
            leg.source = super::address("10.0.0.1", 45_000);
            scene.feed(Input::Opened(Box::new(leg.clone())));
            let sent = get(&format!("/{round}"));
            let exchange = scene.exchange(&leg, 0, &sent);
            let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
            line.time = exchange.end;
            lines.push(line);
            scene.close(&leg, 1, 1);
            scene.pass(Duration::from_millis(20));
            // The log is read in the middle and at the end.
            if round == 2 {
                scene.set_clock(step);
                lines.drain(..).for_each(|line| scene.read(line));
                scene.keep_up();
            }
        }
        for line in lines {
            scene.read(line);
        }
        scene.settle();
        only_matched(&scene, 7, step);
        scene.stop();
    }
}

#[test]
fn faults_away_from_the_step_are_found() {
    for step in STEPS {
        let mut scene = scene();
        scene.set_clock(step);
        for _ in 0..40 {
            scene.pass(Duration::from_millis(500));
            scene.keep_up();
        }
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &get("/a"));
        let mut edited = scene.line(Side::Client, &leg, &exchange, &get("/a"));
        entry(&mut edited).response_code = Some(500);
        scene.read(edited);
        scene.pass(Duration::from_secs(1));
        let exchange = scene.exchange(&leg, 1, &get("/b"));
        // It is of another time than it says.
        let mut moved = scene.line(Side::Client, &leg, &exchange, &get("/other"));
        let start = entry(&mut moved).start_time.unwrap();
        entry(&mut moved).start_time = Some(start - Duration::from_secs(5));
        entry(&mut moved).duration_milliseconds = Some(3);
        entry(&mut moved).downstream_remote_address = Some(super::address("10.0.0.1", 9));
        scene.read(moved);
        scene.settle();
        let mut found: Vec<Verdict> = scene.verdicts().iter().map(|(v, ..)| *v).collect();
        found.sort_unstable();
        let expected = [
            Verdict::Matched,
            Verdict::Mismatched,
            Verdict::Unlogged,
            Verdict::Unseen,
        ];
        assert_eq!(found, expected, "{step} s");
        scene.stop();
    }
}

#[test]
fn records_show_the_wall_clock() {
    let mut scene = scene();
    scene.set_clock(-3600.0);
    let told = scene.records.last().unwrap();
    assert_eq!(told.time, scene.now);
    let seconds = -3600.0;
    let lifecycle = Lifecycle::ClockStep { seconds };
    assert_eq!(told.body, Body::Lifecycle { lifecycle });
    scene.pass(Duration::from_secs(1));
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.pass(Duration::from_secs(1));
    scene.keep_up();
    scene.read(line);
    assert_eq!(scene.records.last().unwrap().time, exchange.time);
    scene.stop();
    let Body::Ledger(books) = &scene.records[scene.records.len() - 2].body else {
        panic!("the books")
    };
    assert_eq!(books.to, scene.now);
}

/// Whose ends the ledger has yet to be told.
#[test]
fn so_may_one_of_a_connection_that_waits() {
    for step in STEPS {
        let mut scene = scene();
        let mut leg = scene.client_leg();
        leg.id = 1_000;
        leg.source.set_port(46_000);
        if let Some(client) = &mut leg.client {
            (client.cgroup, client.local) = (77, leg.source);
        }
        scene.feed(Input::Opened(Box::new(leg.clone())));
        let began = scene.now;
        scene.begin(&leg, 0);
        scene.pass(Duration::from_millis(100));
        scene.begin(&leg, 1);
        scene.pass(Duration::from_millis(600));
        scene.keep_up();
        scene.set_clock(step);
        scene.pass(Duration::from_millis(700));
        scene.keep_up();
        let mut exchange = super::exchange(leg.id, 1, began, scene.now, &get("/long"));
        exchange.time = began + Duration::from_millis(100);
        exchange.end = exchange.end.max(exchange.time);
        scene.tell_ended(&[exchange]);
        let owner = Owner::Container {
            pod_uid: UID.into(),
            container_id: "c1".into(),
        };
        scene.feed(Input::Workload(WorkloadFact::Cgroup { id: 77, owner }));
        scene.pass(Duration::from_secs(60));
        scene.settle();
        let durations = scene
            .records
            .iter()
            .filter_map(|record| match &record.body {
                Body::Traffic(traffic) if record.verdict == Some(Verdict::Unlogged) => {
                    traffic.duration
                }
                _ => None,
            });
        let durations: Vec<f64> = durations.collect();
        assert!(
            matches!(durations[..], [duration] if (1.2..1.4).contains(&duration)),
            "{step} s: {durations:?}"
        );
        scene.stop();
    }
}
