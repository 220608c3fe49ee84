//! Which exchanges a line covers as attempts, and for how long they wait for each other.

use std::time::Duration;

use super::{Scene, entry, fingerprint, path, retries::attempt};
use crate::{
    ledger::{
        Exchange, Line,
        attempts::{Attempt, Attempts, KEPT, Retried},
    },
    record::Side,
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// An attempt on connection 1 that lasted 10 ms.
fn exchange(number: u32, time: Timestamp, status: u16) -> Exchange {
    let end = time + milliseconds(10);
    super::exchange(1, number, time, end, &attempt(status))
}

/// A request that began at 1 000 s and lasted 110 ms, whose line names its last attempt: one that
/// began after 100 ms on connection 1, as number 5, and was answered so.
struct Request {
    start: Timestamp,
    named: Exchange,
    line: Line,
}

fn request(status: u16) -> Request {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let start = Timestamp(1_000_000_000_000);
    let named = exchange(5, start + milliseconds(100), status);
    let mut line = scene.line(Side::Server, &leg, &named, &attempt(status));
    line.time = start + milliseconds(110);
    let fields = entry(&mut line);
    fields.start_time = Some(start);
    fields.duration_milliseconds = Some(110);
    fields.response_flags = Some("-".into());
    Request { start, named, line }
}

impl Request {
    fn retried(&self) -> Retried {
        Retried::of(&self.line, Some(&self.named)).unwrap()
    }

    fn covers(&self, exchange: &Exchange) -> bool {
        self.retried().covers(exchange)
    }
}

#[test]
fn an_attempt_lies_within_the_duration_of_the_line() {
    let answered = request(200);
    // The answer was taken in 110 ms after the start, so nothing began before that.
    let (earliest, named) = (answered.start - milliseconds(1), answered.named.time);
    assert!(!answered.covers(&exchange(1, earliest, 503)));
    assert!(answered.covers(&exchange(1, earliest + MOMENT, 503)));
    assert!(answered.covers(&exchange(1, named - MOMENT, 503)));
    assert!(!answered.covers(&exchange(1, named, 503)));
    // Where a flag is set the proxy may not have waited for the answer.
    let mut flagged = request(200);
    entry(&mut flagged.line).response_flags = Some("UT".into());
    assert!(flagged.covers(&exchange(1, earliest, 503)));
    let tolerance = milliseconds(2);
    assert!(flagged.covers(&exchange(1, flagged.start - tolerance, 503)));
    assert!(!flagged.covers(&exchange(1, flagged.start - tolerance - MOMENT, 503)));
}

#[test]
fn an_attempt_is_of_the_same_request() {
    let request = request(200);
    let good = exchange(1, request.start, 503);
    assert!(request.covers(&good));
    let other_id = Exchange {
        request_id: Some(fingerprint("r2")),
        ..good.clone()
    };
    let other_method = Exchange {
        method: Some("PUT".into()),
        ..good.clone()
    };
    let other_path = Exchange {
        path: Some(path("/other")),
        ..good
    };
    for other in [other_id, other_method, other_path] {
        assert!(!request.covers(&other));
    }
}

#[test]
fn what_was_answered_for_good_was_not_tried_again() {
    let request = request(200);
    let mut exchange = exchange(1, request.start, 200);
    let response = |exchange: &mut Exchange, change: fn(&mut crate::ledger::ResponseFact)| {
        change(exchange.response.as_mut().unwrap());
    };
    assert!(!request.covers(&exchange));
    // An answer that came when the next attempt had begun is none.
    let next = request.named.time;
    exchange.response.as_mut().unwrap().ended = Some(next);
    assert!(!request.covers(&exchange));
    exchange.response.as_mut().unwrap().ended = Some(next + MOMENT);
    assert!(request.covers(&exchange));
    exchange.response.as_mut().unwrap().ended = Some(exchange.end);
    for (status, failed) in [(399, false), (400, true)] {
        exchange.response.as_mut().unwrap().status = Some(status);
        assert_eq!(request.covers(&exchange), failed, "{status}");
    }
    exchange.response.as_mut().unwrap().status = Some(200);
    response(&mut exchange, |response| response.grpc_status = Some(0));
    assert!(!request.covers(&exchange));
    response(&mut exchange, |response| response.grpc_status = Some(14));
    assert!(request.covers(&exchange));
    exchange.response = None;
    assert!(request.covers(&exchange));
}

#[test]
fn a_line_may_name_the_first_of_attempts_that_are_alike_on_one_connection() {
    // The line went to the first that it fits; then the last ended with the line.
    let mut request = request(503);
    request.named = exchange(5, request.start, 503);
    let later = exchange(6, request.start + milliseconds(50), 503);
    assert!(request.covers(&later));
    let otherwise = exchange(6, request.start + milliseconds(50), 500);
    assert!(!request.covers(&otherwise), "the line says another status");
    let elsewhere = Exchange {
        connection: 2,
        ..later.clone()
    };
    assert!(!request.covers(&elsewhere));
    let same_time = Exchange {
        time: request.named.time,
        ..later.clone()
    };
    assert!(!request.covers(&same_time));
    request.named = exchange(5, request.start, 200);
    assert!(!request.covers(&later), "it was answered");
}

#[test]
fn a_line_counts_as_many_attempts_as_it_says() {
    let mut request = request(200);
    for (said, further) in [
        (Some(1), 0),
        (Some(2), 1),
        (Some(3), 2),
        (None, 31),
        (Some(99), 31),
    ] {
        entry(&mut request.line).attempts = said;
        let mut retried = request.retried();
        let one = exchange(1, request.start, 503);
        let counted = (0..100).filter(|_| retried.count_in(&one)).count();
        assert_eq!(counted, further, "{said:?}");
    }
    entry(&mut request.line).start_time = None;
    assert!(Retried::of(&request.line, Some(&request.named)).is_none());
}

#[test]
fn only_what_failed_or_took_a_millisecond_may_be_an_attempt() {
    let time = Timestamp(1_000_000_000_000);
    for (lasted, status, may_be) in [
        (milliseconds(1) - MOMENT, 200, false),
        (milliseconds(1), 200, true),
        (MOMENT, 503, true),
    ] {
        let exchange = super::exchange(1, 0, time, time + lasted, &attempt(status));
        assert_eq!(
            Attempt::of(&exchange).is_some(),
            may_be,
            "{lasted:?} {status}"
        );
    }
}

#[test]
fn a_line_waits_for_attempts_that_an_app_has_yet_to_end() {
    let request = request(200);
    let late = exchange(1, request.start, 503);
    let kept = |from: Duration, now: Timestamp| {
        let mut attempts = Attempts::default();
        let mut named = request.named.clone();
        named.time = request.start + from;
        attempts.keep(Retried::of(&request.line, Some(&named)).unwrap(), false);
        attempts.drop_lines(now);
        attempts.count_in(&late)
    };
    let last = request.start + milliseconds(110) + Duration::from_secs(300);
    assert!(kept(milliseconds(100), last));
    assert!(!kept(milliseconds(100), last + MOMENT));
    // One whose named attempt began at once had none before.
    assert!(kept(milliseconds(1), last));
    let mut attempts = Attempts::default();
    let mut at_once = request.named.clone();
    at_once.time = request.start + milliseconds(1) - MOMENT;
    attempts.keep(Retried::of(&request.line, Some(&at_once)).unwrap(), false);
    assert!(!attempts.count_in(&late));
    // Unless one waits already.
    attempts.keep(Retried::of(&request.line, Some(&at_once)).unwrap(), true);
    let beside = exchange(1, request.start, 503);
    assert!(attempts.count_in(&beside));
    // And one that has them all waits for no other.
    let mut counted = request.retried();
    while counted.count_in(&late) {}
    attempts.keep(counted, false);
    attempts.keep(request.retried(), false);
    assert!(attempts.count_in(&late));
}

#[test]
fn a_later_attempt_is_one_that_waits_and_began_after_the_failure() {
    let time = Timestamp(1_000_000_000_000);
    let first = exchange(1, time, 503);
    let has_later = |waiting: &[Timestamp]| {
        let mut attempts = Attempts::default();
        for (number, time) in (2..).zip(waiting) {
            attempts.wait(Attempt::of(&exchange(number, *time, 503)).unwrap());
        }
        attempts.has_later(&first)
    };
    assert!(!has_later(&[]));
    assert!(!has_later(&[time]));
    assert!(has_later(&[time + MOMENT]));
    // No proxy tries so often.
    assert!(has_later(&[time + MOMENT; 31]));
    assert!(!has_later(&[time + MOMENT; 32]));
}

#[test]
fn what_waits_is_bounded_and_makes_room_when_it_is_judged() {
    let time = Timestamp(1_000_000_000_000);
    let of = |id: usize| Exchange {
        request_id: Some(fingerprint(&id.to_string())),
        ..exchange(u32::try_from(id).unwrap(), time, 503)
    };
    let mut attempts = Attempts::default();
    for id in 0..=KEPT {
        attempts.wait(Attempt::of(&of(id)).unwrap());
    }
    let waits = |attempts: &Attempts, id| !attempts.waiting(of(id).request_id.unwrap()).is_empty();
    assert!(waits(&attempts, 0) && waits(&attempts, KEPT - 1));
    assert!(!waits(&attempts, KEPT));
    for id in 0..2 {
        attempts.forget(&of(id));
        assert!(!waits(&attempts, id));
    }
    for id in KEPT..KEPT + 3 {
        attempts.wait(Attempt::of(&of(id)).unwrap());
    }
    assert!(waits(&attempts, KEPT) && waits(&attempts, KEPT + 1));
    assert!(!waits(&attempts, KEPT + 2));
}

#[test]
fn the_oldest_line_gives_way() {
    let request = request(200);
    let mut attempts = Attempts::default();
    let named = |id: usize| Exchange {
        request_id: Some(fingerprint(&id.to_string())),
        ..request.named.clone()
    };
    let late = |id| Exchange {
        request_id: named(id).request_id,
        ..exchange(1, request.start, 503)
    };
    for id in 0..KEPT {
        attempts.keep(Retried::of(&request.line, Some(&named(id))).unwrap(), false);
    }
    assert!(attempts.count_in(&late(0)));
    attempts.keep(
        Retried::of(&request.line, Some(&named(KEPT))).unwrap(),
        false,
    );
    assert!(!attempts.count_in(&late(0)));
    assert!(attempts.count_in(&late(1)));
    assert!(attempts.count_in(&late(KEPT)));
    // But not to those that cover none of what waits.
    attempts.keep(Retried::of(&request.line, Some(&named(0))).unwrap(), true);
    for id in KEPT + 1..=2 * KEPT {
        attempts.keep(Retried::of(&request.line, Some(&named(id))).unwrap(), false);
    }
    assert!(attempts.count_in(&late(0)));
    assert!(!attempts.count_in(&late(KEPT)));
}

#[test]
fn an_attempt_is_of_a_line_that_has_room_for_it() {
    let request = request(200);
    let mut attempts = Attempts::default();
    let mut line = request.line.clone();
    entry(&mut line).attempts = Some(2);
    for _ in 0..2 {
        attempts.keep(Retried::of(&line, Some(&request.named)).unwrap(), true);
    }
    let one = exchange(1, request.start, 503);
    let counted = (0..3).map(|_| attempts.count_in(&one));
    assert_eq!(counted.collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_a_line_went_to_first_is_one_attempt_of_several() {
    let mut request = request(503);
    entry(&mut request.line).response_flags = Some("UT".into());
    let mut retried = request.retried();
    let later = exchange(6, request.named.time + milliseconds(5), 503);
    assert!(retried.covers(&later) && retried.count_in(&later));
    // Answered while the one that was named first was on, and before the later one.
    let mut early = exchange(1, request.start, 200);
    early.end = request.named.time + milliseconds(2);
    if let Some(response) = &mut early.response {
        response.ended = Some(early.end);
    }
    assert!(retried.covers(&early));
}

#[test]
fn a_line_tells_of_attempts_before_its_own_and_of_later_ones_if_it_says_so() {
    let request = request(503);
    let named = request.named.time;
    let tells_of = |retried: &Retried, began| retried.tells_of(&exchange(6, began, 503));
    let retried = request.retried();
    assert!(tells_of(&retried, named - milliseconds(10)));
    assert!(!tells_of(&retried, named - milliseconds(10) + MOMENT));
    assert!(!tells_of(&retried, named + milliseconds(10)));
    let mut line = request.line.clone();
    entry(&mut line).response_flags = Some("URX".into());
    let retried = Retried::of(&line, Some(&request.named)).unwrap();
    assert!(tells_of(&retried, named + milliseconds(10)));
    assert!(!tells_of(&retried, named + milliseconds(10) - MOMENT));
}
