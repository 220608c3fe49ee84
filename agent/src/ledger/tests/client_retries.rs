//! Several attempts of a client's sidecar: the server's has a line for each.

use std::time::Duration;

use super::{Scene, entry, get, multiplexed::Streams, retries::attempt};
use crate::{
    http::Connection,
    ledger::{Exchange, Input, Line},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

const BRIEF: Duration = Duration::from_micros(300);

/// One connection of a server, over HTTP/1 or HTTP/2.
enum Leg {
    Ordered(Connection, u32),
    Multiplexed(Streams),
}

/// A scene in which what is missing is missed, and the two kinds of connections.
fn scenes() -> [(Scene, Leg); 2] {
    [false, true].map(|multiplexed| {
        let mut scene = Scene::new();
        let first = scene.server_leg();
        let exchange = scene.exchange(&first, 0, &get("/first"));
        let line = scene.line(Side::Server, &first, &exchange, &get("/first"));
        scene.read(line);
        let leg = match multiplexed {
            true => Leg::Multiplexed(Streams::of_a_server(&mut scene)),
            false => Leg::Ordered(scene.server_leg(), 0),
        };
        (scene, leg)
    })
}

impl Leg {
    /// An attempt that fails at once.
    fn fail(&mut self, scene: &mut Scene) -> Exchange {
        match self {
            Self::Multiplexed(streams) => {
                let number = streams.begin(scene);
                scene.pass(BRIEF);
                streams.end(scene, number, &attempt(503))
            }
            Self::Ordered(leg, count) => {
                let (begun, number) = (scene.now, *count);
                *count += 1;
                scene.feed(Input::Begun {
                    connection: leg.id,
                    exchange: number,
                    stream: None,
                    time: begun,
                });
                scene.pass(BRIEF);
                let exchange = super::exchange(leg.id, number, begun, scene.now, &attempt(503));
                scene.feed(Input::Ended(Box::new(exchange.clone())));
                exchange
            }
        }
    }

    fn line(&self, scene: &Scene, exchange: &Exchange, start: Timestamp) -> Line {
        let mut line = match self {
            Self::Multiplexed(streams) => streams.line(scene, exchange, &attempt(503)),
            Self::Ordered(leg, _) => scene.line(Side::Server, leg, exchange, &attempt(503)),
        };
        let said = entry(&mut line);
        said.start_time = Some(Timestamp(start.0 / 1_000_000 * 1_000_000));
        said.duration_milliseconds =
            Some(u64::try_from(scene.now.since(start).as_millis()).unwrap());
        line
    }
}

fn found(scene: &Scene) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
    let mut found = scene.verdicts().split_off(1);
    found.sort();
    found
}

#[test]
fn attempts_within_a_millisecond_have_their_own_lines() {
    for (mut scene, mut leg) in scenes() {
        let mut lines = Vec::new();
        for _ in 0..4 {
            let start = scene.now;
            scene.pass(Duration::from_micros(50));
            let exchange = leg.fail(&mut scene);
            lines.push(leg.line(&scene, &exchange, start));
            scene.pass(BRIEF);
        }
        // All in one flush.
        for line in lines {
            scene.read(line);
        }
        scene.settle();
        assert_eq!(found(&scene), vec![(Verdict::Matched, (1, 1), vec![]); 4]);
        scene.stop();
    }
}

#[test]
fn one_line_that_says_so_covers_attempts_that_are_alike() {
    for (mut scene, mut leg) in scenes() {
        let start = scene.now;
        leg.fail(&mut scene);
        scene.pass(Duration::from_millis(2));
        leg.fail(&mut scene);
        scene.pass(Duration::from_millis(2));
        let last = leg.fail(&mut scene);
        let mut line = leg.line(&scene, &last, start);
        entry(&mut line).response_flags = Some("URX".into());
        scene.read(line);
        scene.settle();
        let retried = vec![Reason::Retried];
        let expected = [
            (Verdict::Matched, (1, 0), retried.clone()),
            (Verdict::Matched, (1, 0), retried.clone()),
            (Verdict::Matched, (1, 1), retried),
        ];
        assert_eq!(found(&scene), expected);
        scene.stop();
    }
}

#[test]
fn one_line_that_does_not_say_so_is_asked_once_no_other_came() {
    for (mut scene, mut leg) in scenes() {
        let start = scene.now;
        let first = leg.fail(&mut scene);
        scene.pass(Duration::from_millis(2));
        leg.fail(&mut scene);
        let line = leg.line(&scene, &first, start);
        scene.read(line);
        assert_eq!(found(&scene), [(Verdict::Matched, (1, 1), vec![])]);
        scene.settle();
        let expected = [
            (Verdict::Matched, (1, 0), vec![Reason::Retried]),
            (Verdict::Matched, (1, 1), vec![]),
        ];
        assert_eq!(found(&scene), expected);
        scene.stop();
    }
}

#[test]
fn a_line_that_seems_a_copy_keeps_its_attempt() {
    for (mut scene, mut leg) in scenes() {
        let start = scene.now;
        let first = leg.fail(&mut scene);
        let line = leg.line(&scene, &first, start);
        let second = leg.fail(&mut scene);
        // Both began in one millisecond.
        let mut alike = leg.line(&scene, &second, start);
        entry(&mut alike).duration_milliseconds = Some(0);
        let third = leg.fail(&mut scene);
        let last = leg.line(&scene, &third, start);
        for line in [line, alike, last] {
            scene.read(line);
        }
        scene.settle();
        assert_eq!(found(&scene), vec![(Verdict::Matched, (1, 1), vec![]); 3]);
        scene.stop();
    }
}
