//! What makes a message, and where it ends.

use super::script::{CLIENT, SERVER, Script, begun, lost};
use crate::http::Exchange;

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

pub(super) fn status(exchange: &Exchange) -> Option<u16> {
    exchange.response.as_ref()?.status
}

fn path(exchange: &Exchange) -> &str {
    let head = exchange.request.head.as_ref();
    head.and_then(|head| head.path.as_deref())
        .unwrap_or_default()
}

pub(super) fn sizes(exchange: &Exchange) -> (u64, u64) {
    let response = exchange.response.as_ref();
    (
        exchange.request.body_bytes,
        response.map_or(0, |response| response.body_bytes),
    )
}

pub(super) fn is_whole(exchange: &Exchange) -> bool {
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
fn a_head_is_read_to_its_end_though_it_is_answered_already() {
    let script = Script::default()
        .raw(CLIENT, b"GET /long HTTP/1.1\r\nX-Long: vvvv")
        .response("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n", "")
        .raw(CLIENT, b"vvvv\r\n\r\n");
    let exchanges = script.exchanges();
    assert_eq!(exchanges.len(), 1);
    assert_eq!(status(&exchanges[0]), Some(431));
    let head = exchanges[0].request.head.as_ref().unwrap();
    assert_eq!(head.path.as_deref(), Some("/long"));
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
