//! What is no request, and what nobody can decode.

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Talk, Telling, block,
    by_stream, inserted, request,
};
use crate::http::{
    Gap,
    tests::script::{CLIENT, SERVER, begun, lost, run},
};

#[test]
fn a_malformed_request_is_an_exchange_without_a_head() {
    let cases: [&[(&str, &str)]; 10] = [
        &[(":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http")],
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            ("Host", "h"),
        ],
        &[
            (":method", "GET"),
            (":scheme", "http"),
            ("host", "h"),
            (":path", "/"),
        ],
        &[
            (":method", "GET"),
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
        ],
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":more", "x"),
        ],
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":status", "200"),
        ],
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":authority", "h"),
        ],
        &[],
    ];
    for fields in cases {
        let talk = Talk::begun()
            .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
            .frame(SERVER, RST_STREAM, 0, 1, &[0, 0, 0, 1])
            .ask(3, "/")
            .answer(3, 200, "");
        let exchanges = talk.exchanges();
        assert_eq!(exchanges.len(), 2, "{fields:?}");
        assert_eq!(exchanges[0].request.head, None, "{fields:?}");
        assert_eq!((exchanges[0].gap, exchanges[0].undecoded), (None, false));
        assert!(exchanges[1].request.head.is_some());
    }
}

#[test]
fn a_malformed_response_has_no_status() {
    let cases: [&[(&str, &str)]; 4] = [
        &[("x", "y")],
        &[(":status", "20")],
        &[(":status", "200"), ("X-A", "b")],
        &[("x", "y"), (":status", "200")],
    ];
    for fields in cases {
        let talk = Talk::begun().ask(1, "/").frame(
            SERVER,
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &block(fields),
        );
        let exchange = &talk.exchanges()[0];
        assert_eq!(
            exchange.response.as_ref().unwrap().status,
            None,
            "{fields:?}"
        );
    }
}

#[test]
fn what_cannot_be_decoded_taints_what_rests_on_it() {
    let talk = Talk::begun()
        .frame(
            CLIENT,
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &inserted(&request("/1", &[("a", "b")])),
        )
        // An index of nothing.
        .frame(
            CLIENT,
            HEADERS,
            END_STREAM | END_HEADERS,
            3,
            &[0x82, 0xff, 0x7f],
        )
        .frame(
            CLIENT,
            HEADERS,
            END_STREAM | END_HEADERS,
            5,
            &[0x82, 0x84, 0x86, 0xbe],
        )
        .ask(7, "/7");
    let exchanges = talk.exchanges();
    assert_eq!(exchanges[0].gap, None);
    assert_eq!(exchanges[1].gap, Some(Gap::StreamMismatch));
    assert_eq!(exchanges[1].request.head, None);
    assert_eq!((exchanges[2].gap, exchanges[2].undecoded), (None, true));
    let head = exchanges[2].request.head.as_ref().unwrap();
    assert_eq!(
        (head.method.as_deref(), head.path.as_deref()),
        (Some("GET"), Some("/"))
    );
    assert!(head.headers.is_empty());
    assert_eq!((exchanges[3].gap, exchanges[3].undecoded), (None, false));
}

#[test]
fn what_interrupts_a_block_ends_it_also_where_it_is_left_out() {
    const UNKNOWN: u8 = 0xd1;
    let first = inserted(&request("/1", &[("a", "b")]));
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &first)
        .frame(CLIENT, HEADERS, END_STREAM, 3, &[0x82])
        .frame(CLIENT, UNKNOWN, 0, 3, b"nobody needs this")
        .frame(
            CLIENT,
            HEADERS,
            END_STREAM | END_HEADERS,
            5,
            &[0x82, 0x84, 0x86, 0xbe],
        );
    for block in [None, Some(256)] {
        let told = talk.observations(&Telling {
            block,
            ..Telling::default()
        });
        let exchanges = by_stream(&run(told));
        assert_eq!(exchanges[1].gap, Some(Gap::StreamGap), "{block:?}");
        assert!(exchanges[2].undecoded, "{block:?}");
    }
}

#[test]
fn a_block_that_is_interrupted_or_too_large_is_a_gap() {
    let open = Talk::begun().frame(CLIENT, HEADERS, END_STREAM, 1, &block(&request("/", &[])));
    let interrupted = open.clone().ask(3, "/3");
    let mut large = open;
    for _ in 0..20 {
        large = large.frame(CLIENT, CONTINUATION, 0, 1, &[0x82; 16_000]);
    }
    let large = large.frame(CLIENT, CONTINUATION, END_HEADERS, 1, &[]);
    for talk in [interrupted, large] {
        let talk = talk.ask(5, "/5").answer(5, 200, "");
        let events = talk.events();
        let exchanges = by_stream(&events);
        assert_eq!((begun(&events), lost(&events)), (2, vec![]));
        assert_eq!(exchanges[0].gap, Some(Gap::StreamGap));
        assert_eq!(exchanges[0].request.head, None);
        assert_eq!((exchanges[1].gap, exchanges[1].stream), (None, Some(5)));
        assert!(!exchanges[1].undecoded);
    }
}

#[test]
fn frames_on_streams_that_nobody_opened_are_passed_over() {
    let talk = Talk::begun()
        .frame(SERVER, DATA, 0, 9, b"what")
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS | END_STREAM,
            7,
            &block(&[(":status", "200")]),
        )
        .frame(SERVER, RST_STREAM, 0, 5, &[0; 4])
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS | END_STREAM,
            2,
            &block(&request("/", &[])),
        )
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS | END_STREAM,
            0,
            &block(&request("/", &[])),
        )
        .ask(11, "/")
        .answer(11, 200, "");
    let events = talk.events();
    assert_eq!((begun(&events), lost(&events)), (1, vec![]));
    assert_eq!(by_stream(&events)[0].gap, None);
}

#[test]
fn an_answer_before_its_request_casts_doubt() {
    let talk = Talk::begun()
        .answer(1, 200, "")
        .ask(1, "/")
        .ask(3, "/")
        .answer(3, 200, "");
    let gaps: Vec<_> = talk
        .exchanges()
        .iter()
        .map(|exchange| exchange.gap)
        .collect();
    assert_eq!(gaps, [Some(Gap::StreamMismatch), None]);
}
