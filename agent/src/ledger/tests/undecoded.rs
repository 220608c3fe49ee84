//! Exchanges with fields that stand in a part of the HPACK table which was never seen.

use std::{sync::Arc, time::Duration};

use super::{Scene, entry, get, multiplexed::Streams};
use crate::{
    ledger::{Exchange, Input},
    record::{Reason, Side, Verdict},
};

fn undecoded(exchange: &Exchange) -> Exchange {
    let mut exchange = exchange.clone();
    (exchange.method, exchange.path, exchange.undecoded) = (None, None, true);
    exchange.shown = Arc::default();
    exchange
}

/// Ends one of which only status and sizes are known.
fn end(scene: &mut Scene, streams: &Streams, number: u32, path: &str) -> Exchange {
    let exchange = streams.exchange(scene, number, &get(path));
    scene.feed(Input::Ended(Box::new(undecoded(&exchange))));
    scene.pass(Duration::from_micros(10));
    exchange
}

#[test]
fn pair_by_what_is_known_and_are_unverifiable() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let numbers: Vec<u32> = (0..20).map(|_| streams.begin(&mut scene)).collect();
    scene.pass(Duration::from_millis(1));
    // Every second one is known, and the lines of the others would fit these as well.
    for number in numbers.iter().rev() {
        let path = format!("/{number}");
        let exchange = match number % 2 {
            0 => end(&mut scene, &streams, *number, &path),
            _ => streams.end(&mut scene, *number, &get(&path)),
        };
        let line = streams.line(&scene, &exchange, &get(&path));
        scene.read(line);
    }
    scene.settle();
    let verdicts = scene.verdicts();
    let matched = (Verdict::Matched, (1, 1), vec![]);
    let unknown = vec![Reason::HpackUnknownEntry];
    let unverifiable = (Verdict::Unverifiable, (1, 1), unknown);
    let count = |wanted| verdicts.iter().filter(|it| *it == wanted).count();
    assert_eq!(
        (count(&matched), count(&unverifiable)),
        (10, 10),
        "{verdicts:?}"
    );
    scene.stop();
}

#[test]
fn what_is_known_of_them_is_compared() {
    for (status, expected) in [(200, Verdict::Unverifiable), (503, Verdict::Mismatched)] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let mut streams = Streams::of_a_client(&mut scene);
        let number = streams.begin(&mut scene);
        scene.pass(Duration::from_millis(3));
        let exchange = end(&mut scene, &streams, number, "/a");
        let mut line = streams.line(&scene, &exchange, &get("/a"));
        entry(&mut line).response_code = Some(status);
        scene.read(line);
        scene.settle();
        let reasons = vec![Reason::HpackUnknownEntry];
        assert_eq!(scene.verdicts()[1..], [(expected, (1, 1), reasons)]);
        scene.stop();
    }
}

#[test]
fn a_status_that_could_not_be_decoded_differs_from_none() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let number = streams.begin(&mut scene);
    scene.pass(Duration::from_millis(3));
    let exchange = streams.exchange(&scene, number, &get("/a"));
    let mut told = exchange.clone();
    told.undecoded = true;
    told.response.as_mut().unwrap().status = None;
    scene.feed(Input::Ended(Box::new(told)));
    let line = streams.line(&scene, &exchange, &get("/a"));
    scene.read(line);
    let reasons = vec![Reason::HpackUnknownEntry];
    assert_eq!(scene.verdicts(), [(Verdict::Unverifiable, (1, 1), reasons)]);
    let record = serde_json::to_value(&scene.records.last().unwrap().body).unwrap();
    let attributes = &record["attributes"];
    assert!(attributes["http.response.status_code"].is_null());
    assert!(attributes.get("http.response.status_code").is_some());
    assert_eq!(attributes["url.path"], "/a");
    scene.stop();
}

#[test]
fn without_a_line_they_are_unlogged_as_any_other() {
    for preexisting in [false, true] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let mut connection = scene.client_leg();
        if preexisting {
            connection.id += 1;
            scene.next_id += 1;
            connection.source.set_port(777);
            connection.preexisting = true;
            scene.feed(Input::Opened(Box::new(connection.clone())));
        }
        let mut streams = Streams::new(connection, Side::Client);
        let number = streams.begin(&mut scene);
        scene.pass(Duration::from_millis(3));
        end(&mut scene, &streams, number, "/a");
        scene.settle();
        let expected = match preexisting {
            true => (Verdict::Unverifiable, (1, 0), vec![Reason::Preexisting]),
            false => (Verdict::Unlogged, (1, 0), vec![Reason::HpackUnknownEntry]),
        };
        assert_eq!(scene.verdicts()[1], expected);
        scene.stop();
    }
}

#[test]
fn their_line_may_name_the_address_of_x_forwarded_for() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let mut streams = Streams::of_a_client(&mut scene);
    let numbers: Vec<u32> = (0..3).map(|_| streams.begin(&mut scene)).collect();
    scene.pass(Duration::from_millis(3));
    for number in numbers {
        let mut exchange = end(&mut scene, &streams, number, "/a");
        exchange.forwarded = true;
        let line = streams.line(&scene, &exchange, &get("/a"));
        scene.read(line);
    }
    scene.settle();
    let expected = (
        Verdict::Unverifiable,
        (1, 1),
        vec![Reason::HpackUnknownEntry],
    );
    assert_eq!(scene.verdicts()[1..], vec![expected; 3]);
    scene.stop();
}

#[test]
fn on_a_port_that_never_matched_they_are_judged_with_their_lines() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let number = streams.begin(&mut scene);
    scene.pass(Duration::from_millis(3));
    let exchange = end(&mut scene, &streams, number, "/a");
    let line = streams.line(&scene, &exchange, &get("/a"));
    scene.read(line);
    scene.settle();
    assert_eq!(scene.verdicts().len(), 1);
    // From now on the port is known to speak HTTP.
    let second = streams.begin(&mut scene);
    scene.pass(Duration::from_millis(3));
    end(&mut scene, &streams, second, "/b");
    scene.settle();
    let unlogged = (Verdict::Unlogged, (1, 0), vec![Reason::HpackUnknownEntry]);
    assert_eq!(scene.verdicts()[1], unlogged);
    scene.stop();
}
