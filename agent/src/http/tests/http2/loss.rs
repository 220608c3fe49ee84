//! What a loss leaves known, and what is known of a connection that is older than the programs.

use super::wire::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Talk, Telling, block, by_stream, inserted, request,
};
use crate::{
    capture::{Observation, Phase},
    http::{
        Bounds, Exchange, Gap, HttpEvent, Tracker,
        tests::script::{CLIENT, SERVER, begun, lost, run},
    },
    timestamp::Timestamp,
};

const RING: Option<Gap> = Some(Gap::RingLost);

/// Exchanges `/1`, `/3`, …, each of which is one segment each way.
fn serial(count: u32) -> Talk {
    (0..count).fold(Talk::begun(), |talk, number| {
        let stream = 2 * number + 1;
        talk.ask(stream, &format!("/{stream}"))
            .answer(stream, 200, "body")
    })
}

fn refusing(requests: &[u32], responses: &[u32]) -> Telling {
    Telling {
        refused: [requests.to_vec(), responses.to_vec()],
        ..Telling::default()
    }
}

/// Path, status and gap of each exchange.
fn told(events: &[HttpEvent]) -> Vec<(String, Option<u16>, Option<Gap>)> {
    let told = |exchange: Exchange| {
        let head = exchange.request.head.as_ref();
        let path = head.and_then(|head| head.path.clone()).unwrap_or_default();
        let status = exchange
            .response
            .as_ref()
            .and_then(|response| response.status);
        (path, status, exchange.gap)
    };
    by_stream(events).into_iter().map(told).collect()
}

fn whole(stream: u32) -> (String, Option<u16>, Option<Gap>) {
    (format!("/{stream}"), Some(200), None)
}

#[test]
fn lost_requests_are_counted_and_their_answers_passed_over() {
    // The preface and the first SETTINGS are the client's first segment.
    let events = run(serial(5).observations(&refusing(&[2, 3], &[])));
    assert_eq!(lost(&events), [(2, Gap::RingLost)]);
    assert_eq!(told(&events), [whole(1), whole(7), whole(9)]);
}

#[test]
fn requests_lost_at_the_end_are_told_at_the_close() {
    let events = run(serial(3).observations(&refusing(&[2, 3], &[])));
    assert_eq!(lost(&events), [(2, Gap::RingLost)]);
    assert_eq!(told(&events), [whole(1)]);
}

#[test]
fn all_may_be_lost() {
    let events = run(serial(2).observations(&refusing(&[0, 1, 2], &[0, 1, 2])));
    assert_eq!(
        (begun(&events), lost(&events)),
        (0, vec![(2, Gap::RingLost)])
    );
}

#[test]
fn the_preface_may_be_lost() {
    let events = run(serial(2).observations(&refusing(&[0], &[0])));
    assert_eq!(lost(&events), []);
    assert_eq!(told(&events), [whole(1), whole(3)]);
}

#[test]
fn a_lost_answer_taints_what_was_open() {
    let events = run(serial(3).observations(&refusing(&[], &[2])));
    assert_eq!(lost(&events), []);
    assert_eq!(
        told(&events),
        [whole(1), ("/3".into(), None, RING), whole(5)]
    );
}

#[test]
fn an_answer_whose_head_is_lost_ends_with_its_trailers() {
    let trailers = block(&[("grpc-status", "0")]);
    let talk = Talk::begun()
        .ask(1, "/1")
        .frame(
            SERVER,
            HEADERS,
            END_HEADERS,
            1,
            &block(&[(":status", "200")]),
        )
        .frame(SERVER, DATA, 0, 1, b"body")
        .frame(SERVER, HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    let end = Talk::time(talk.writes() - 1);
    let talk = talk.ask(3, "/3").answer(3, 200, "");
    let events = run(talk.observations(&refusing(&[], &[1])));
    let exchanges = by_stream(&events);
    assert_eq!((exchanges[0].gap, exchanges[0].end), (RING, end));
    let response = exchanges[0].response.as_ref().unwrap();
    assert_eq!((response.status, response.headers.len()), (None, 0));
    assert_eq!(response.trailers.values("grpc-status").next(), Some("0"));
    assert_eq!(exchanges[1].gap, None);
}

/// The silence after a refusal ends what waits, as it does for HTTP/1.
#[test]
fn what_may_have_been_answered_ends_with_the_connection() {
    let talk = Talk::begun()
        .ask(1, "/1")
        .answer(1, 200, "")
        .ask(3, "/3")
        .answer(3, 200, "");
    let events = run(talk.observations(&refusing(&[], &[1])));
    assert_eq!(told(&events), [("/1".into(), None, RING), whole(3)]);
}

#[test]
fn a_request_that_lost_its_end_ends_with_its_response() {
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_HEADERS, 1, &block(&request("/1", &[])))
        .frame(CLIENT, DATA, END_STREAM, 1, b"body")
        .ask(3, "/3")
        .answer(3, 200, "")
        .answer(1, 200, "");
    let end = Talk::time(talk.writes() - 1);
    let events = run(talk.observations(&refusing(&[2], &[])));
    assert_eq!(lost(&events), []);
    let exchanges = by_stream(&events);
    assert_eq!((exchanges[0].gap, exchanges[0].end), (RING, end));
    assert_eq!(exchanges[0].request.ended, None);
    assert_eq!(exchanges[1].gap, None);
}

#[test]
fn what_was_inserted_before_a_loss_is_unknown_and_what_comes_after_is_not() {
    let exchange = |talk: Talk, stream: u32, block: &[u8]| {
        talk.frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, stream, block)
            .answer(stream, 200, "")
    };
    let first = inserted(&request("/1", &[("a", "1")]));
    let lost_block = inserted(&[("c", "3")]);
    let third = [
        &block(&request("/5", &[]))[..],
        &[0xbe],
        &inserted(&[("b", "2")]),
    ]
    .concat();
    let fourth = [&block(&request("/7", &[]))[..], &[0xbe, 0xbf]].concat();
    let talk = exchange(Talk::begun(), 1, &first);
    let talk = exchange(talk, 3, &lost_block);
    let talk = exchange(talk, 5, &third);
    let talk = exchange(talk, 7, &fourth);
    let events = run(talk.observations(&refusing(&[2], &[])));
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
    let exchanges = by_stream(&events);
    let headers = |exchange: &Exchange| {
        let head = exchange.request.head.as_ref().unwrap();
        let fields = head.headers.iter();
        fields
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (headers(&exchanges[0]), exchanges[0].undecoded),
        (vec!["a=1".into()], false)
    );
    assert_eq!(
        (headers(&exchanges[1]), exchanges[1].undecoded),
        (vec!["b=2".into()], true)
    );
    assert_eq!(
        (headers(&exchanges[2]), exchanges[2].undecoded),
        (vec!["b=2".into()], true)
    );
}

#[test]
fn a_method_that_is_not_known_is_none() {
    let odd = inserted(&[
        (":method", "PROPFIND"),
        (":scheme", "http"),
        (":path", "/old"),
    ]);
    let talk = Talk::begun()
        .frame(CLIENT, HEADERS, END_STREAM | END_HEADERS, 1, &odd)
        .answer(1, 200, "")
        // Method, scheme and path from the table.
        .frame(
            CLIENT,
            HEADERS,
            END_STREAM | END_HEADERS,
            3,
            &[0xc0, 0xbf, 0xbe],
        )
        .answer(3, 200, "");
    let whole = &talk.exchanges()[1];
    let head = whole.request.head.as_ref().unwrap();
    assert_eq!(
        (head.method.as_deref(), head.path.as_deref()),
        (Some("PROPFIND"), Some("/old"))
    );
    let events = run(talk.observations(&refusing(&[1], &[])));
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
    let exchange = &by_stream(&events)[0];
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(
        (
            head.method.clone(),
            head.path.clone(),
            head.authority.clone()
        ),
        (None, None, None)
    );
    assert!(exchange.undecoded);
}

#[test]
fn an_old_connection_is_read_from_its_next_request_on() {
    let talk = Talk::begun()
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS,
            1,
            &block(&request("/old", &[])),
        )
        .ask(3, "/3")
        .frame(CLIENT, DATA, 0, 1, b"more")
        .frame(
            CLIENT,
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &block(&[("trailer", "1")]),
        )
        .answer(3, 200, "three")
        .answer(1, 200, "one")
        .ask(5, "/5")
        .ask(7, "/7")
        .answer(7, 200, "seven")
        .answer(5, 200, "five");
    // The programs come before the DATA, or the trailers.
    for joined in [4, 5] {
        let telling = Telling {
            joined: [joined, 1],
            ..Telling::default()
        };
        let events = run(talk.observations(&telling));
        assert_eq!(told(&events), [whole(5), whole(7)]);
        assert_eq!(lost(&events), []);
        let joined: Vec<_> = by_stream(&events)
            .iter()
            .map(|exchange| exchange.joined)
            .collect();
        assert_eq!(joined, [true, false]);
    }
}

#[test]
fn a_hole_in_the_stream_is_of_unknown_number() {
    let talk = serial(4);
    let mut observations = talk.observations(&Telling::default());
    // The client's third segment was never seen, and the kernel side found a frame after it.
    let mut segments = 0;
    observations.retain_mut(|observation| {
        let Observation::Segment(segment) = observation else {
            return true;
        };
        if segment.cookie != 1 {
            return true;
        }
        segments += 1;
        if segments > 3 {
            segment.index -= 1;
            segment.messages_before -= 1;
            segment.after_gap = segments == 4;
            segment.joined = segments == 4;
        }
        segments != 3
    });
    let events = run(observations);
    assert_eq!(lost(&events), [(0, Gap::StreamGap)]);
    assert_eq!(told(&events), [whole(1), whole(5), whole(7)]);
}

#[test]
fn silence_after_a_refusal_ends_what_waits() {
    use crate::capture::{Refusal, Refused};
    let talk = Talk::begun().ask(1, "/1");
    let mut observations = talk.observations(&Telling::default());
    observations.retain(|observation| {
        !matches!(observation, Observation::Socket(socket) if socket.phase == Phase::Closed)
    });
    let last = Talk::time(talk.writes());
    observations.pop();
    observations.push(Observation::Refused(Refused {
        cgroup: None,
        refusal: Refusal::StreamsFull,
        from: last,
        to: last,
    }));
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in observations {
        tracker.observe(observation, &mut events);
    }
    for second in 1..30 {
        let time = Timestamp(last.0 + second * 1_000_000_000);
        tracker.observe(Observation::Progress(time), &mut events);
    }
    assert_eq!(told(&events), [("/1".into(), None, RING)]);
}

#[test]
fn an_answer_that_was_missed_is_not_waited_for_on_a_busy_connection() {
    const LATER: u64 = 21_000_000_000;
    let talk = serial(2);
    let before = Talk::time(talk.writes() - 1);
    let talk = talk.ask(5, "/5").answer(5, 200, "");
    let mut observations = talk.observations(&refusing(&[], &[1]));
    for observation in &mut observations {
        let time = match observation {
            Observation::Segment(segment) => &mut segment.time,
            Observation::Socket(socket) => &mut socket.time,
            Observation::Progress(time) => time,
            _ => continue,
        };
        if *time > before {
            time.0 += LATER;
        }
    }
    let events = run(observations);
    assert_eq!(
        told(&events),
        [("/1".into(), None, RING), whole(3), whole(5)]
    );
    let ended = events.iter().filter_map(|event| match event {
        HttpEvent::Ended(exchange) => exchange.stream,
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [3, 1, 5]);
}
