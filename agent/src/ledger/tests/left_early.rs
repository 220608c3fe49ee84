//! Apps that leave before the proxy can send its answer.

use std::time::Duration;

use super::{Scene, entry, exchange, get};
use crate::{
    ledger::{Exchange, Input},
    record::{Body, Kind, Reason, Side, Verdict},
};

#[test]
fn an_answer_that_could_not_be_sent_any_more_accuses_nobody() {
    for (both_fin, client_closed_first) in [(false, false), (true, true), (true, false)] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        let cut = scene.unanswered(&leg, &["/cut"]);
        scene.tell_ended(&cut);
        let line = scene.line(Side::Client, &leg, &cut[0], &get("/cut"));
        let mut closed = scene.closed(&leg, 100, 0);
        closed.both_fin = both_fin;
        closed.client_closed_first = client_closed_first;
        scene.feed(Input::Closed(closed));
        scene.read(line);
        scene.settle();
        let expected = match (both_fin, client_closed_first) {
            (true, false) => (Verdict::Mismatched, (1, 1), vec![]),
            _ => (Verdict::Matched, (1, 1), vec![Reason::Aborted]),
        };
        assert!(
            scene.verdicts().contains(&expected),
            "{:?}",
            scene.verdicts()
        );
        scene.stop();
    }
}

/// The line that no answer was sent for could be of either, were it not for the method in it.
#[test]
fn a_line_is_of_the_request_that_was_whole() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut sent = scene.unanswered(&leg, &["/whole", "/half"]);
    sent[1].method = None;
    sent[1].path = None;
    scene.tell_ended(&sent);
    let mut line = scene.line(Side::Client, &leg, &sent[0], &get("/whole"));
    // The proxy took it up when the half one was there already.
    entry(&mut line).start_time = Some(sent[1].time + Duration::from_millis(1));
    let closed = scene.closed(&leg, 100, 0);
    scene.feed(Input::Closed(closed));
    scene.read(line);
    scene.settle();
    let told = scene
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Traffic(traffic) if record.kind == Kind::Http => {
                Some((record.verdict?, traffic.attributes.shown.path.as_deref()))
            }
            _ => None,
        });
    let expected = [
        (Verdict::Matched, Some("/first")),
        (Verdict::Matched, Some("/whole")),
        (Verdict::Outside, Some("/half")),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    scene.stop();
}

/// Of two requests that are sent at once the first is answered, and the app leaves.
#[test]
fn a_request_sent_ahead_is_not_missed_if_the_app_resets_as_soon_as_it_has_the_answer_before() {
    let nothing = (Verdict::Outside, (1, 0), vec![Reason::NoRequest]);
    let removed = (Verdict::Unlogged, (1, 0), vec![]);
    for (both_fin, stays, expected) in [
        (false, Duration::from_millis(100), &nothing),
        (false, Duration::from_millis(101), &removed),
        (true, Duration::ZERO, &removed),
    ] {
        let mut scene = Scene::new();
        scene.clean("/first");
        let leg = scene.client_leg();
        let sent = scene.unanswered(&leg, &["/answered", "/ahead"]);
        let answered = exchange(leg.id, 0, sent[0].time, scene.now, &get("/answered"));
        let line = scene.line(Side::Client, &leg, &answered, &get("/answered"));
        scene.tell_ended(&[answered]);
        scene.read(line);
        scene.pass(stays);
        let ahead = Exchange {
            end: scene.now,
            ..sent[1].clone()
        };
        scene.tell_ended(&[ahead]);
        let mut closed = scene.closed(&leg, 100, 100);
        closed.both_fin = both_fin;
        scene.feed(Input::Closed(closed));
        scene.settle();
        let found = scene.verdicts();
        assert_eq!(found.last(), Some(expected), "{found:?}");
        scene.stop();
    }
}
