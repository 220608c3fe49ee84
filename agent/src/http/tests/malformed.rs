//! What is malformed, too large, cut off, or no HTTP at all.

use super::{
    messages::{GET, NO_CONTENT, is_whole, sizes, status},
    script::{CLIENT, Cutting, SERVER, Script, begun, closed, lost, run},
};
use crate::{capture::Observation, http::Gap};

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
fn a_line_may_have_ended_in_what_was_left_out() {
    let script = Script::default()
        .raw(CLIENT, b"\x16\x03\x01")
        .raw(CLIENT, b"more of it\n");
    let mut all = script.observations(&Cutting::default());
    // The kernel side tells nothing of a stream that it found to be another protocol.
    all.retain(|observation| match observation {
        Observation::Segment(segment) => segment.index == 0,
        _ => true,
    });
    assert!(!closed(&run(all))[0].no_request);
}

#[test]
fn what_is_malformed_is_told_the_same_wherever_it_is_cut() {
    let script = Script::default()
        .raw(CLIENT, b"\x16\x03\x01")
        .raw(SERVER, b"HTTP/1.1 200 OK\r\nA: \x00\r\nB: c");
    let cutting = Cutting {
        cuts: [vec![], (0..script.length(SERVER)).collect()],
        ..Cutting::default()
    };
    assert_eq!(run(script.observations(&cutting)), script.events());
}

#[test]
fn what_could_have_become_http2_is_answered_all_the_same() {
    let script = Script::default()
        .raw(CLIENT, b"PRI * HTTP/2.0\r\nHost: h\r\n\r\n")
        .response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "");
    let cutting = Cutting {
        cuts: [vec![10], vec![]],
        ..Cutting::default()
    };
    let events = script.events();
    assert_eq!(begun(&events), 1);
    assert_eq!(run(script.observations(&cutting)), events);
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
fn what_is_answered_behind_a_malformed_head_is_not_its_answer() {
    let script = Script::default()
        .request("GET / HTTP/1.1\r\nNo colon\r\n\r\n", "")
        .response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "ok")
        .request(GET, "")
        .raw(SERVER, b"HTTP/1.1 200 OK\r\nA");
    let events = script.events();
    assert_eq!(lost(&events), [(1, Gap::StreamMismatch)]);
    let [exchange] = &super::script::exchanges(&events)[..] else {
        panic!("one exchange");
    };
    assert_eq!((status(exchange), sizes(exchange).1), (Some(200), 2));
    assert_eq!(exchange.end, Script::time(4));
    let cutting = Cutting {
        cuts: [CLIENT, SERVER].map(|end| (0..script.length(end)).collect()),
        ..Cutting::default()
    };
    assert_eq!(run(script.observations(&cutting)), events);
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
fn half_a_preface_is_no_request() {
    let events = Script::default()
        .raw(CLIENT, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        .raw(SERVER, b"\x00\x00\x00\x04")
        .raw(CLIENT, GET.as_bytes())
        .events();
    assert_eq!((begun(&events), lost(&events)), (0, vec![]));
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
