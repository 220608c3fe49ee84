//! What is read of messages.

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, Talk, WINDOW_UPDATE, WITH_PRIORITY, block, by_stream,
    inserted, request,
};
use crate::http::{
    Exchange, HttpEvent,
    tests::script::{CLIENT, SERVER, begun, lost},
};

/// The fields of a head in order.
fn fields(headers: &crate::http::Headers) -> Vec<(&str, &str)> {
    headers.iter().collect()
}

fn path(exchange: &Exchange) -> Option<&str> {
    exchange.request.head.as_ref()?.path.as_deref()
}

fn status(exchange: &Exchange) -> Option<u16> {
    exchange.response.as_ref()?.status
}

#[test]
fn an_exchange_is_told_whole() {
    let talk = Talk::begun();
    let first = talk.writes();
    let talk = talk.ask(1, "/a?b=c").answer(1, 404, "nothing");
    let events = talk.events();
    let begun: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            HttpEvent::Begun {
                exchange,
                stream,
                time,
                ..
            } => Some((*exchange, *stream, *time)),
            _ => None,
        })
        .collect();
    assert_eq!(begun, [(0, Some(1), Talk::time(first))]);
    let exchange = &by_stream(&events)[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(head.method.as_deref(), Some("GET"));
    assert_eq!(head.path.as_deref(), Some("/a?b=c"));
    assert_eq!(head.authority.as_deref(), Some("host"));
    assert_eq!((head.version, head.headers.len()), ("2", 0));
    assert_eq!(exchange.request.ended, Some(Talk::time(first)));
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.status, response.body_bytes), (Some(404), 7));
    assert_eq!(response.ended, Some(Talk::time(first + 1)));
    assert_eq!(exchange.end, Talk::time(first + 1));
    assert_eq!(
        (exchange.gap, exchange.joined, exchange.undecoded),
        (None, false, false)
    );
}

#[test]
fn headers_come_in_order_and_cookies_as_they_are() {
    let sent = request(
        "/",
        &[
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
        ],
    );
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &block(&sent))
        .answer(1, 200, "");
    let exchange = &talk.exchanges()[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(fields(&head.headers), sent[4..]);
}

#[test]
fn the_host_stands_in_for_the_authority() {
    let block = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        ("host", "h"),
    ]);
    let talk = Talk::begun().frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &block);
    let exchange = &talk.exchanges()[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(head.authority.as_deref(), Some("h"));
    assert_eq!(fields(&head.headers), [("host", "h")]);
}

#[test]
fn answers_find_their_streams_in_any_order() {
    let mut talk = Talk::begun();
    for stream in [1, 3, 5, 9] {
        talk = talk.ask(stream, &format!("/{stream}"));
    }
    for stream in [5, 1, 9, 3] {
        talk = talk.answer(stream, 400 + u16::try_from(stream).unwrap(), "body");
    }
    let events = talk.events();
    assert_eq!((begun(&events), lost(&events)), (4, vec![]));
    for exchange in by_stream(&events) {
        let stream = exchange.stream.unwrap();
        assert_eq!(path(&exchange), Some(format!("/{stream}").as_str()));
        assert_eq!(
            status(&exchange),
            Some(400 + u16::try_from(stream).unwrap())
        );
    }
}

#[test]
fn padding_and_priority_are_no_part_of_a_message() {
    let block = block(&request("/padded", &[("content-length", "4")]));
    let head = [&[7][..], &[0x80, 0, 0, 3, 16], &block, &[0; 7]].concat();
    let data = [&[250][..], b"body", &[0; 250]].concat();
    let talk = Talk::begun()
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS | PADDED | WITH_PRIORITY,
            1,
            &head,
        )
        .frame(CLIENT, DATA, PADDED, 1, &[3, 0, 0, 0])
        .frame(CLIENT, DATA, PADDED | END_STREAM, 1, &data)
        .answer(1, 200, "");
    let exchange = &talk.exchanges()[0];
    assert_eq!(path(exchange), Some("/padded"));
    assert_eq!(exchange.request.body_bytes, 4);
    assert!(exchange.request.ended.is_some() && exchange.gap.is_none());
}

#[test]
fn a_block_may_be_split_over_many_frames() {
    let long = "v".repeat(60_000);
    let block = block(&request("/long", &[("x-long", &long)]));
    let mut parts = block.chunks(1000);
    let mut talk = Talk::begun().frame(CLIENT, HEADERS, END_STREAM, 1, parts.next().unwrap());
    for part in parts {
        talk = talk.frame(CLIENT, CONTINUATION, 0, 1, part);
    }
    let talk = talk
        .frame(CLIENT, CONTINUATION, END_HEADERS, 1, &[])
        .answer(1, 200, "");
    let exchange = &talk.exchanges()[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(fields(&head.headers), [("x-long", long.as_str())]);
    assert!(exchange.request.ended.is_some());
}

#[test]
fn bodies_are_counted_and_trailers_kept() {
    let head = block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let trailers = block(&[("grpc-status", "5"), ("grpc-message", "none")]);
    let talk = Talk::begun()
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS,
            1,
            &block(&request("/s/m", &[])),
        )
        .frame(CLIENT, DATA, 0, 1, &[0; 500])
        .frame(CLIENT, DATA, END_STREAM, 1, &[])
        .frame(SERVER, HEADERS, END_HEADERS, 1, &head)
        .frame(SERVER, DATA, 0, 1, &[0; 3000])
        .frame(SERVER, DATA, 0, 1, &[0; 20])
        .frame(SERVER, HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    let exchange = &talk.exchanges()[0];
    assert_eq!(exchange.request.body_bytes, 500);
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.body_bytes, 3020);
    assert_eq!(
        fields(&response.headers),
        [("content-type", "application/grpc")]
    );
    assert_eq!(
        fields(&response.trailers),
        [("grpc-status", "5"), ("grpc-message", "none")]
    );
    assert!(response.ended.is_some());
}

#[test]
fn a_response_of_trailers_alone_has_them_in_its_head() {
    let head = block(&[(":status", "200"), ("grpc-status", "7")]);
    let talk =
        Talk::begun()
            .ask(1, "/s/m")
            .frame(SERVER, HEADERS, END_HEADERS | END_STREAM, 1, &head);
    let exchange = &talk.exchanges()[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(fields(&response.headers), [("grpc-status", "7")]);
    assert!(response.trailers.is_empty() && response.ended.is_some());
}

#[test]
fn trailers_of_a_request_end_it() {
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_HEADERS, 1, &block(&request("/", &[])))
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &block(&[("x", "y")]),
        )
        .answer(1, 200, "");
    let events = talk.events();
    assert_eq!(begun(&events), 1);
    let exchange = &by_stream(&events)[0];
    assert!(exchange.request.ended.is_some());
    assert!(exchange.request.head.as_ref().unwrap().headers.is_empty());
}

#[test]
fn interim_responses_are_passed_over() {
    let early = block(&[(":status", "103"), ("link", "</a>")]);
    let talk = Talk::begun()
        .ask(1, "/")
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS,
            1,
            &block(&[(":status", "100")]),
        )
        .frame(SERVER, HEADERS, END_HEADERS, 1, &early)
        .answer(1, 204, "");
    let exchange = &talk.exchanges()[0];
    assert_eq!(status(exchange), Some(204));
    assert!(exchange.response.as_ref().unwrap().headers.is_empty());
}

#[test]
fn a_push_is_decoded_and_is_no_exchange() {
    let promise = [
        &[0, 0, 0, 2][..],
        &inserted(&request("/pushed", &[("x-pushed", "1")])),
    ]
    .concat();
    let talk = Talk::begun()
        .ask(1, "/")
        .frame(SERVER, PUSH_PROMISE, END_HEADERS, 1, &promise)
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS,
            2,
            &block(&[(":status", "200")]),
        )
        .frame(SERVER, DATA, END_STREAM, 2, b"pushed")
        // The newest entry, which the promise inserted.
        .frame(SERVER, HEADERS, END_HEADERS | END_STREAM, 1, &[0x88, 0xbe]);
    let events = talk.events();
    assert_eq!(begun(&events), 1);
    let exchange = &by_stream(&events)[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.status, Some(200));
    assert_eq!(fields(&response.headers), [("x-pushed", "1")]);
    assert_eq!(response.body_bytes, 0);
}

#[test]
fn a_block_is_read_to_its_end_though_the_server_resets_its_stream() {
    let block = block(&request("/long", &[("x-long", &"v".repeat(100))]));
    let (front, back) = block.split_at(block.len() / 2);
    for end_stream in [0, END_STREAM] {
        let talk = Talk::begun()
            .frame(CLIENT, HEADERS, end_stream, 1, front)
            .frame(SERVER, RST_STREAM, 0, 1, &[0, 0, 0, 8])
            .frame(CLIENT, CONTINUATION, END_HEADERS, 1, back)
            .ask(3, "/next")
            .answer(3, 200, "");
        let exchanges = talk.exchanges();
        assert_eq!(path(&exchanges[0]), Some("/long"));
        assert!(exchanges[0].response.is_none());
        assert_eq!(exchanges[0].gap, None);
        assert_eq!(
            exchanges[0].request.ended.is_some(),
            end_stream == END_STREAM
        );
        assert_eq!(status(&exchanges[1]), Some(200));
    }
}

#[test]
fn a_reset_from_either_end_ends_the_exchange() {
    for end in [CLIENT, SERVER] {
        let talk = Talk::begun()
            .frame(CLIENT, HEADERS, END_HEADERS, 1, &block(&request("/", &[])))
            .frame(CLIENT, DATA, 0, 1, b"part")
            .frame(
                SERVER,
                HEADERS,
                END_HEADERS,
                1,
                &block(&[(":status", "200")]),
            );
        let reset = talk.writes();
        let talk = talk
            .frame(end, RST_STREAM, 0, 1, &[0, 0, 0, 8])
            .frame(SERVER, DATA, END_STREAM, 1, b"late")
            .ask(3, "/next")
            .answer(3, 200, "");
        let exchanges = talk.exchanges();
        let exchange = &exchanges[0];
        assert_eq!(exchange.end, Talk::time(reset));
        assert_eq!(
            (exchange.request.ended, exchange.request.body_bytes),
            (None, 4)
        );
        let response = exchange.response.as_ref().unwrap();
        assert_eq!((response.ended, response.body_bytes), (None, 0));
        assert_eq!(exchange.gap, None);
        assert_eq!(status(&exchanges[1]), Some(200));
    }
}

#[test]
fn a_response_may_end_before_its_request() {
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_HEADERS, 1, &block(&request("/", &[])))
        .answer(1, 413, "too much")
        .frame(SERVER, RST_STREAM, 0, 1, &[0; 4]);
    let exchange = &talk.exchanges()[0];
    assert_eq!(status(exchange), Some(413));
    assert!(exchange.response.as_ref().unwrap().ended.is_some());
    assert_eq!(exchange.request.ended, None);
}

#[test]
fn streams_that_are_refused_end_without_a_response() {
    let going = [0, 0, 0, 3, 0, 0, 0, 0];
    let talk = Talk::begun().ask(1, "/1").ask(3, "/3").ask(5, "/5");
    let refused = talk.writes();
    let talk = talk
        .frame(SERVER, GOAWAY, 0, 0, &going)
        .ask(7, "/7")
        .answer(3, 200, "three")
        .answer(1, 200, "one");
    let exchanges = talk.exchanges();
    let statuses: Vec<_> = exchanges.iter().map(status).collect();
    assert_eq!(statuses, [Some(200), Some(200), None, None]);
    assert_eq!(exchanges[2].end, Talk::time(refused));
    assert_eq!(exchanges[3].end, Talk::time(refused + 1));
    assert_eq!(path(&exchanges[3]), Some("/7"));
    let refused: Vec<_> = exchanges.iter().map(|exchange| exchange.refused).collect();
    assert_eq!(refused, [false, false, true, true]);
    assert!(exchanges.iter().all(|exchange| exchange.gap.is_none()));
}

#[test]
fn a_stream_is_refused_only_before_it_is_answered() {
    let refusal = |talk: Talk, stream| talk.frame(SERVER, RST_STREAM, 0, stream, &[0, 0, 0, 7]);
    let talk = refusal(Talk::begun().ask(1, "/1"), 1).ask(3, "/3");
    let head = block(&[(":status", "200")]);
    let talk = talk.frame(SERVER, HEADERS, END_HEADERS, 3, &head);
    let talk = refusal(talk, 3).ask(5, "/5");
    // INTERNAL_ERROR: something was done.
    let talk = talk.frame(SERVER, RST_STREAM, 0, 5, &[0, 0, 0, 2]);
    let exchanges = talk.exchanges();
    let refused: Vec<_> = exchanges.iter().map(|exchange| exchange.refused).collect();
    assert_eq!(refused, [true, false, false]);
}

#[test]
fn a_first_farewell_ends_nothing() {
    let talk = Talk::begun()
        .ask(1, "/1")
        .frame(SERVER, GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        .ask(3, "/3")
        .answer(3, 200, "")
        .answer(1, 200, "");
    let statuses: Vec<_> = talk.exchanges().iter().map(status).collect();
    assert_eq!(statuses, [Some(200), Some(200)]);
}

#[test]
fn a_tunnel_has_no_content_and_ends_with_its_stream() {
    let plain = block(&[(":method", "CONNECT"), (":authority", "far:443")]);
    let extended = block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "host"),
    ]);
    for (head, path) in [(plain, None), (extended, Some("/chat"))] {
        let talk = Talk::begun()
            .frame(CLIENT, HEADERS, END_HEADERS, 1, &head)
            .frame(
                SERVER,
                HEADERS,
                END_HEADERS,
                1,
                &block(&[(":status", "200")]),
            );
        let opened = talk.writes() - 1;
        let talk = talk
            .frame(CLIENT, DATA, 0, 1, b"up")
            .frame(SERVER, DATA, END_STREAM, 1, b"down")
            .frame(CLIENT, DATA, END_STREAM, 1, b"");
        let exchange = &talk.exchanges()[0];
        let head = exchange.request.head.as_ref().unwrap();
        assert_eq!(
            (head.method.as_deref(), head.path.as_deref()),
            (Some("CONNECT"), path)
        );
        assert!(head.authority.is_some());
        let response = exchange.response.as_ref().unwrap();
        assert!(response.upgraded);
        assert_eq!(response.ended, Some(Talk::time(opened)));
        assert_eq!((response.body_bytes, exchange.request.body_bytes), (0, 0));
        assert_eq!(exchange.end, Talk::time(opened + 3));
    }
}

#[test]
fn a_tunnel_that_is_refused_is_an_exchange_like_others() {
    let head = block(&[(":method", "CONNECT"), (":authority", "far:443")]);
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_HEADERS, 1, &head)
        .answer(1, 403, "never")
        .frame(CLIENT, DATA, END_STREAM, 1, b"");
    let exchange = &talk.exchanges()[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.upgraded, response.body_bytes), (false, 5));
}

#[test]
fn frames_that_say_nothing_may_stand_anywhere() {
    let mut talk = Talk::begun();
    for stream in [1, 3, 5] {
        for end in [CLIENT, SERVER] {
            talk = talk
                .frame(end, PING, 0, 0, &[9; 8])
                .frame(end, WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])
                .frame(end, 0xbe, 0xff, stream, &[7; 300]);
        }
        talk = talk
            .frame(CLIENT, PRIORITY, 0, stream + 200, &[0, 0, 0, 1, 5])
            .ask(stream, "/")
            .frame(SERVER, WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0])
            .answer(stream, 200, "body");
    }
    let events = talk.events();
    assert_eq!((begun(&events), lost(&events)), (3, vec![]));
    for exchange in by_stream(&events) {
        assert_eq!(exchange.response.as_ref().unwrap().body_bytes, 4);
        assert_eq!(exchange.gap, None);
    }
}

#[test]
fn a_table_grows_as_far_as_the_peer_allows() {
    // 8192 bytes in the server's SETTINGS, then in a block of the client.
    let update = [0x3f, 0xe1, 0x3f];
    let value = "v".repeat(3000);
    let first = [
        &update[..],
        &inserted(&request("/", &[("a", &value), ("b", &value)])),
    ]
    .concat();
    // Both entries are still there.
    let second = [&block(&request("/", &[]))[..], &[0xbe, 0xbf]].concat();
    for allowed in [true, false] {
        let size = if allowed { 0x20 } else { 0 };
        let talk = Talk::begun()
            .frame(SERVER, SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10 + size, 0])
            .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &first)
            .answer(1, 200, "")
            .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 3, &second)
            .answer(3, 200, "");
        let exchanges = talk.exchanges();
        let heads: Vec<_> = exchanges
            .iter()
            .map(|exchange| exchange.request.head.as_ref())
            .collect();
        if allowed {
            assert_eq!(
                fields(&heads[1].unwrap().headers),
                [("b", value.as_str()), ("a", value.as_str())]
            );
            assert!(
                exchanges
                    .iter()
                    .all(|exchange| !exchange.undecoded && exchange.gap.is_none())
            );
        } else {
            assert!(heads[0].is_none() && exchanges[0].gap.is_some());
            assert!(exchanges[1].undecoded);
        }
    }
}

#[test]
fn a_stream_that_lasts_is_pending_until_it_ends() {
    let mut talk = Talk::begun()
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS,
            1,
            &block(&request("/stream", &[])),
        )
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS,
            1,
            &block(&[(":status", "200")]),
        );
    for _ in 0..50 {
        talk = talk
            .frame(CLIENT, DATA, 0, 1, &[0; 100])
            .frame(SERVER, DATA, 0, 1, &[0; 200])
            .ask(3, "/short");
    }
    let last = talk.writes();
    let talk = talk.frame(CLIENT, DATA, END_STREAM, 1, b"").frame(
        SERVER,
        HEADERS,
        END_STREAM | END_HEADERS,
        1,
        &block(&[("grpc-status", "0")]),
    );
    let exchange = &talk.exchanges()[0];
    assert_eq!(exchange.request.body_bytes, 5000);
    assert_eq!(exchange.response.as_ref().unwrap().body_bytes, 10_000);
    assert_eq!(exchange.end, Talk::time(last + 1));
}

#[test]
fn an_exchange_that_is_open_ends_with_the_connection() {
    let talk = Talk::begun()
        .ask(1, "/")
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS,
            1,
            &block(&[(":status", "200")]),
        )
        .frame(SERVER, DATA, 0, 1, b"part");
    let end = Talk::time(talk.writes());
    let exchange = &talk.exchanges()[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.ended, response.body_bytes), (None, 4));
    assert_eq!((exchange.end, exchange.gap), (end, None));
}
