//! Lines that are written twice: by every sink of a log, or by somebody.

use std::{sync::Arc, time::Duration};

use super::{Scene, Sent, UID, address, end, entry, get};
use crate::{
    ledger::{Exchange, Input, Line},
    record::{Reason, Side, Verdict},
};

const COPY: (Verdict, (u64, u64)) = (Verdict::Matched, (0, 1));
const PAIR: (Verdict, (u64, u64)) = (Verdict::Matched, (1, 1));

/// The line in another format, which lacks some fields and has others.
fn in_another_format(line: &Line) -> Line {
    let mut other = line.clone();
    let fields = entry(&mut other);
    fields.response_code_details = None;
    fields.bytes_sent = None;
    fields.authority = Some(super::fingerprint("host"));
    fields.duration_milliseconds = Some(3);
    fields.whole = fields
        .whole
        .map(|_| super::fingerprint(&format!("{:?}", line.offset)));
    other
}

fn same(line: &Line) -> Line {
    line.clone()
}

fn read(scene: &mut Scene, mut line: Line, offset: u64) {
    line.offset = offset;
    Arc::make_mut(&mut entry(&mut line).shown).path = None;
    scene.read(line);
}

fn found(scene: &Scene) -> Vec<(Verdict, (u64, u64), bool)> {
    let verdicts = scene.verdicts();
    let found = verdicts.into_iter();
    let mut found: Vec<_> = found
        .map(|(verdict, units, reasons)| (verdict, units, reasons.contains(&Reason::Repeated)))
        .collect();
    found.sort_unstable();
    found
}

fn keep_up(scene: &mut Scene) {
    let now = scene.now;
    scene.feed(Input::CaptureProgress(now));
    scene.feed(Input::LogProgress {
        pod_uid: UID.into(),
        read_until: now,
    });
    scene.feed(Input::Tick(now));
}

#[test]
fn two_sinks_write_every_line_twice() {
    for copy in [same, in_another_format] {
        for pause in [Duration::from_micros(100), Duration::from_secs(30)] {
            let mut scene = Scene::new();
            let leg = scene.client_leg();
            for number in 0..5 {
                let exchange = scene.exchange(&leg, number, &get("/same"));
                let mut line = scene.line(Side::Client, &leg, &exchange, &get("/same"));
                line.offset = u64::from(number) * 1000;
                read(&mut scene, line.clone(), 2 * u64::from(number));
                read(&mut scene, copy(&line), 2 * u64::from(number) + 1);
                scene.pass(pause);
                keep_up(&mut scene);
            }
            scene.settle();
            let pair = (PAIR.0, PAIR.1, false);
            let copy = (COPY.0, COPY.1, true);
            assert_eq!(found(&scene), [[copy; 5], [pair; 5]].concat(), "{pause:?}");
            scene.stop();
        }
    }
}

#[test]
fn halves_of_before_the_start_do_not_make_a_doubled_log_single() {
    let mut scene = Scene::new();
    let before = scene.now - Duration::from_secs(9);
    let leg = scene.client_leg();
    for number in 0..4 {
        let exchange = scene.exchange(&leg, number, &get("/item"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/item"));
        if number == 0 {
            // One sink wrote these before, the other since.
            for half in 0..3 {
                let mut line = line.clone();
                let fields = entry(&mut line);
                fields.start_time = Some(before + Duration::from_millis(half));
                fields.whole = Some(super::fingerprint(&format!("half {half}")));
                read(&mut scene, line, 100 + half);
            }
        }
        let offset = 2 * u64::from(number);
        read(&mut scene, line.clone(), offset);
        read(&mut scene, line, offset + 1);
        scene.pass(Duration::from_secs(30));
        keep_up(&mut scene);
    }
    scene.settle();
    let half = (Verdict::Unverifiable, (0, 1), false);
    let (pair, copy) = ((PAIR.0, PAIR.1, false), (COPY.0, COPY.1, true));
    let expected = [vec![copy; 4], vec![pair; 4], vec![half; 3]].concat();
    assert_eq!(found(&scene), expected);
    scene.stop();
}

#[test]
fn a_single_copy_is_repeated_also_in_a_log_of_few_lines() {
    for (before, after) in [(1, 0), (0, 1), (0, 2), (5, 5)] {
        let mut scene = Scene::new();
        for _ in 0..before {
            scene.clean("/before");
            scene.pass(Duration::from_secs(60));
            keep_up(&mut scene);
        }
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &get("/twice"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/twice"));
        scene.read(line.clone());
        scene.read(line);
        scene.pass(Duration::from_secs(60));
        keep_up(&mut scene);
        for _ in 0..after {
            scene.clean("/after");
            scene.pass(Duration::from_secs(60));
            keep_up(&mut scene);
        }
        scene.settle();
        let repeated = found(&scene)
            .into_iter()
            .filter(|(v, ..)| *v != Verdict::Matched);
        assert!(
            repeated.eq([(Verdict::Unseen, (0, 1), true)]),
            "{before} {after}"
        );
        scene.stop();
    }
}

#[test]
fn nobody_is_accused_while_nothing_tells_what_a_log_does() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/only"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/only"));
    scene.read(line.clone());
    scene.read(line);
    scene.pass(Duration::from_secs(3600));
    keep_up(&mut scene);
    assert_eq!(scene.verdicts().len(), 1);
    scene.stop();
    let down = (Verdict::Unverifiable, (0, 1), vec![Reason::AgentDown]);
    assert_eq!(scene.verdicts()[1], down);
}

#[test]
fn a_removed_pair_of_lines_is_found() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    for number in 0..6 {
        let sent = Sent {
            request_id: Some(format!("{number}")),
            ..get("/same")
        };
        let exchange = scene.exchange(&leg, number, &sent);
        let line = scene.line(Side::Client, &leg, &exchange, &sent);
        if number != 3 {
            scene.read(line.clone());
            scene.read(line);
        }
        scene.pass(Duration::from_secs(1));
        keep_up(&mut scene);
    }
    scene.settle();
    let accused = found(&scene)
        .into_iter()
        .filter(|(v, ..)| *v != Verdict::Matched);
    assert!(accused.eq([(Verdict::Unlogged, (1, 0), false)]));
    scene.stop();
}

#[test]
fn lines_of_connections_and_of_local_answers_have_copies_too() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.7", 33333), address("10.0.0.1", 15006));
    let proxy = end(
        super::PROXY_CGROUP,
        super::PROXY_PID,
        destination,
        "10.0.0.7:33333",
    );
    scene.connect(None, Some(proxy), (source, destination), None);
    for number in 0..4 {
        let leg = scene.client_leg();
        let time = scene.now;
        let whole: Exchange = super::exchange(leg.id, 0, time, time, &get("/"));
        let mut line = scene.line(Side::Client, &leg, &whole, &get("/"));
        let fields = entry(&mut line);
        (fields.method, fields.path, fields.protocol) = (None, None, None);
        fields.response_code = Some(0);
        (fields.bytes_received, fields.bytes_sent) = (Some(70), Some(90));
        scene.close(&leg, 70, 90);
        scene.read(line.clone());
        scene.read(line);
        let mut denied = scene.line(Side::Server, &leg, &whole, &get("/denied"));
        entry(&mut denied).upstream_local_address = None;
        entry(&mut denied).whole = Some(super::fingerprint(&format!("denied {number}")));
        scene.read(denied.clone());
        scene.read(denied);
        scene.pass(Duration::from_secs(1));
        keep_up(&mut scene);
    }
    scene.settle();
    let copy = (COPY.0, COPY.1, true);
    let pair = (PAIR.0, PAIR.1, false);
    let answered = (Verdict::ProxyAnswered, (0, 1), false);
    let expected = [vec![copy; 8], vec![pair; 4], vec![answered; 4]].concat();
    assert_eq!(found(&scene), expected);
    scene.stop();
}

#[test]
fn lines_of_a_request_that_goes_on_are_no_forgeries() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/long"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/long"));
    for kind in ["DownstreamStart", "DownstreamPeriodic", "DownstreamEnd"] {
        let mut line = line.clone();
        entry(&mut line).access_log_type = Some(kind.into());
        entry(&mut line).whole = Some(super::fingerprint(kind));
        scene.read(line);
    }
    scene.settle();
    let copy = (COPY.0, COPY.1, true);
    let pair = (PAIR.0, PAIR.1, false);
    assert_eq!(found(&scene), [copy, copy, pair, pair][..].to_vec());
    // One that names no connection is.
    let mut line = line;
    entry(&mut line).access_log_type = Some("DownstreamStart".into());
    entry(&mut line).downstream_remote_address = Some(address("10.0.0.1", 9));
    scene.read(line);
    scene.settle();
    let last = scene.verdicts().pop().unwrap();
    assert_eq!(last, (Verdict::Unseen, (0, 1), vec![]));
    scene.stop();
}

#[test]
fn requests_alike_in_all_that_a_line_says_have_lines_alike() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    for number in 0..2 {
        let time = scene.now + Duration::from_micros(200 * u64::from(number));
        scene.feed(Input::Begun {
            connection: leg.id,
            exchange: number,
            stream: None,
            time,
        });
        let end = time + Duration::from_micros(150);
        let exchange = super::exchange(leg.id, number, time, end, &get("/same"));
        scene.feed(Input::Ended(Box::new(exchange.clone())));
        let mut line = scene.line(Side::Client, &leg, &exchange, &get("/same"));
        entry(&mut line).whole = Some(super::fingerprint("alike"));
        scene.read(line);
    }
    scene.settle();
    scene.settle();
    let pair = (PAIR.0, PAIR.1, false);
    assert_eq!(found(&scene), [pair; 3]);
    scene.stop();
}

/// A scene whose log is known to write its lines once, and two requests there that are alike: the
/// line of the first, and that of the second, whose exchange is not told yet.
fn second_of_two_alike(request_id: Option<&str>) -> (Scene, Exchange, Line) {
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.pass(Duration::from_secs(60));
    keep_up(&mut scene);
    let leg = scene.client_leg();
    let sent = Sent {
        request_id: request_id.map(str::to_owned),
        ..get("/same")
    };
    let first = scene.exchange(&leg, 0, &sent);
    let line = scene.line(Side::Client, &leg, &first, &sent);
    scene.read(line.clone());
    let second = Exchange {
        exchange: 1,
        ..first
    };
    (scene, second, line)
}

fn tell_begun(scene: &mut Scene, exchange: &Exchange) {
    scene.feed(Input::Begun {
        connection: exchange.connection,
        exchange: exchange.exchange,
        stream: None,
        time: exchange.time,
    });
}

#[test]
fn a_copy_waits_for_what_goes_on_in_its_time() {
    for request_id in [None, Some("r1")] {
        let (mut scene, second, line) = second_of_two_alike(request_id);
        tell_begun(&mut scene, &second);
        scene.read(line);
        scene.pass(Duration::from_secs(60));
        keep_up(&mut scene);
        assert_eq!(scene.verdicts().len(), 2, "{:?}", scene.verdicts());
        scene.tell_ended(&[second]);
        scene.settle();
        scene.settle();
        assert_eq!(found(&scene), [(PAIR.0, PAIR.1, false); 3]);
        scene.stop();
    }
}

#[test]
fn a_copy_waits_for_what_the_capture_has_yet_to_tell() {
    let (mut scene, second, line) = second_of_two_alike(None);
    let stamped = line.time;
    scene.read(line);
    scene.capture_until(stamped + Duration::from_millis(1_999));
    scene.read_log_until(stamped + Duration::from_secs(60));
    scene.feed(Input::Tick(stamped + Duration::from_secs(60)));
    assert_eq!(scene.verdicts().len(), 2, "{:?}", scene.verdicts());
    tell_begun(&mut scene, &second);
    scene.tell_ended(&[second]);
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert_eq!(found(&scene), [(PAIR.0, PAIR.1, false); 3]);
    scene.stop();
}

#[test]
fn a_log_that_is_known_to_double_lets_no_copy_wait() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    for number in 0..4 {
        let exchange = scene.exchange(&leg, number, &get("/item"));
        let line = scene.line(Side::Client, &leg, &exchange, &get("/item"));
        scene.pass(Duration::from_secs(1));
        let now = scene.now;
        scene.capture_until(now);
        scene.read(line.clone());
        scene.read(line);
        if number == 3 {
            break;
        }
        scene.pass(Duration::from_secs(30));
        keep_up(&mut scene);
    }
    let pair = (PAIR.0, PAIR.1, false);
    let copy = (COPY.0, COPY.1, true);
    assert_eq!(found(&scene), [[copy; 4], [pair; 4]].concat());
    scene.stop();
}
