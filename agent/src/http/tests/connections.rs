//! Which sockets make a connection, and when it begins and ends.

use std::time::Duration;

use super::script::{
    CLIENT, Cutting, SERVER, START, Script, begun, closed, cookie, exchanges, lost, opened, run,
    socket,
};
use crate::{
    capture::{Observation, Opener, Peer, Phase, Refusal, Refused, Segment, Socket, StreamTotals},
    http::{Bounds, Gap, HttpEvent, Tracker},
    timestamp::Timestamp,
};

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

pub(super) fn one() -> Script {
    Script::default().request(GET, "").response(OK, "ok")
}

fn facts(observations: &mut [Observation], edit: impl Fn(&mut Socket)) {
    for observation in observations {
        if let Observation::Socket(socket) = observation {
            edit(socket);
        }
    }
}

fn is_facts(observation: &Observation, end: usize, phase: Phase) -> bool {
    matches!(observation, Observation::Socket(socket)
        if socket.cookie == cookie(end) && socket.phase == phase)
}

fn after(seconds: u64) -> Observation {
    Observation::Progress(Timestamp(START) + Duration::from_secs(seconds))
}

/// The scripted connection as one of another pair of sockets.
pub(super) fn moved(observation: Observation, by: u64) -> Observation {
    match observation {
        Observation::Segment(segment) => Observation::Segment(Segment {
            cookie: segment.cookie + by,
            ..segment
        }),
        Observation::Socket(socket) => Observation::Socket(Socket {
            cookie: socket.cookie + by,
            peer: match socket.peer {
                Peer::Local { cookie, cgroup } => Peer::Local {
                    cookie: cookie + by,
                    cgroup,
                },
                other => other,
            },
            ..socket
        }),
        other => other,
    }
}

#[test]
fn a_connection_has_both_ends_and_both_tuples() {
    let events = one().events();
    let [connection] = &opened(&events)[..] else {
        panic!("one connection");
    };
    let client = connection.client.as_ref().unwrap();
    let server = connection.server.as_ref().unwrap();
    assert_eq!((connection.id, client.cookie, server.cookie), (1, 1, 2));
    assert_eq!((client.cgroup, server.cgroup), (70, 71));
    assert_eq!(connection.source, "10.0.0.1:40000".parse().unwrap());
    assert_eq!(connection.destination, "127.0.0.1:15001".parse().unwrap());
    assert_eq!(connection.asked, Some("10.0.0.9:80".parse().unwrap()));
    assert!(connection.established && !connection.preexisting);
    let closed = &closed(&events)[0];
    assert!(closed.both_fin && closed.established && !closed.no_request);
    assert_eq!(
        (closed.client_bytes, closed.server_bytes),
        (GET.len() as u64, OK.len() as u64 + 2)
    );
}

#[test]
fn observations_of_the_two_rings_may_come_in_any_order() {
    let script = one().request(GET, "").response(OK, "ok");
    let all = script.observations(&Cutting::default());
    let expected = run(all.clone());
    let (mut segments, mut sockets): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|observation| matches!(observation, Observation::Segment(_)));
    let progress = sockets.pop().unwrap();
    for split in 0..=segments.len() {
        for turn in 0..sockets.len() {
            let mut order = segments[..split].to_vec();
            order.extend(sockets.iter().cloned());
            order.extend(segments[split..].to_vec());
            order.push(progress.clone());
            assert_eq!(run(order), expected, "split {split}, turn {turn}");
            sockets.rotate_left(1);
        }
    }
    segments.clear();
}

#[test]
fn an_end_that_sent_much_before_the_other_was_seen_to_send_finds_it() {
    let mut all = one().observations(&Cutting::default());
    let expected = run(all.clone());
    facts(&mut all, |socket| {
        if let Peer::Local { cookie, .. } = &mut socket.peer
            && *cookie == self::cookie(CLIENT)
        {
            *cookie = 0;
        }
    });
    all.sort_by_key(|observation| match observation {
        Observation::Segment(_) => 1,
        facts if is_facts(facts, SERVER, Phase::Settled) => 0,
        _ => 2,
    });
    assert_eq!(run(all), expected);
}

#[test]
fn the_close_waits_for_the_segments_that_its_totals_tell_of() {
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    let mut all = one().observations(&Cutting::default());
    let progress = all.pop().unwrap();
    let last = all
        .iter()
        .rposition(|observation| matches!(observation, Observation::Segment(_)))
        .unwrap();
    let segment = all.remove(last);
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    assert_eq!(closed(&events), []);
    let mut complete = events.clone();
    tracker.observe(segment, &mut complete);
    assert_eq!(closed(&complete).len(), 1, "at once");
    assert_eq!(exchanges(&complete)[0].gap, None);
    // In a second world it was refused.
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    let mut all = one().observations(&Cutting::default());
    all.remove(last);
    all.pop();
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    assert_eq!(closed(&events), []);
    tracker.observe(progress, &mut events);
    assert_eq!(closed(&events).len(), 1);
    assert_eq!(exchanges(&events)[0].gap, Some(Gap::RingLost));
}

#[test]
fn a_remote_peer_means_facts_only() {
    for opener in [Opener::Here, Opener::Peer] {
        let script = one();
        let mut all = script.observations(&Cutting::default());
        all.retain(|observation| match observation {
            Observation::Socket(socket) => socket.cookie == cookie(CLIENT),
            Observation::Segment(segment) => segment.cookie == cookie(CLIENT),
            _ => true,
        });
        facts(&mut all, |socket| {
            socket.peer = Peer::Remote;
            socket.opener = opener;
        });
        let events = run(all);
        let connection = &opened(&events)[0];
        let (near, far) = match opener {
            Opener::Here => (&connection.client, &connection.server),
            _ => (&connection.server, &connection.client),
        };
        assert!(near.is_some() && far.is_none());
        assert_eq!(begun(&events), 0);
        let closed = &closed(&events)[0];
        let (sent, received) = (GET.len() as u64, OK.len() as u64 + 2);
        let expected = if opener == Opener::Here {
            (sent, received)
        } else {
            (received, sent)
        };
        assert_eq!((closed.client_bytes, closed.server_bytes), expected);
        assert!(!closed.no_request && !closed.both_fin);
    }
}

#[test]
fn a_reset_after_the_clients_fin_left_bytes_unread() {
    let whole = Script::default().request(GET, "");
    let is_unread = |edit: &dyn Fn(&mut Socket)| {
        let mut all = whole.observations(&Cutting::default());
        facts(&mut all, edit);
        closed(&run(all))[0].unread
    };
    let is_server = |socket: &Socket| socket.cookie == cookie(SERVER);
    assert!(is_unread(&|socket| socket.fin_sent &= !is_server(socket)));
    // What was read is closed with a FIN, and who never half-closed may have been reset for it.
    assert!(!is_unread(&|_| {}));
    assert!(!is_unread(&|socket| socket.fin_sent = false));
    let answered = one();
    let mut all = answered.observations(&Cutting::default());
    facts(&mut all, |socket| socket.fin_sent &= !is_server(socket));
    assert!(!closed(&run(all))[0].unread);
}

#[test]
fn a_connection_that_never_was() {
    for (phase, peer) in [
        (Phase::Closed, Peer::Unknown),
        (Phase::Released, Peer::Unknown),
        (
            Phase::Closed,
            Peer::Listener {
                cookie: 9,
                cgroup: 9,
            },
        ),
    ] {
        let events = run(vec![Observation::Socket(Socket {
            phase,
            peer,
            established: false,
            cgroup: 0,
            sent: None,
            ..socket(CLIENT)
        })]);
        let connection = &opened(&events)[0];
        assert!(connection.client.is_some() && connection.server.is_none());
        assert_eq!(connection.destination, "10.0.0.9:80".parse().unwrap());
        let closed = &closed(&events)[0];
        assert!(!closed.established && closed.no_request);
    }
}

#[test]
fn a_socket_that_failed_to_connect_may_connect_again() {
    let mut all = vec![Observation::Socket(Socket {
        phase: Phase::Closed,
        peer: Peer::Unknown,
        established: false,
        time: Timestamp(START - 10),
        opened: Timestamp(START - 20),
        ..socket(CLIENT)
    })];
    all.extend(one().observations(&Cutting::default()));
    let events = run(all);
    assert_eq!((opened(&events).len(), begun(&events)), (2, 1));
}

#[test]
fn a_release_after_the_close_tells_nothing_new() {
    let script = one();
    let mut all = script.observations(&Cutting::default());
    let late = Observation::Socket(script.socket(SERVER, Phase::Released, StreamTotals::default()));
    all.push(late);
    let events = run(all);
    assert_eq!((opened(&events).len(), closed(&events).len()), (1, 1));
}

#[test]
fn the_second_end_is_told_by_the_peer_lookup_of_the_first() {
    let mut all = one().observations(&Cutting::default());
    all.retain(|observation| match observation {
        Observation::Socket(socket) => socket.cookie == cookie(CLIENT),
        Observation::Segment(segment) => segment.cookie == cookie(CLIENT),
        _ => true,
    });
    let events = run(all);
    let server = opened(&events)[0].server.clone().unwrap();
    assert_eq!((server.cookie, server.cgroup), (2, 71));
    assert_eq!(server.local, "127.0.0.1:15001".parse().unwrap());
    assert_eq!(server.process, None);
    let exchange = &exchanges(&events)[0];
    assert_eq!(
        (&exchange.response, exchange.gap),
        (&None, Some(Gap::StreamGap))
    );
}

#[test]
fn an_older_connection_is_told_apart_by_what_its_ends_send() {
    for first in [CLIENT, SERVER] {
        let mut all = one().observations(&Cutting::default());
        all.retain(|observation| !matches!(observation, Observation::Progress(_)));
        facts(&mut all, |socket| {
            socket.opener = Opener::Unknown;
            socket.preexisting = true;
            if socket.phase == Phase::Closed {
                socket.phase = Phase::Released;
            }
        });
        for observation in &mut all {
            if let Observation::Segment(segment) = observation {
                segment.joined = true;
            }
        }
        if first == SERVER {
            all.swap(0, 1);
        }
        let mut tracker = Tracker::new(Bounds::default());
        let mut events = Vec::new();
        for observation in all {
            tracker.observe(observation, &mut events);
        }
        assert_eq!(opened(&events)[0].id, cookie(CLIENT));
        assert!(opened(&events)[0].preexisting);
        assert_eq!(exchanges(&events).len(), 1);
        tracker.observe(after(1), &mut events);
        assert_eq!(closed(&events), [], "both ends may still send");
        tracker.observe(after(3), &mut events);
        assert_eq!(closed(&events).len(), 1);
    }
}

#[test]
fn one_close_is_enough_after_a_minute() {
    let mut all = one().observations(&Cutting::default());
    all.pop();
    all.retain(|observation| !is_facts(observation, SERVER, Phase::Closed));
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    tracker.observe(after(59), &mut events);
    assert_eq!(closed(&events), []);
    // The clock is set back by a day meanwhile: that is no time.
    let day = 86_400_000_000_000;
    tracker.observe(
        Observation::ClockStep {
            time: Timestamp(START - day),
            nanoseconds: -i64::try_from(day).unwrap(),
        },
        &mut events,
    );
    tracker.observe(
        Observation::Progress(Timestamp(START - day) + Duration::from_secs(59)),
        &mut events,
    );
    assert_eq!(closed(&events), []);
    tracker.observe(
        Observation::Progress(Timestamp(START - day) + Duration::from_secs(61)),
        &mut events,
    );
    assert_eq!(closed(&events).len(), 1);
    // What still comes of the other end is of the same connection.
    let late = one().socket(SERVER, Phase::Closed, StreamTotals::default());
    tracker.observe(Observation::Socket(late), &mut events);
    assert_eq!(opened(&events).len(), 1);
    assert_eq!(tracker.counters().late, 1);
}

/// Facts of both sockets are refused at a moment.
fn refused_at(seconds: u64) -> [Observation; 2] {
    let time = Timestamp(START) + Duration::from_secs(seconds);
    [CLIENT, SERVER].map(|end| {
        Observation::Refused(Refused {
            cgroup: Some(socket(end).cgroup),
            refusal: Refusal::SocketsRation,
            from: time,
            to: time,
        })
    })
}

#[test]
fn the_end_of_one_whose_closes_were_refused_is_not_waited_for() {
    // The answer is not whole, and nothing tells that the connection ended.
    let cut = || Script::default().request(GET, "").response(OK, "o");
    let mut all = cut().observations(&Cutting::default());
    all.pop();
    all.retain(|observation| {
        let is_close = |end| is_facts(observation, end, Phase::Closed);
        !is_close(CLIENT) && !is_close(SERVER)
    });
    for (refused, gap) in [(true, Some(Gap::RingLost)), (false, None)] {
        let mut tracker = Tracker::new(Bounds::default());
        let mut events = Vec::new();
        for observation in all.clone() {
            tracker.observe(observation, &mut events);
        }
        if refused {
            for observation in refused_at(1) {
                tracker.observe(observation, &mut events);
            }
        }
        tracker.observe(after(30), &mut events);
        let ended = exchanges(&events);
        assert_eq!(ended.first().and_then(|exchange| exchange.gap), gap);
        assert_eq!(ended.len(), usize::from(refused));
        let rest: &[_] = if refused { &[(0, Gap::RingLost)] } else { &[] };
        assert_eq!(lost(&events), rest);
        assert_eq!(closed(&events), []);
    }
}

#[test]
fn a_response_that_was_refused_is_not_waited_for() {
    let all = Script::default()
        .request(GET, "")
        .response(OK, "one")
        .request(GET, "")
        .response(OK, "two")
        .observations(&Cutting::default());
    let is_answer = |observation: &Observation, number: u32| {
        matches!(observation, Observation::Segment(segment)
            if segment.cookie == cookie(SERVER) && segment.index == number)
    };
    let first_answer = all.iter().position(|observation| is_answer(observation, 0));
    let (before, after_it) = all.split_at(first_answer.unwrap());
    for (refusal, expected) in [
        (Refusal::StreamsRation, vec![Some(Gap::RingLost)]),
        (Refusal::Intricate, vec![]),
    ] {
        let mut tracker = Tracker::new(Bounds::default());
        let mut events = Vec::new();
        for observation in before.iter().cloned() {
            tracker.observe(observation, &mut events);
        }
        let time = Timestamp(START) + Duration::from_secs(1);
        let refused = Refused {
            cgroup: Some(socket(SERVER).cgroup),
            refusal,
            from: time,
            to: time,
        };
        tracker.observe(Observation::Refused(refused), &mut events);
        tracker.observe(after(19), &mut events);
        assert_eq!(exchanges(&events), [], "it may still be on its way");
        tracker.observe(after(21), &mut events);
        let gaps = exchanges(&events).into_iter().map(|ended| ended.gap);
        assert_eq!(gaps.collect::<Vec<_>>(), expected);
        // The next is read as if nothing had been.
        for observation in after_it.iter().skip(1).cloned() {
            tracker.observe(observation, &mut events);
        }
        let ended = exchanges(&events);
        assert_eq!(ended[0].gap, Some(Gap::RingLost));
        assert_eq!((ended.len(), ended[1].gap), (2, None));
        assert!(ended[1].response.is_some());
    }
}

#[test]
fn where_one_close_was_refused_there_may_have_been_more() {
    let mut all = one().observations(&Cutting::default());
    all.pop();
    all.retain(|observation| !is_facts(observation, CLIENT, Phase::Closed));
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in all.into_iter().chain(refused_at(1)) {
        tracker.observe(observation, &mut events);
    }
    tracker.observe(after(5), &mut events);
    assert_eq!(closed(&events).len(), 1);
    assert_eq!(lost(&events), [(0, Gap::RingLost)]);
    assert_eq!(exchanges(&events)[0].gap, None);
}

#[test]
fn a_close_that_is_never_told_is_waited_for_in_vain_for_a_while() {
    let mut all = one().observations(&Cutting::default());
    all.pop();
    facts(&mut all, |socket| {
        if socket.phase == Phase::Closed {
            socket.phase = Phase::Released;
        }
    });
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    tracker.observe(after(15 * 60), &mut events);
    assert_eq!(closed(&events), []);
    tracker.observe(after(17 * 60), &mut events);
    assert_eq!(closed(&events).len(), 1);
}

#[test]
fn a_socket_without_facts_is_forgotten() {
    let mut all = one().observations(&Cutting::default());
    all.retain(|observation| matches!(observation, Observation::Segment(_)));
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    for observation in all {
        tracker.observe(observation, &mut events);
    }
    tracker.observe(after(61), &mut events);
    let is_dropped = |event: &HttpEvent| matches!(event, HttpEvent::Dropped { cause, .. } if *cause == Gap::RingLost);
    assert!(events.len() == 2 && events.iter().all(is_dropped));
    let counters = tracker.counters();
    assert_eq!((counters.open, counters.bytes, counters.unknown), (0, 0, 2));
}
