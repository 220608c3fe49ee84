//! What makes a message, and where it ends.

use super::script::{CLIENT, Cutting, SERVER, Script, begun, closed, lost, run};
use crate::{
    capture::Observation,
    http::{Exchange, Gap},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn status(exchange: &Exchange) -> Option<u16> {
    exchange.response.as_ref()?.status
}

fn path(exchange: &Exchange) -> &str {
    exchange.request.head.as_ref().map_or("", |head| &head.path)
}

fn sizes(exchange: &Exchange) -> (u64, u64) {
    let response = exchange.response.as_ref();
    (
        exchange.request.body_bytes,
        response.map_or(0, |response| response.body_bytes),
    )
}

fn is_whole(exchange: &Exchange) -> bool {
    exchange.gap.is_none()
        && exchange.request.head.is_some()
        && exchange.request.ended.is_some()
        && exchange
            .response
            .as_ref()
            .is_some_and(|response| response.status.is_some() && response.ended.is_some())
}

#[test]
fn one_exchange_with_its_times() {
    let script = Script::default()
        .message(
            CLIENT,
            "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n",
            "abc",
        )
        .content(CLIENT, "defg")
        .message(
            SERVER,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "hello",
        );
    let [exchange] = &script.exchanges()[..] else {
        panic!("one exchange");
    };
    assert!(is_whole(exchange));
    assert_eq!((path(exchange), status(exchange)), ("/p", Some(200)));
    assert_eq!(sizes(exchange), (7, 5));
    assert_eq!(exchange.time, Script::time(0));
    assert_eq!(exchange.request.ended, Some(Script::time(1)));
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(
        (response.time, response.ended, exchange.end),
        (Script::time(2), Some(Script::time(2)), Script::time(2))
    );
}

#[test]
fn sixteen_requests_before_the_first_answer() {
    let mut script = Script::default();
    for index in 0..16 {
        script = script.request(&format!("GET /{index} HTTP/1.1\r\n\r\n"), "");
    }
    for index in 0..16 {
        script = script.response(
            &format!(
                "HTTP/1.1 {} X\r\nContent-Length: {index}\r\n\r\n",
                400 + index
            ),
            &"x".repeat(index),
        );
    }
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 16);
    for (index, exchange) in exchanges.iter().enumerate() {
        assert!(is_whole(exchange));
        assert_eq!(path(exchange), format!("/{index}"));
        assert_eq!(status(exchange), Some(400 + u16::try_from(index).unwrap()));
        assert_eq!(sizes(exchange).1, index as u64);
    }
}

#[test]
fn responses_without_a_body_have_none() {
    let script = Script::default()
        .request("HEAD /a HTTP/1.1\r\n\r\n", "")
        .response("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", "")
        .request(GET, "")
        .response(
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n",
            "",
        )
        .request(GET, "")
        .response("HTTP/1.1 204 No Content\r\nContent-Length: 999\r\n\r\n", "")
        .request(GET, "")
        .response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "ok");
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 4);
    assert!(exchanges.iter().all(is_whole));
    assert_eq!(
        exchanges.iter().map(|e| sizes(e).1).collect::<Vec<_>>(),
        [0, 0, 0, 2]
    );
}

#[test]
fn interim_responses_are_passed_over() {
    let script = Script::default()
        .request(
            "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            "",
        )
        .response("HTTP/1.1 100 Continue\r\n\r\n", "")
        .content(CLIENT, "ab")
        .response("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "")
        .response("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "");
    let [exchange] = &script.exchanges()[..] else {
        panic!("one exchange");
    };
    assert!(is_whole(exchange));
    assert_eq!(status(exchange), Some(201));
    assert_eq!(
        exchange.response.as_ref().unwrap().time,
        Script::time(4),
        "of the final response"
    );
}

#[test]
fn an_early_answer_does_not_end_the_request() {
    let script = Script::default()
        .request("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", "a")
        .response("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "")
        .content(CLIENT, "bcd")
        .request(GET, "")
        .response(NO_CONTENT, "");
    let exchanges = script.exchanges();
    assert!(exchanges.iter().all(is_whole));
    assert_eq!(status(&exchanges[0]), Some(413));
    assert_eq!(exchanges[0].end, Script::time(2));
    assert_eq!(status(&exchanges[1]), Some(204));
}

#[test]
fn chunked_bodies_with_trailers() {
    let script = Script::default()
        .request(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "",
        )
        .raw(CLIENT, b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n")
        .request(GET, "")
        .response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "")
        .raw(SERVER, b"a\r\n0123456789\r\n0\r\n\r\n")
        .response(NO_CONTENT, "");
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 2);
    assert!(exchanges.iter().all(is_whole));
    assert_eq!(sizes(&exchanges[0]), (3, 10));
    assert!(
        exchanges[0]
            .request
            .head
            .as_ref()
            .unwrap()
            .conflicting_length
    );
}

#[test]
fn a_body_until_close_ends_with_the_fin() {
    let script = Script::default()
        .request("GET / HTTP/1.0\r\n\r\n", "")
        .response("HTTP/1.0 200 OK\r\n\r\n", "some")
        .content(SERVER, " more");
    let [exchange] = &script.exchanges()[..] else {
        panic!("one exchange");
    };
    assert!(is_whole(exchange));
    assert_eq!(sizes(exchange).1, 9);
    assert_eq!(
        exchange.response.as_ref().unwrap().ended,
        Some(Script::time(3))
    );
}

#[test]
fn nothing_follows_the_last_message() {
    let script = Script::default()
        .request("GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n", "")
        .request("GET /2 HTTP/1.1\r\n\r\n", "")
        .response("HTTP/1.1 204 X\r\nConnection: close\r\n\r\n", "");
    let events = script.events();
    assert_eq!((begun(&events), lost(&events)), (1, vec![]));
    assert!(is_whole(&script.exchanges()[0]));
}

#[test]
fn a_tunnel_is_not_read_and_ends_with_the_connection() {
    let cases = [
        (
            "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ),
        (
            "CONNECT h:443 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ),
    ];
    for (request, response) in cases {
        let script = Script::default()
            .request(request, "")
            .response(response, "")
            .raw(CLIENT, GET.as_bytes())
            .raw(SERVER, b"\x81\x05hello");
        let events = script.events();
        assert_eq!((begun(&events), lost(&events)), (1, vec![]));
        let exchange = &script.exchanges()[0];
        assert!(is_whole(exchange));
        assert!(exchange.response.as_ref().unwrap().upgraded);
        assert_eq!(exchange.end, Script::time(4));
    }
}

#[test]
fn a_refused_connect_is_an_ordinary_exchange() {
    let script = Script::default()
        .request("CONNECT h:443 HTTP/1.1\r\n\r\n", "")
        .response("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n", "no")
        .request(GET, "")
        .response(NO_CONTENT, "");
    let exchanges = script.exchanges();
    assert!(exchanges.len() == 2 && exchanges.iter().all(is_whole));
    assert_eq!(
        exchanges[0]
            .request
            .head
            .as_ref()
            .unwrap()
            .authority
            .as_deref(),
        Some("h:443")
    );
}

#[test]
fn empty_lines_may_come_first() {
    let script = Script::default()
        .raw(CLIENT, b"\r\n\r\n")
        .request(GET, "")
        .response(NO_CONTENT, "")
        .raw(CLIENT, b"\r\n")
        .request(GET, "")
        .response(NO_CONTENT, "");
    let exchanges = script.exchanges();
    assert!(exchanges.len() == 2 && exchanges.iter().all(is_whole));
    assert_eq!(exchanges[0].time, Script::time(1));
}

#[test]
fn half_a_request_line_is_no_exchange() {
    for bytes in [&b"GET /secret HT"[..], b"abc", b"\x16\x03\x01"] {
        let events = Script::default().raw(CLIENT, bytes).events();
        assert_eq!((begun(&events), lost(&events)), (0, vec![]));
        assert!(closed(&events)[0].no_request, "{bytes:?}");
    }
}

#[test]
fn a_request_line_is_an_exchange() {
    let script = Script::default().raw(CLIENT, b"GET / HTTP/1.1\r\nHost: h");
    let events = script.events();
    assert_eq!(begun(&events), 1);
    assert!(!closed(&events)[0].no_request);
    let exchange = &script.exchanges()[0];
    assert_eq!((&exchange.request.head, exchange.gap), (&None, None));
    assert_eq!(exchange.request.ended, None);
}

#[test]
fn what_is_answered_in_http_was_a_request() {
    for bytes in [&b"GET /sec"[..], b"GET /\r\n", b"\x16\x03\x01\x02\n"] {
        let script = Script::default()
            .raw(CLIENT, bytes)
            .response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "");
        let [exchange] = &script.exchanges()[..] else {
            panic!("one exchange: {bytes:?}");
        };
        assert_eq!((status(exchange), exchange.gap), (Some(400), None));
        assert_eq!(exchange.request.head, None);
        assert_eq!(exchange.time, Script::time(0));
    }
}

#[test]
fn a_malformed_head_is_an_exchange_without_one() {
    for head in [
        "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
    ] {
        let script = Script::default()
            .request(head, "")
            .response("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "")
            .content(SERVER, "bad");
        let events = script.events();
        assert_eq!((begun(&events), lost(&events)), (1, vec![]), "{head}");
        let exchange = &script.exchanges()[0];
        assert_eq!((&exchange.request.head, exchange.gap), (&None, None));
        assert_eq!((status(exchange), sizes(exchange).1), (Some(400), 3));
        assert_eq!(exchange.end, Script::time(3));
    }
}

#[test]
fn a_head_beyond_the_limit_is_an_exchange_without_one() {
    let head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    let script = Script::default()
        .request(&head, "")
        .response("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n", "");
    for cuts in [
        vec![],
        vec![1, 20, 1000, 65_000],
        vec![65_536],
        vec![65_537],
    ] {
        let cutting = Cutting {
            cuts: [cuts, vec![]],
            ..Cutting::default()
        };
        let events = run(script.observations(&cutting));
        assert_eq!((begun(&events), lost(&events)), (1, vec![]));
        let exchange = &super::script::exchanges(&events)[0];
        assert_eq!((&exchange.request.head, exchange.gap), (&None, None));
        assert_eq!(status(exchange), Some(431));
    }
}

#[test]
fn the_largest_head_is_read() {
    let head = |length: usize| {
        let fixed = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        format!(
            "GET / HTTP/1.1\r\nA: {}\r\n\r\n",
            "x".repeat(length - fixed)
        )
    };
    for (length, read) in [(65_536, true), (65_537, false)] {
        let script = Script::default().request(&head(length), "");
        for cuts in [vec![], vec![40_000], (1..length).step_by(999).collect()] {
            let cutting = Cutting {
                cuts: [cuts, vec![]],
                ..Cutting::default()
            };
            let events = run(script.observations(&cutting));
            let exchange = &super::script::exchanges(&events)[0];
            assert_eq!(exchange.request.head.is_some(), read, "{length}");
        }
    }
}

#[test]
fn http2_is_told_as_exchanges_of_unknown_number() {
    let events = Script::default()
        .raw(CLIENT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .raw(SERVER, b"\x00\x00\x00\x04")
        .raw(CLIENT, GET.as_bytes())
        .events();
    assert_eq!(
        (begun(&events), lost(&events)),
        (0, vec![(0, Gap::StreamGap)])
    );
}

#[test]
fn other_protocols_are_no_exchanges() {
    let tls = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n\n";
    let cases: [(&[u8], &[u8]); 3] = [
        (tls, b"\x16\x03\x03\x00\x05hello"),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
        (b"EHLO x\r\n", b"250 ok\r\n"),
    ];
    for (request, response) in cases {
        let events = Script::default()
            .raw(CLIENT, request)
            .raw(SERVER, response)
            .raw(CLIENT, GET.as_bytes())
            .events();
        assert_eq!((begun(&events), lost(&events)), (0, vec![]));
        assert!(!closed(&events)[0].no_request);
    }
    let events = Script::default()
        .raw(SERVER, b"220 mail\r\n")
        .raw(CLIENT, b"EHLO x\r\n")
        .raw(SERVER, b"250 ok\r\n")
        .events();
    assert_eq!((begun(&events), lost(&events)), (0, vec![]));
}

#[test]
fn what_the_kernel_side_does_not_follow_is_no_loss() {
    // It gave up at the first byte, took back the message and told no more.
    let script = Script::default()
        .raw(CLIENT, b"get ")
        .raw(CLIENT, b"key\r\n");
    let mut observations = script.observations(&Cutting::default());
    observations.retain(
        |observation| !matches!(observation, Observation::Segment(segment) if segment.index == 1),
    );
    for observation in &mut observations {
        if let Observation::Socket(socket) = observation {
            socket.stream.segments = socket.stream.segments.min(1);
            socket.stream.followed = false;
        }
    }
    let events = run(observations);
    assert_eq!((begun(&events), lost(&events)), (0, vec![]));
    assert!(!closed(&events)[0].no_request);
}

#[test]
fn what_is_no_message_after_others_is_told_as_lost() {
    for junk in [&b"\x00\x01\x02"[..], b"junk\r\n", b"GET /half"] {
        let events = Script::default()
            .request(GET, "")
            .response(NO_CONTENT, "")
            .raw(CLIENT, junk)
            .events();
        assert_eq!(begun(&events), 1);
        assert_eq!(lost(&events), [(1, Gap::StreamMismatch)], "{junk:?}");
    }
}

#[test]
fn a_request_in_a_body_is_a_body() {
    let body = GET.repeat(3);
    let length = body.len();
    let script = Script::default()
        .request(
            &format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"),
            &body,
        )
        .response(
            &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            &body,
        );
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 1);
    assert_eq!(sizes(&exchanges[0]), (length as u64, length as u64));
}

#[test]
fn an_answer_that_is_no_http_is_a_mismatch() {
    let script = Script::default()
        .request(GET, "")
        .raw(SERVER, b"ICY 200 OK\r\n\r\n")
        .request(GET, "");
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 2);
    for exchange in exchanges {
        assert_eq!(
            (exchange.response, exchange.gap),
            (None, Some(Gap::StreamMismatch))
        );
    }
}

#[test]
fn an_answer_to_nothing_casts_doubt_on_the_next() {
    let script = Script::default()
        .request(GET, "")
        .response(NO_CONTENT, "")
        .response("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", "")
        .request(GET, "")
        .response(NO_CONTENT, "")
        .request(GET, "")
        .response(NO_CONTENT, "");
    let gaps: Vec<_> = script.exchanges().iter().map(|e| e.gap).collect();
    assert_eq!(gaps, [None, Some(Gap::StreamMismatch), None]);
}

#[test]
fn a_response_head_that_is_cut_off_has_no_status() {
    let script = Script::default()
        .request(GET, "")
        .raw(SERVER, b"HTTP/1.1 200 OK\r\nA");
    let exchange = &script.exchanges()[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(
        (response.status, response.ended, exchange.gap),
        (None, None, None)
    );
}
