//! What the ledger knows of one connection between app and sidecar.

use std::time::Duration;

use super::{Scene, UID, entry, get};
use crate::{
    http::Gap,
    ledger::{Exchange, Line, LineContent, roles::Place, tracked::MeshConnection},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);
const AROUND: Duration = Duration::from_millis(100);

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000 + seconds)
}

/// A client's connection that opened at 0 s.
fn mesh(side: Side) -> MeshConnection {
    let mut scene = Scene::new();
    let mut connection = scene.client_leg();
    connection.time = at(0);
    let place = Place {
        pod_uid: UID.into(),
        container: None,
    };
    MeshConnection::new(connection, place, side, false)
}

fn exchange(number: u32, (from, to): (Timestamp, Timestamp)) -> Exchange {
    super::exchange(1, number, from, to, &get("/"))
}

fn line(change: impl FnOnce(&mut Line)) -> Box<Line> {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let mut line = scene.line(Side::Client, &leg, &exchange(0, (at(1), at(2))), &get("/"));
    change(&mut line);
    Box::new(line)
}

/// One that speaks of the whole connection, and of so many bytes.
fn line_of_the_whole(received: Option<u64>, sent: Option<u64>) -> Box<Line> {
    line(|line| {
        let fields = entry(line);
        (fields.method, fields.path, fields.protocol) = (None, None, None);
        fields.response_code = Some(0);
        (fields.bytes_received, fields.bytes_sent) = (received, sent);
    })
}

#[test]
fn order_proves_nothing_around_a_loss() {
    let after = |count, moment| {
        let mut mesh = mesh(Side::Client);
        mesh.lost.note(count, Gap::RingLost, at(20));
        mesh.lost_around((moment, moment))
    };
    // Heads that are known by number were sent by then.
    assert_eq!(after(2, at(0)), Some(Reason::RingLost));
    assert_eq!(after(2, at(20) + AROUND), Some(Reason::RingLost));
    assert_eq!(after(2, at(20) + AROUND + MOMENT), None);
    assert_eq!(after(0, at(3600)), Some(Reason::RingLost));
    assert_eq!(mesh(Side::Client).lost_around((at(1), at(2))), None);
}

#[test]
fn order_proves_nothing_around_an_exchange_that_was_seen_in_part() {
    let gap = |times| Exchange {
        gap: Some(Gap::StreamGap),
        ..exchange(0, times)
    };
    let mut seen = mesh(Side::Client);
    seen.note_end(&gap((at(10), at(20))));
    let around = |mesh: &MeshConnection, moment| mesh.lost_around((moment, moment));
    let reason = Some(Reason::StreamGap);
    for (moment, expected) in [
        (at(10) - AROUND - MOMENT, None),
        (at(10) - AROUND, reason),
        (at(15), reason),
        (at(20) + AROUND, reason),
        (at(20) + AROUND + MOMENT, None),
    ] {
        assert_eq!(around(&seen, moment), expected, "{moment}");
    }
    // One that follows at once goes on with the loss, a later one is another.
    for (from, goes_on) in [(at(20) + AROUND, true), (at(20) + AROUND + MOMENT, false)] {
        let mut seen = mesh(Side::Client);
        seen.note_end(&gap((at(10), at(20))));
        seen.note_end(&gap((from, at(30))));
        assert_eq!(around(&seen, at(12)).is_some(), goes_on);
        assert_eq!(around(&seen, at(25)), reason);
    }
}

#[test]
fn behind_a_response_that_was_cut_off_the_proxy_never_began() {
    let times = (at(1), at(2));
    let unanswered = |number| Exchange {
        response: None,
        ..exchange(number, times)
    };
    let half_answered = |number| {
        let mut exchange = exchange(number, times);
        exchange.response.as_mut().unwrap().ended = None;
        exchange
    };
    let gap = Exchange {
        gap: Some(Gap::RingLost),
        ..unanswered(2)
    };
    // Which ended how before, on which side, and whether the fourth was never begun with.
    let table = [
        (Side::Client, unanswered(2), true),
        (Side::Client, half_answered(2), true),
        (Side::Client, exchange(2, times), false),
        (Side::Client, gap, false),
        (Side::Client, unanswered(5), false),
        (Side::Server, unanswered(2), false),
    ];
    for (side, before, expected) in table {
        let mut mesh = mesh(side);
        mesh.note_end(&before);
        assert_eq!(mesh.never_began(&unanswered(4)), expected, "{before:?}");
        assert!(!mesh.never_began(&exchange(4, times)), "it was answered");
    }
    let mut mesh = mesh(Side::Client);
    for number in [3, 2, 5] {
        mesh.note_end(&unanswered(number));
    }
    let begun = |number| !mesh.never_began(&unanswered(number));
    assert!(
        begun(2) && !begun(3) && !begun(5),
        "the first of them counts"
    );
}

#[test]
fn the_worst_verdict_on_its_exchanges_is_its_own() {
    let mut mesh = mesh(Side::Client);
    for (verdict, reasons, worst) in [
        (Verdict::Matched, vec![], Verdict::Matched),
        (
            Verdict::Unlogged,
            vec![Reason::ProxyKilled],
            Verdict::Unlogged,
        ),
        (Verdict::Unlogged, vec![], Verdict::Unlogged),
        (Verdict::Unseen, vec![], Verdict::Unlogged),
    ] {
        mesh.note(verdict, &reasons);
        assert_eq!(mesh.worst.as_ref().unwrap().0, worst);
    }
    assert_eq!(mesh.worst.unwrap().1, [Reason::ProxyKilled], "of the first");
}

#[test]
fn bytes_that_a_line_speaks_of_went_past_an_empty_connection() {
    let scene = Scene::new();
    let hides = |line: &Line, (client, server): (u64, u64), change: fn(&mut MeshConnection)| {
        let mut mesh = mesh(Side::Client);
        mesh.closed = Some(scene.closed(&mesh.connection.clone(), client, server));
        change(&mut mesh);
        mesh.hides_bytes_of(line)
    };
    let request = line(|_| {});
    let empty = (0, 0);
    assert!(hides(&request, empty, |_| {}));
    assert!(!hides(&request, (1, 0), |_| {}));
    assert!(!hides(&request, (0, 1), |_| {}));
    assert!(!hides(&request, empty, |mesh| mesh.closed = None));
    assert!(!hides(&request, empty, |mesh| {
        mesh.closed.as_mut().unwrap().established = false;
    }));
    assert!(!hides(&request, empty, |mesh| {
        mesh.connection.preexisting = true;
    }));
    for (received, sent, speaks) in [
        (Some(1), Some(0), true),
        (Some(0), Some(1), true),
        (Some(0), Some(0), false),
        (None, None, false),
    ] {
        let whole = line_of_the_whole(received, sent);
        assert_eq!(hides(&whole, empty, |_| {}), speaks);
    }
    // What the proxy says of a head that it refused are its own words.
    let refused = line(|line| entry(line).method = None);
    assert!(!hides(&refused, empty, |_| {}));
    let other = line(|line| line.content = LineContent::Other);
    assert!(!hides(&other, empty, |_| {}));
}

#[test]
fn a_line_of_the_whole_tells_that_it_is_carried_as_tcp() {
    let carried = |line: Box<Line>, change: fn(&mut MeshConnection)| {
        let mut mesh = mesh(Side::Client);
        mesh.connection_lines.push(line);
        change(&mut mesh);
        mesh.is_carried_as_tcp()
    };
    let lose = |mesh: &mut MeshConnection| {
        mesh.lost.note(1, Gap::RingLost, at(1));
    };
    let whole = || line_of_the_whole(Some(1), Some(1));
    assert!(!mesh(Side::Client).is_carried_as_tcp());
    assert!(carried(whole(), |_| {}));
    assert!(!carried(line(|_| {}), |_| {}));
    assert!(!carried(whole(), |mesh| mesh.leg.ever_matched = true));
    assert!(carried(whole(), |mesh| mesh.entered = 1));
    assert!(carried(whole(), lose));
    let mut entered = mesh(Side::Client);
    entered.connection_lines.push(whole());
    entered.entered = 1;
    lose(&mut entered);
    assert!(!entered.is_carried_as_tcp(), "what is lost is a unit");
}

#[test]
fn each_exchange_that_was_excused_excuses_one_line() {
    let mut mesh = mesh(Side::Client);
    mesh.excuses.insert(Reason::NoLog, 2);
    mesh.excuses.insert(Reason::RingLost, 1);
    let mut taken: Vec<_> = std::iter::from_fn(|| mesh.take_excuse()).take(9).collect();
    taken.sort();
    let mut expected = [Reason::NoLog, Reason::NoLog, Reason::RingLost];
    expected.sort();
    assert_eq!(taken, expected);
}
