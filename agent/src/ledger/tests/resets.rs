//! Streams that were reset, and what a proxy writes of them; gRPC.

use std::time::Duration;

use super::{Scene, entry, get, multiplexed::Streams};
use crate::{
    ledger::{Entry, Exchange, Input},
    record::{Reason, Side, Verdict},
};

/// The verdict on a stream that is changed so, with a line that is changed so.
fn judged(
    side: Side,
    change: impl Fn(&mut Exchange),
    edit: impl Fn(&mut Entry),
) -> (Verdict, Vec<Reason>) {
    let mut scene = Scene::new();
    let mut streams = match side {
        Side::Client => Streams::of_a_client(&mut scene),
        _ => Streams::of_a_server(&mut scene),
    };
    let first = streams.whole(&mut scene, &get("/first"));
    let line = streams.line(&scene, &first, &get("/first"));
    scene.read(line);
    let number = streams.begin(&mut scene);
    scene.pass(Duration::from_millis(3));
    let mut exchange = streams.exchange(&scene, number, &get("/a"));
    let mut line = streams.line(&scene, &exchange, &get("/a"));
    change(&mut exchange);
    edit(entry(&mut line));
    scene.feed(Input::Ended(Box::new(exchange)));
    scene.read(line);
    scene.settle();
    let verdicts = scene.verdicts();
    scene.stop();
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    let (verdict, units, reasons) = verdicts[1].clone();
    assert_eq!(units, (1, 1));
    (verdict, reasons)
}

fn flagged(entry: &mut Entry, code: u16, flag: &str, details: &str) {
    entry.response_code = Some(code);
    entry.response_flags = Some(flag.to_owned());
    entry.response_code_details = Some(details.to_owned());
}

/// The response was cut off after so many bytes.
fn cut_off(exchange: &mut Exchange, bytes: u64) {
    let response = exchange.response.as_mut().unwrap();
    (response.ended, response.bytes) = (None, bytes);
}

#[test]
fn a_client_that_resets_its_stream_left_it() {
    let aborted = (Verdict::Matched, vec![Reason::Aborted]);
    for side in [Side::Client, Side::Server] {
        // Before the response.
        let unanswered = |exchange: &mut Exchange| exchange.response = None;
        let reset = |entry: &mut Entry| flagged(entry, 0, "DR", "http2.remote_reset");
        assert_eq!(judged(side, unanswered, reset), aborted);
        // Within it; the proxy makes a status of gRPC of the code.
        let cut_off = |exchange: &mut Exchange| cut_off(exchange, 3);
        let reset = |entry: &mut Entry| {
            flagged(entry, 200, "DR", "http2.remote_reset");
            (entry.bytes_sent, entry.grpc_status) = (Some(5), Some(2));
        };
        assert_eq!(judged(side, cut_off, reset), aborted);
    }
}

#[test]
fn an_answer_that_a_reset_stream_did_not_carry_is_not_missed() {
    let unanswered = |exchange: &mut Exchange| exchange.response = None;
    let expected = (Verdict::Matched, vec![Reason::Aborted]);
    assert_eq!(judged(Side::Client, unanswered, |_| {}), expected);
}

#[test]
fn an_upstream_that_resets_its_stream_is_answered_for() {
    let details = "upstream_reset_before_response_started{remote_reset}";
    let answered = |status: u16| {
        move |exchange: &mut Exchange| {
            exchange.response.as_mut().unwrap().status = Some(status);
        }
    };
    let logged = |entry: &mut Entry| flagged(entry, 503, "UR", details);
    let matched = (Verdict::Matched, vec![]);
    assert_eq!(judged(Side::Client, answered(503), logged), matched);
    let unanswered = |exchange: &mut Exchange| exchange.response = None;
    assert_eq!(judged(Side::Server, unanswered, logged), matched);
    let details = "upstream_reset_after_response_started{remote_reset}";
    for side in [Side::Client, Side::Server] {
        let cut_off = |exchange: &mut Exchange| cut_off(exchange, 3);
        let logged = |entry: &mut Entry| flagged(entry, 200, "UR", details);
        assert_eq!(judged(side, cut_off, logged), matched);
    }
}

#[test]
fn a_head_that_is_too_large_is_that_of_the_line_without_a_request() {
    let refused = |exchange: &mut Exchange| exchange.response = None;
    let line = |entry: &mut Entry| {
        (entry.method, entry.path, entry.authority) = (None, None, None);
        flagged(entry, 0, "DR", "http2.header_list_size_too_large");
    };
    let expected = (Verdict::Matched, vec![Reason::Aborted]);
    assert_eq!(judged(Side::Client, refused, line), expected);
    // Also if it was too large for the agent.
    let unread = |exchange: &mut Exchange| {
        (exchange.response, exchange.method, exchange.path) = (None, None, None);
    };
    assert_eq!(judged(Side::Client, unread, line), expected);
}

#[test]
fn a_stream_that_was_reset_does_not_excuse_the_next() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let mut streams = Streams::of_a_client(&mut scene);
    for path in ["/reset", "/unlogged"] {
        let number = streams.begin(&mut scene);
        scene.pass(Duration::from_millis(3));
        let mut exchange = streams.exchange(&scene, number, &get(path));
        exchange.response = None;
        scene.feed(Input::Ended(Box::new(exchange)));
    }
    scene.close(&streams.connection, 100, 200);
    scene.settle();
    let unlogged = (Verdict::Unlogged, (1, 0), vec![]);
    assert_eq!(scene.verdicts()[1..], [unlogged.clone(), unlogged]);
    scene.stop();
}

#[test]
fn the_status_of_grpc_must_agree_where_it_is_the_apps_own() {
    let grpc = |status| {
        move |exchange: &mut Exchange| {
            exchange.response.as_mut().unwrap().grpc_status = Some(status);
        }
    };
    let logged = |status| move |entry: &mut Entry| entry.grpc_status = Some(status);
    for side in [Side::Client, Side::Server] {
        let (verdict, _) = judged(side, grpc(5), logged(5));
        assert_eq!(verdict, Verdict::Matched);
        let (verdict, _) = judged(side, grpc(5), logged(0));
        assert_eq!(verdict, Verdict::Mismatched);
    }
    // The app answered what the proxy had given up.
    let timed_out = |entry: &mut Entry| {
        flagged(entry, 200, "UT", "response_timeout");
        entry.grpc_status = Some(14);
    };
    let (verdict, _) = judged(Side::Server, grpc(0), timed_out);
    assert_eq!(verdict, Verdict::Matched);
    let (verdict, _) = judged(Side::Client, grpc(0), timed_out);
    assert_eq!(verdict, Verdict::Mismatched, "the app received another");
}

#[test]
fn the_protocol_of_a_line_is_the_clients() {
    let http1 = |entry: &mut Entry| entry.protocol = Some("HTTP/1.1".into());
    let (verdict, _) = judged(Side::Server, |_| {}, http1);
    assert_eq!(verdict, Verdict::Matched);
    let (verdict, _) = judged(Side::Client, |_| {}, http1);
    assert_eq!(verdict, Verdict::Mismatched);
}

#[test]
fn a_stream_that_the_proxy_refused_needs_no_line() {
    for (is_refused, expected) in [
        (true, (Verdict::Outside, (1, 0), vec![Reason::NoRequest])),
        (false, (Verdict::Unlogged, (1, 0), vec![])),
    ] {
        let mut scene = Scene::new();
        let mut streams = Streams::of_a_client(&mut scene);
        let first = streams.whole(&mut scene, &get("/first"));
        let line = streams.line(&scene, &first, &get("/first"));
        scene.read(line);
        let number = streams.begin(&mut scene);
        scene.pass(Duration::from_millis(3));
        let mut exchange = streams.exchange(&scene, number, &get("/a"));
        (exchange.response, exchange.refused) = (None, is_refused);
        scene.feed(Input::Ended(Box::new(exchange)));
        scene.settle();
        assert_eq!(scene.verdicts()[1..], [expected]);
        scene.stop();
    }
}
