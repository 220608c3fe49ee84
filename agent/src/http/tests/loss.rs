//! What a loss leaves known, and where reading goes on.

use super::script::{CLIENT, Cutting, SERVER, Script, begun, closed, cookie, exchanges, lost, run};
use crate::{
    capture::{Observation, Phase, Segment},
    http::{Exchange, Gap, HttpEvent},
};

/// Serial exchanges `/0`, `/1`, … each of which is one segment each way, answered by `200 + n`.
fn serial(count: usize) -> Script {
    (0..count).fold(Script::default(), |script, index| {
        script
            .request(&format!("GET /{index} HTTP/1.1\r\n\r\n"), "")
            .response(&answer(index), "body")
    })
}

fn answer(index: usize) -> String {
    format!("HTTP/1.1 {} X\r\nContent-Length: 4\r\n\r\n", 400 + index)
}

fn refusing(requests: &[u32], responses: &[u32]) -> Cutting {
    Cutting {
        refused: [requests.to_vec(), responses.to_vec()],
        ..Cutting::default()
    }
}

/// Path, status and gap of each exchange.
fn told(events: &[HttpEvent]) -> Vec<(String, Option<u16>, Option<Gap>)> {
    let told = |exchange: &Exchange| {
        let path = exchange
            .request
            .head
            .as_ref()
            .and_then(|head| head.path.clone());
        let status = exchange.response.as_ref().and_then(|r| r.status);
        (path.unwrap_or_default(), status, exchange.gap)
    };
    exchanges(events).iter().map(told).collect()
}

fn whole(index: u16) -> (String, Option<u16>, Option<Gap>) {
    (format!("/{index}"), Some(400 + index), None)
}

const RING: Option<Gap> = Some(Gap::RingLost);

#[test]
fn lost_requests_are_counted_and_their_answers_passed_over() {
    let events = run(serial(5).observations(&refusing(&[1, 2], &[])));
    assert_eq!(lost(&events), [(2, Gap::RingLost)]);
    assert_eq!(told(&events), [whole(0), whole(3), whole(4)]);
}

#[test]
fn requests_lost_at_the_end_are_told_at_the_close() {
    let events = run(serial(3).observations(&refusing(&[1, 2], &[])));
    assert_eq!(lost(&events), [(2, Gap::RingLost)]);
    assert_eq!(told(&events), [whole(0)]);
}

#[test]
fn all_may_be_lost() {
    let events = run(serial(2).observations(&refusing(&[0, 1], &[0, 1])));
    assert_eq!(lost(&events), [(2, Gap::RingLost)]);
    assert_eq!((begun(&events), closed(&events)[0].no_request), (0, false));
}

#[test]
fn a_lost_answer_taints_its_own_exchange_only() {
    let events = run(serial(4).observations(&refusing(&[], &[1])));
    assert_eq!(
        told(&events),
        [whole(0), ("/1".into(), None, RING), whole(2), whole(3)]
    );
}

#[test]
fn an_answer_lost_at_the_end_is_told_at_the_close() {
    let events = run(serial(2).observations(&refusing(&[], &[1])));
    assert_eq!(told(&events), [whole(0), ("/1".into(), None, RING)]);
}

#[test]
fn an_answer_that_never_was_is_no_loss() {
    let script = serial(1).request("GET /1 HTTP/1.1\r\n\r\n", "");
    let events = run(script.observations(&refusing(&[], &[])));
    assert_eq!(told(&events), [whole(0), ("/1".into(), None, None)]);
}

#[test]
fn request_and_answer_lost_together() {
    let events = run(serial(4).observations(&refusing(&[1], &[1, 2])));
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
    assert_eq!(
        told(&events),
        [whole(0), ("/2".into(), None, RING), whole(3)]
    );
}

#[test]
fn pipelined_answers_keep_their_places() {
    let mut script = Script::default();
    for index in 0..6 {
        script = script.request(&format!("GET /{index} HTTP/1.1\r\n\r\n"), "");
    }
    for index in 0..6 {
        script = script.response(&answer(index), "body");
    }
    let events = run(script.observations(&refusing(&[1], &[3])));
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
    assert_eq!(
        told(&events),
        [
            whole(0),
            whole(2),
            ("/3".into(), None, RING),
            whole(4),
            whole(5)
        ]
    );
}

#[test]
fn a_lost_interim_answer_is_no_final_one() {
    let put = "PUT /0 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let script = Script::default()
        .request(put, "")
        .response("HTTP/1.1 100 Continue\r\n\r\n", "")
        .content(CLIENT, "ab")
        .response(&answer(0), "body")
        .request("GET /1 HTTP/1.1\r\n\r\n", "")
        .response(&answer(1), "body")
        .request("GET /2 HTTP/1.1\r\n\r\n", "")
        .response(&answer(2), "body");
    // Without the interim answer it is not known whether the next is the final one, or the answer
    // to another request that is lost as well.
    let unknown = |index: usize| (format!("/{index}"), None, RING);
    for (refused, first) in [
        (&[0][..], whole(1)),
        (&[1], whole(1)),
        (&[0, 1], unknown(1)),
    ] {
        let events = run(script.observations(&refusing(&[], refused)));
        assert_eq!(told(&events), [unknown(0), first, whole(2)], "{refused:?}");
    }
}

#[test]
fn what_was_lost_of_pipelined_answers_may_be_unknowable_for_a_while() {
    let put = "PUT /0 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
    let script = Script::default()
        .request("GET /a HTTP/1.1\r\n\r\n", "")
        .request(put, "")
        .request("GET /1 HTTP/1.1\r\n\r\n", "")
        .request("GET /2 HTTP/1.1\r\n\r\n", "")
        .response(&answer(0), "body")
        .response("HTTP/1.1 100 Continue\r\n\r\n", "")
        .response(&answer(0), "body")
        .response(&answer(1), "body")
        .response(&answer(2), "body")
        .request("GET /3 HTTP/1.1\r\n\r\n", "")
        .response(&answer(3), "body");
    // The 100 is lost: it might have been the answer to /0.
    let events = run(script.observations(&refusing(&[], &[1])));
    assert_eq!(
        told(&events)[1..],
        [
            ("/0".into(), None, RING),
            ("/1".into(), None, RING),
            ("/2".into(), None, RING),
            whole(3)
        ]
    );
}

#[test]
fn a_body_with_a_length_can_be_lost_without_a_gap() {
    let script = Script::default()
        .request("POST /0 HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "abc")
        .content(CLIENT, "def")
        .content(CLIENT, "ghi")
        .response(&answer(0), "body")
        .request("GET /1 HTTP/1.1\r\n\r\n", "")
        .response(&answer(1), "body");
    let events = run(script.observations(&refusing(&[1], &[])));
    assert_eq!(told(&events), [whole(0), whole(1)]);
    assert_eq!(exchanges(&events)[0].request.body_bytes, 9);
    // With its last part, only the next head shows that it ended: not when.
    let events = run(script.observations(&refusing(&[2], &[])));
    assert_eq!(told(&events), [whole(0), whole(1)]);
}

#[test]
fn a_head_cut_by_a_loss() {
    let script = serial(1)
        .request("GET /1 HTTP/1.1\r\nA: b\r\n\r\n", "")
        .response(&answer(1), "body")
        .request("GET /2 HTTP/1.1\r\n\r\n", "")
        .response(&answer(2), "body");
    let first = "GET /0 HTTP/1.1\r\n\r\n".len();
    // In the line or behind it: it was answered, so it is an exchange.
    for cut in [first + 3, first + 19] {
        let cutting = Cutting {
            cuts: [vec![cut], vec![]],
            refused: [vec![2], vec![]],
            ..Cutting::default()
        };
        let events = run(script.observations(&cutting));
        let cut_off = (String::new(), Some(401), RING);
        assert_eq!(told(&events), [whole(0), cut_off, whole(2)]);
        assert_eq!(lost(&events), []);
    }
    // Unanswered, half a line is known by number only.
    let cutting = Cutting {
        cuts: [vec![first + 3], vec![]],
        refused: [vec![2], vec![1]],
        ..Cutting::default()
    };
    let events = run(script.observations(&cutting));
    assert_eq!(told(&events), [whole(0), whole(2)]);
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
}

#[test]
fn the_answer_to_a_lost_head_request_ends_somewhere() {
    let script = Script::default()
        .request("HEAD /0 HTTP/1.1\r\n\r\n", "")
        .response(&answer(0), "")
        .request("GET /1 HTTP/1.1\r\n\r\n", "")
        .response(&answer(1), "body");
    let events = run(script.observations(&refusing(&[0], &[])));
    assert_eq!(told(&events), [whole(1)]);
    assert_eq!(lost(&events), [(1, Gap::RingLost)]);
}

fn edited(script: &Script, edit: impl Fn(&mut Segment)) -> Vec<HttpEvent> {
    let mut observations = script.observations(&Cutting::default());
    for observation in &mut observations {
        if let Observation::Segment(segment) = observation {
            edit(segment);
        }
    }
    run(observations)
}

#[test]
fn what_is_left_out_must_be_body() {
    let script = serial(3);
    // The kernel side claims that more was left out than the body has.
    let events = edited(&script, |segment| {
        if segment.cookie == cookie(SERVER) && segment.index == 1 {
            segment.elided = 100;
        }
    });
    let stray = Some(Gap::StreamGap);
    assert_eq!(
        told(&events),
        [whole(0), whole(1), ("/2".into(), None, stray)]
    );
    let events = edited(&script, |segment| {
        if segment.cookie == cookie(CLIENT) && segment.index == 1 {
            segment.offset += 5;
        }
    });
    assert_eq!(lost(&events), [(2, Gap::StreamGap)]);
    assert_eq!(told(&events), [whole(0)]);
}

/// Bytes before the segment at `index` of one end were not seen.
fn with_hole(script: &Script, end: usize, index: u32, bytes: u64) -> Vec<HttpEvent> {
    edited(script, |segment| {
        if segment.cookie == cookie(end) && segment.index >= index {
            segment.offset += bytes;
            segment.after_gap = segment.index == index;
            segment.joined = segment.after_gap;
        }
    })
}

#[test]
fn a_hole_in_the_sequence_is_a_gap_and_reading_goes_on_behind_it() {
    let events = with_hole(&serial(4), SERVER, 2, 50);
    assert_eq!(
        told(&events),
        [
            whole(0),
            whole(1),
            ("/2".into(), Some(402), Some(Gap::StreamGap)),
            whole(3)
        ]
    );
    let events = with_hole(&serial(3), CLIENT, 1, 50);
    assert_eq!(told(&events), [whole(0), whole(1), whole(2)]);
    let joined: Vec<_> = exchanges(&events).iter().map(|e| e.joined).collect();
    assert_eq!(joined, [false, true, false]);
}

#[test]
fn a_hole_in_a_head_ends_that_head() {
    let first = "GET /0 HTTP/1.1\r\n\r\n".len();
    let script = serial(2).request("GET /2 HTTP/1.1\r\n\r\n", "");
    let mut observations = script.observations(&Cutting {
        cuts: [vec![first + 18], vec![]],
        ..Cutting::default()
    });
    // The rest of the second head and its answer are never seen.
    observations.retain(|observation| match observation {
        Observation::Segment(segment) => {
            (segment.cookie, segment.index) != (cookie(CLIENT), 2)
                && (segment.cookie, segment.index) != (cookie(SERVER), 1)
        }
        _ => true,
    });
    for observation in &mut observations {
        if let Observation::Segment(segment) = observation
            && (segment.cookie, segment.index) == (cookie(CLIENT), 3)
        {
            segment.index = 2;
            segment.after_gap = true;
            segment.joined = true;
        }
    }
    let events = run(observations);
    let told = told(&events);
    assert_eq!(told[1], (String::new(), None, Some(Gap::StreamGap)));
    assert_eq!((&*told[2].0, exchanges(&events)[2].joined), ("/2", true));
}

#[test]
fn a_hole_in_a_body_is_none() {
    let script = Script::default()
        .request(
            "POST /0 HTTP/1.1\r\nContent-Length: 60\r\n\r\n",
            "0123456789",
        )
        .response(&answer(0), "body")
        .request("GET /1 HTTP/1.1\r\n\r\n", "")
        .response(&answer(1), "body");
    let events = with_hole(&script, CLIENT, 1, 50);
    assert_eq!(told(&events), [whole(0), whole(1)]);
    assert_eq!(exchanges(&events)[0].request.body_bytes, 60);
    assert!(!exchanges(&events)[1].joined);
}

#[test]
fn bytes_left_out_at_the_end_count() {
    let script = Script::default()
        .request("POST /0 HTTP/1.1\r\nContent-Length: 60\r\n\r\n", "")
        .response("HTTP/1.1 413 X\r\nConnection: close\r\n\r\n", "");
    let mut observations = script.observations(&Cutting::default());
    for observation in &mut observations {
        if let Observation::Socket(socket) = observation
            && socket.phase == Phase::Closed
        {
            socket.bytes_sent += 40;
        }
    }
    let exchange = &exchanges(&run(observations))[0];
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(
        (exchange.request.body_bytes, exchange.request.ended),
        (40, None)
    );
    assert_eq!((response.body_bytes, response.ended.is_some()), (40, true));
    assert_eq!(exchange.gap, None);
}

/// The kernel side, which has not seen that HEAD was asked for, takes all that follows for a body.
#[test]
fn bytes_that_cannot_have_been_left_out_are_a_gap() {
    let script = Script::default()
        .request("HEAD /a HTTP/1.1\r\n\r\n", "")
        .response("HTTP/1.1 200 OK\r\n\r\n", "")
        .request("GET /b HTTP/1.1\r\n\r\n", "");
    let mut observations = script.observations(&Cutting::default());
    for observation in &mut observations {
        if let Observation::Socket(socket) = observation
            && socket.phase == Phase::Closed
            && socket.cookie == cookie(SERVER)
        {
            socket.bytes_sent += 100;
        }
    }
    let expected = [
        ("/a".to_owned(), Some(200), None),
        ("/b".to_owned(), None, Some(Gap::StreamGap)),
    ];
    assert_eq!(told(&run(observations)), expected);
}

#[test]
fn what_was_not_followed_may_hide_requests() {
    let script = serial(2);
    let mut observations = script.observations(&refusing(&[1], &[]));
    for observation in &mut observations {
        if let Observation::Socket(socket) = observation {
            socket.stream.followed = false;
            socket.stream.messages = 1;
        }
    }
    let events = run(observations);
    assert_eq!(told(&events), [whole(0)]);
    assert_eq!(lost(&events), [(0, Gap::RingLost)]);
}

#[test]
fn a_joined_connection_begins_at_its_first_message() {
    let events = edited(&serial(3), |segment| segment.joined = true);
    assert_eq!(told(&events), [whole(0), whole(1), whole(2)]);
    let joined: Vec<_> = exchanges(&events).iter().map(|e| e.joined).collect();
    assert_eq!(joined, [true, false, false]);
}

#[test]
fn an_answer_to_what_came_before_is_passed_over() {
    let script = Script::default()
        .response(&answer(9), "body")
        .request("GET /0 HTTP/1.1\r\n\r\n", "")
        .response(&answer(0), "body");
    let events = edited(&script, |segment| segment.joined = true);
    assert_eq!(told(&events), [whole(0)]);
}
