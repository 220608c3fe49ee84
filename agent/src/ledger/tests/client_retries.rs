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
        let begun = self.begin(scene);
        scene.pass(BRIEF);
        self.end(scene, begun, 503)
    }

    /// An attempt begins: its number, and when.
    fn begin(&mut self, scene: &mut Scene) -> (u32, Timestamp) {
        let time = scene.now;
        match self {
            Self::Multiplexed(streams) => (streams.begin(scene), time),
            Self::Ordered(leg, count) => {
                let number = *count;
                *count += 1;
                scene.feed(Input::Begun {
                    connection: leg.id,
                    exchange: number,
                    stream: None,
                    time,
                });
                (number, time)
            }
        }
    }

    /// It ends with this status.
    fn end(&self, scene: &mut Scene, (number, time): (u32, Timestamp), status: u16) -> Exchange {
        match self {
            Self::Multiplexed(streams) => streams.end(scene, number, &attempt(status)),
            Self::Ordered(leg, _) => {
                let exchange = super::exchange(leg.id, number, time, scene.now, &attempt(status));
                scene.feed(Input::Ended(Box::new(exchange.clone())));
                exchange
            }
        }
    }

    fn line(&self, scene: &Scene, exchange: &Exchange, start: Timestamp) -> Line {
        let status = exchange.response.as_ref().and_then(|it| it.status);
        let sent = attempt(status.unwrap());
        let mut line = match self {
            Self::Multiplexed(streams) => streams.line(scene, exchange, &sent),
            Self::Ordered(leg, _) => scene.line(Side::Server, leg, exchange, &sent),
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

#[test]
fn a_shadow_whose_line_comes_first_takes_nothing_from_the_request() {
    for (mut scene, mut request) in scenes() {
        let start = scene.now;
        let mut shadow = Leg::Ordered(scene.server_leg(), 0);
        scene.pass(BRIEF);
        let began = request.begin(&mut scene);
        scene.pass(BRIEF);
        let beside = shadow.begin(&mut scene);
        scene.pass(Duration::from_millis(1));
        let first = request.end(&mut scene, began, 200);
        let second = shadow.end(&mut scene, beside, 200);
        let lines = [(&shadow, second), (&request, first)];
        let lines = lines.map(|(leg, exchange)| leg.line(&scene, &exchange, start));
        // A flush ends between them.
        for line in lines {
            scene.read(line);
            scene.pass(Duration::from_millis(100));
        }
        scene.settle();
        assert_eq!(found(&scene), vec![(Verdict::Matched, (1, 1), vec![]); 2]);
        scene.stop();
    }
}
