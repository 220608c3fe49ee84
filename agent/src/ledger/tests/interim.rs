//! Lines that a proxy writes of what goes on, in formats that do not say so.

use std::time::Duration;

use super::{Scene, Sent, entry, exchange, fingerprint, get, path};
use crate::{
    http::Connection,
    ledger::{Input, Line},
    record::{Reason, Side, Verdict},
};

const INTERIM: (Verdict, (u64, u64), bool) = (Verdict::Matched, (0, 1), true);
const PAIR: (Verdict, (u64, u64), bool) = (Verdict::Matched, (1, 1), false);
const UNSEEN: (Verdict, (u64, u64), bool) = (Verdict::Unseen, (0, 1), false);

fn found(scene: &Scene) -> Vec<(Verdict, (u64, u64), bool)> {
    let verdicts = scene.verdicts().into_iter();
    verdicts
        .map(|(verdict, units, reasons)| (verdict, units, reasons.contains(&Reason::Repeated)))
        .collect()
}

fn sent() -> Sent {
    Sent {
        request_id: Some("an-id".to_owned()),
        bytes: 90,
        ..get("/long")
    }
}

/// The line as it was written after so long, with so much of the answer.
fn after(line: &Line, lasted: Duration, bytes: u64) -> Line {
    let mut line = line.clone();
    let fields = entry(&mut line);
    fields.duration_milliseconds = Some(u64::try_from(lasted.as_millis()).unwrap());
    fields.bytes_sent = Some(bytes);
    fields.whole = Some(fingerprint(&format!("{lasted:?} {bytes}")));
    line
}

/// The one that is written when a request begins.
fn of_the_begin(line: &Line) -> Line {
    let mut line = after(line, Duration::ZERO, 0);
    let fields = entry(&mut line);
    fields.response_code = Some(0);
    fields.response_code_details = None;
    line
}

/// A request of three seconds, and the line of its end.
fn long_request(scene: &mut Scene, side: Side, stream: Option<u32>) -> (Connection, Line) {
    let (leg, line, ended) = request_with_lines(scene, side, stream, &sent());
    scene.feed(ended);
    (leg, line)
}

/// A request of three seconds that has lines, the line of its end, and its end.
fn request_with_lines(
    scene: &mut Scene,
    side: Side,
    stream: Option<u32>,
    sent: &Sent,
) -> (Connection, Line, Input) {
    let leg = match side {
        Side::Server => scene.server_leg(),
        _ => scene.client_leg(),
    };
    let time = scene.now;
    scene.feed(Input::Begun {
        connection: leg.id,
        exchange: 0,
        stream,
        time,
    });
    let lasts = Duration::from_secs(3);
    let mut told = exchange(leg.id, 0, time, time + lasts, sent);
    told.stream = stream;
    let line = scene.line(side, &leg, &told, sent);
    let whole = after(&line, lasts, 90);
    for seconds in [1, 2] {
        scene.read(after(&line, Duration::from_secs(seconds), 30 * seconds));
    }
    scene.pass(lasts);
    (leg, whole, Input::Ended(Box::new(told)))
}

/// The same with X-Forwarded-For.
fn forwarded() -> Sent {
    Sent {
        forwarded: true,
        ..sent()
    }
}

#[test]
fn the_line_of_a_begin_is_no_forgery() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &sent());
    let line = scene.line(Side::Client, &leg, &exchange, &sent());
    scene.read(of_the_begin(&line));
    scene.read(after(&line, Duration::from_millis(3), 90));
    scene.settle();
    assert_eq!(found(&scene), [PAIR, INTERIM, PAIR]);
    scene.stop();
}

#[test]
fn lines_at_intervals_are_no_forgeries() {
    for side in [Side::Client, Side::Server] {
        for stream in [None, Some(1)] {
            let mut scene = Scene::new();
            scene.clean("/first");
            let (_, line) = long_request(&mut scene, side, stream);
            scene.read(line);
            scene.settle();
            let mut found = found(&scene);
            found.sort_unstable();
            assert_eq!(found, [INTERIM, INTERIM, PAIR, PAIR], "{side:?} {stream:?}");
            scene.stop();
        }
    }
}

#[test]
fn all_may_be_sent_before_the_last_line() {
    for side in [Side::Client, Side::Server] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let (_, line) = long_request(&mut scene, side, None);
        scene.read(line.clone());
        scene.read(after(&line, Duration::from_millis(3006), 90));
        scene.settle();
        let mut found = found(&scene);
        found.sort_unstable();
        let interim = [INTERIM; 3].into_iter();
        let expected: Vec<_> = interim.chain([PAIR; 2]).collect();
        assert_eq!(found, expected, "{side:?}");
        scene.stop();
    }
}

#[test]
fn the_last_two_may_be_the_same() {
    for (sent, stream) in [(sent(), None), (sent(), Some(1)), (forwarded(), None)] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let (_, line, ended) = request_with_lines(&mut scene, Side::Client, stream, &sent);
        scene.read(of_the_begin(&line));
        scene.feed(ended);
        scene.read(line.clone());
        scene.read(line);
        scene.settle();
        let mut found = found(&scene);
        found.sort_unstable();
        let interim = [INTERIM; 4].into_iter();
        let expected: Vec<_> = interim.chain([PAIR; 2]).collect();
        assert_eq!(found, expected, "{stream:?}");
        scene.stop();
    }
}

#[test]
fn behind_x_forwarded_for_they_are_none_either() {
    for stream in [None, Some(1)] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let (_, line, ended) = request_with_lines(&mut scene, Side::Client, stream, &forwarded());
        scene.read(of_the_begin(&line));
        // It goes on for longer than a line of anything else would wait.
        scene.pass(Duration::from_secs(30));
        assert_eq!(found(&scene), [PAIR], "{stream:?}");
        scene.feed(ended);
        scene.read(line);
        scene.settle();
        let expected = [PAIR, INTERIM, PAIR, INTERIM, INTERIM];
        assert_eq!(found(&scene), expected, "{stream:?}");
        scene.stop();
    }
}

#[test]
fn behind_x_forwarded_for_what_goes_on_at_the_end_excuses_its_lines() {
    let mut scene = Scene::new();
    scene.clean("/first");
    request_with_lines(&mut scene, Side::Client, None, &forwarded());
    scene.pass(Duration::from_secs(30));
    scene.stop();
    let verdicts = scene.verdicts();
    let excused = |(verdict, units, reasons): &&(Verdict, (u64, u64), Vec<Reason>)| {
        *verdict == Verdict::Unverifiable
            && *units == (0, 1)
            && reasons.contains(&Reason::AgentDown)
    };
    assert_eq!(verdicts.iter().filter(excused).count(), 2, "{verdicts:?}");
}

#[test]
fn behind_x_forwarded_for_a_forgery_waits_for_the_end_alone() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let (_, line, ended) = request_with_lines(&mut scene, Side::Client, None, &forwarded());
    let mut forged = after(&line, Duration::from_secs(1), 30);
    entry(&mut forged).path = Some(path("/other"));
    entry(&mut forged).whole = Some(fingerprint("forged"));
    scene.read(forged);
    scene.feed(ended);
    scene.read(line);
    scene.settle();
    assert!(found(&scene).contains(&UNSEEN), "{:?}", found(&scene));
    scene.stop();
}

#[test]
fn what_says_something_else_is_a_forgery() {
    let forgeries: [fn(&mut Line); 4] = [
        |line| entry(line).path = Some(path("/other")),
        |line| entry(line).request_id = Some(fingerprint("other")),
        |line| entry(line).response_code = Some(403),
        |line| entry(line).bytes_sent = Some(91),
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        let mut scene = Scene::new();
        scene.clean("/first");
        let (_, line) = long_request(&mut scene, Side::Client, None);
        scene.read(line.clone());
        let mut forged = line;
        entry(&mut forged).whole = Some(fingerprint("forged"));
        forge(&mut forged);
        scene.read(forged);
        scene.settle();
        assert!(found(&scene).contains(&UNSEEN), "{number}");
        scene.stop();
    }
}

#[test]
fn of_a_connection_the_last_line_counts() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let told = exchange(leg.id, 0, scene.now, scene.now, &get("/"));
    let line = |scene: &Scene, seconds: u64, bytes: u64| {
        let line = scene.line_of_the_whole(&leg, &told, bytes, bytes);
        after(&line, Duration::from_secs(seconds), bytes)
    };
    for seconds in 0..3 {
        scene.read(line(&scene, seconds, 10 * seconds));
    }
    scene.pass(Duration::from_secs(3));
    scene.close(&leg, 30, 30);
    // Until now the last that was written tells of an earlier moment.
    assert_eq!(found(&scene), [PAIR, INTERIM, INTERIM]);
    scene.read(line(&scene, 3, 30));
    assert_eq!(found(&scene), [PAIR, INTERIM, INTERIM, INTERIM, PAIR]);
    scene.settle();
    scene.stop();
}
