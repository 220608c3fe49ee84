//! How a connection comes to be HTTP/2, and how it ends.

use super::wire::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS, Talk, Telling, block, by_stream,
    frame, request,
};
use crate::{
    capture::{Observation, Opener},
    http::{
        Bounds, Gap, HttpEvent, Tracker,
        tests::script::{
            self, CLIENT, Cutting, SERVER, Script, begun, closed, exchanges, lost, run,
        },
    },
};

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// A request on a stream, and the answer to it.
fn asked(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        stream,
        &block(&request("/", &[])),
    )
}

fn answered(stream: u32) -> Vec<u8> {
    let head = block(&[(":status", "204")]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// The kernel side told neither end for HTTP/2, and everything that they sent.
#[test]
fn a_preface_in_pieces_is_recognised() {
    let client = [PREFACE, &settings(), &asked(1), &asked(3)].concat();
    let server = [settings(), answered(1), answered(3)].concat();
    for cut in 1..client.len().max(server.len()) {
        let cut = [cut.min(client.len() - 1), cut.min(server.len() - 1)];
        let script = Script::default()
            .raw(CLIENT, &client[..cut[0]])
            .raw(SERVER, &server[..cut[1].min(10)])
            .raw(CLIENT, &client[cut[0]..])
            .raw(SERVER, &server[cut[1].min(10)..]);
        for bytewise in [false, true] {
            let cuts = if bytewise {
                [&client, &server].map(|bytes| (0..bytes.len()).collect())
            } else {
                [vec![], vec![]]
            };
            let cutting = Cutting {
                cuts,
                ..Cutting::default()
            };
            let events = run(script.observations(&cutting));
            assert_eq!((begun(&events), lost(&events)), (2, vec![]), "{cut:?}");
            for exchange in by_stream(&events) {
                assert_eq!(exchange.response.unwrap().status, Some(204));
            }
        }
    }
}

/// The server's SETTINGS come between the two halves of a request line.
#[test]
fn what_a_client_of_http1_sends_is_read_on_wherever_the_server_speaks() {
    let line = b"GET /long/path HTTP/1.1\r\n";
    let request = [line, &b"Host: h\r\n\r\n"[..]].concat();
    for cut in 1..line.len() {
        let script = Script::default()
            .raw(CLIENT, &request[..cut])
            .raw(SERVER, &settings())
            .raw(CLIENT, &request[cut..]);
        let [exchange] = &script.exchanges()[..] else {
            panic!("one exchange: {cut}");
        };
        let head = exchange.request.head.as_ref();
        let path = head.and_then(|head| head.path.as_deref());
        assert_eq!((path, exchange.gap), (Some("/long/path"), None), "{cut}");
        assert_eq!(exchange.time, Script::time(0), "{cut}");
    }
}

#[test]
fn what_could_have_become_http2_began_with_its_first_byte() {
    let other = b"PRI * HTTP/2.1 and more\r\n";
    for cut in 1..14 {
        let script = Script::default()
            .raw(CLIENT, &other[..cut])
            .raw(CLIENT, &other[cut..])
            .response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "");
        let cutting = Cutting {
            cuts: [(13..other.len()).collect(), vec![]],
            ..Cutting::default()
        };
        let [exchange] = &exchanges(&run(script.observations(&cutting)))[..] else {
            panic!("one exchange: {cut}");
        };
        assert_eq!(exchange.time, Script::time(0), "{cut}");
    }
}

/// Half an answer comes before what could have become a preface.
#[test]
fn what_could_have_become_http2_does_not_hide_an_answer() {
    let request = b"PRI * HTTP/2.0\rx";
    for cut in 1..request.len() {
        let script = Script::default()
            .raw(CLIENT, b"\n")
            .raw(SERVER, b"HTTP/1.1 400 Bad Request\r\nA: b")
            .raw(CLIENT, &request[..cut])
            .raw(CLIENT, &request[cut..])
            .raw(SERVER, b"\r\nContent-Length: 0\r\n\r\n");
        let [exchange] = &script.exchanges()[..] else {
            panic!("one exchange: {cut}");
        };
        assert_eq!(exchange.time, Script::time(2), "{cut}");
        let status = exchange.response.as_ref().unwrap().status;
        assert_eq!((status, exchange.gap), (Some(400), None), "{cut}");
    }
}

#[test]
fn a_server_may_speak_first() {
    let talk = Talk::default()
        .write(SERVER, &settings())
        .write(CLIENT, &[PREFACE, &settings()].concat())
        .ask(1, "/")
        .answer(1, 200, "");
    assert_eq!(
        talk.exchanges()[0].response.as_ref().unwrap().status,
        Some(200)
    );
}

/// A server that knows nothing but HTTP/2 sends its SETTINGS to everybody.
#[test]
fn a_client_of_http1_is_read_as_such_after_all() {
    for raw in [false, true] {
        let mut observations = Talk::default()
            .write(SERVER, &settings())
            .frame(SERVER, GOAWAY, 0, 0, &[0; 8])
            .observations(&Telling {
                raw,
                ..Telling::default()
            });
        let (segments, totals) = Script::default()
            .request("PUT /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "")
            .segments(&Cutting::default());
        observations.insert(3, Observation::Segment(segments[0].clone()));
        for observation in &mut observations {
            if let Observation::Socket(socket) = observation
                && socket.cookie == script::cookie(CLIENT)
                && socket.fin_sent
            {
                socket.bytes_sent = segments[0].bytes.len() as u64;
                socket.stream = totals[CLIENT];
            }
        }
        let events = run(observations);
        let exchange = &exchanges(&events)[0];
        let head = exchange.request.head.as_ref().unwrap();
        assert_eq!((head.path.as_deref(), head.version), (Some("/a"), "1.1"));
        assert_eq!((exchange.stream, exchange.response.clone()), (None, None));
    }
}

/// The kernel side takes SETTINGS for the beginning of a server, whoever sends them.
#[test]
fn a_client_that_began_with_something_else_asks_nothing_later() {
    let garbage = [settings(), frame(2, 0, 0, &[0; 5])].concat();
    for order in [[CLIENT, SERVER], [SERVER, CLIENT]] {
        let mut talk = Talk::default();
        for end in order {
            let bytes = if end == CLIENT {
                garbage.clone()
            } else {
                settings()
            };
            talk = talk.write(end, &bytes);
        }
        talk = talk
            .write(CLIENT, &[PREFACE, &settings(), &asked(1)].concat())
            .write(SERVER, &answered(1));
        let events = run(talk.observations(&Telling {
            block: None,
            ..Telling::default()
        }));
        assert_eq!(begun(&events), 0, "{events:?}");
        assert_eq!(closed(&events).len(), 1);
    }
}

#[test]
fn frames_are_no_answer_to_http1() {
    let (asked, asks) = Script::default()
        .request("GET /a HTTP/1.1\r\n\r\n", "")
        .segments(&Cutting::default());
    let mut observations = Talk::default()
        .write(SERVER, &settings())
        .observations(&Telling::default());
    observations.insert(2, Observation::Segment(asked[0].clone()));
    for observation in &mut observations {
        if let Observation::Socket(socket) = observation
            && socket.cookie == script::cookie(CLIENT)
            && socket.fin_sent
        {
            socket.bytes_sent = asked[0].bytes.len() as u64;
            socket.stream = asks[CLIENT];
        }
    }
    let events = run(observations);
    let exchange = &exchanges(&events)[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(
        (head.path.as_deref(), exchange.response.clone()),
        (Some("/a"), None)
    );
    assert_eq!(exchange.gap, Some(Gap::StreamMismatch));
}

#[test]
fn an_upgrade_is_answered_on_the_first_stream() {
    let asks = "GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: \r\n\r\n";
    let switches =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let body = frame(0, END_STREAM, 1, b"body");
    let head = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")]));
    let first = [settings(), head, body].concat();
    for together in [false, true] {
        let script = Script::default().request(asks, "");
        let script = if together {
            script.write(
                SERVER,
                &[(switches.as_bytes(), false), (&first, false)],
                true,
            )
        } else {
            script.response(switches, "").raw(SERVER, &first)
        };
        let script = script
            .raw(CLIENT, &[PREFACE, &settings(), &asked(3)].concat())
            .raw(SERVER, &answered(3));
        let events = script.events();
        assert_eq!((begun(&events), lost(&events)), (2, vec![]));
        let exchanges = exchanges(&events);
        let upgraded = &exchanges[0];
        assert_eq!((upgraded.exchange, upgraded.gap), (0, None));
        let head = upgraded.request.head.as_ref().unwrap();
        assert_eq!((head.path.as_deref(), head.version), (Some("/up"), "1.1"));
        let response = upgraded.response.as_ref().unwrap();
        assert_eq!((response.status, response.body_bytes), (Some(200), 4));
        assert!(response.ended.is_some() && !response.upgraded);
        assert_eq!(exchanges[1].stream, Some(3));
    }
}

#[test]
fn a_connection_without_a_stream_has_no_request() {
    let talk = Talk::begun();
    assert!(closed(&talk.events())[0].no_request);
    let talk = talk.ask(1, "/");
    assert!(!closed(&talk.events())[0].no_request);
}

#[test]
fn beyond_the_bound_the_oldest_is_evicted() {
    let mut talk = Talk::begun();
    for stream in (1..20).step_by(2) {
        talk = talk.ask(stream, "/");
    }
    for stream in (1..20).step_by(2) {
        talk = talk.answer(stream, 200, "");
    }
    let bounds = Bounds {
        outstanding: 4,
        ..Bounds::default()
    };
    let mut tracker = Tracker::new(bounds);
    let mut events = Vec::new();
    for observation in talk.observations(&Telling::default()) {
        tracker.observe(observation, &mut events);
    }
    script::assert_order(&events);
    let gaps: Vec<_> = by_stream(&events)
        .iter()
        .map(|exchange| exchange.gap)
        .collect();
    assert_eq!(gaps, [vec![Some(Gap::Evicted); 6], vec![None; 4]].concat());
}

#[test]
fn many_streams_are_told_in_their_order() {
    let mut talk = Talk::begun();
    for stream in (1..1000).step_by(2) {
        talk = talk.ask(stream, "/");
    }
    for stream in (1..1000).rev().filter(|stream| stream % 2 == 1) {
        talk = talk.answer(stream, 200, "x");
    }
    let events = talk.events();
    let streams: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            HttpEvent::Begun { stream, .. } => *stream,
            _ => None,
        })
        .collect();
    assert_eq!(streams, (1..1000).step_by(2).collect::<Vec<_>>());
    assert!(
        by_stream(&events)
            .iter()
            .all(|exchange| exchange.gap.is_none())
    );
}

/// Nobody saw who opened it, but the frames tell.
#[test]
fn the_client_of_an_old_connection_shows_itself() {
    for speaks in [CLIENT, SERVER] {
        let talk = Talk::begun()
            .ask(1, "/old")
            .answer(1, 200, "")
            .ask(3, "/new")
            .answer(3, 200, "");
        let telling = Telling {
            joined: [3, 2],
            ..Telling::default()
        };
        let mut observations = talk.observations(&telling);
        for observation in &mut observations {
            if let Observation::Socket(socket) = observation {
                socket.opener = Opener::Unknown;
                socket.asked = None;
                // The ports say the contrary.
                std::mem::swap(&mut socket.local, &mut socket.remote);
                socket.sent = None;
            }
        }
        if speaks == SERVER {
            let is_client = |observation: &Observation| {
                matches!(observation, Observation::Segment(segment)
                    if segment.cookie == script::cookie(CLIENT))
            };
            observations.retain(|observation| !is_client(observation));
        }
        let events = run(observations);
        let connection = &script::opened(&events)[0];
        assert_eq!(connection.id, script::cookie(CLIENT));
        assert_eq!(begun(&events), usize::from(speaks == CLIENT));
    }
}
