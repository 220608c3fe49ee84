//! What must hold of any conversation, however it comes.

use std::collections::BTreeSet;

use meshwitness::{
    capture::Observation,
    http::{Bounds, Closed, Exchange, HttpEvent, Tracker},
};

use crate::{
    kernel::{Shipping, observe},
    memory::within,
    talk::{Cut, Talk},
};

/// Small enough for an input to reach them.
const TIGHT: Bounds = Bounds {
    connections: 1,
    outstanding: 4,
    memory: 1024,
    waiting_segments: 4,
    waiting_bytes: 512,
};

/// However the writes are cut into packets, and whether bodies are left out or shipped, the same
/// follows from what is lawful; the connection is told in order; what the kernel counted is told or
/// said to be lost; the bounds hold; and where segments are missing, nothing is different but what
/// is marked.
///
/// # Panics
///
/// If anything of that is not so.
pub fn check_conversation(talk: &Talk, length: usize) {
    let whole = observe(talk, Cut::Nowhere, Shipping::Everything);
    let expected = run(whole.observations, Bounds::default());
    assert_order(&expected);
    let is_clean = is_clean(&expected);
    for cut in [Cut::Nowhere, Cut::Told, Cut::Every(1 + length % 13)] {
        let told = observe(talk, cut, Shipping::Everything);
        let events = run(told.observations, Bounds::default());
        assert_order(&events);
        // What is no lawful HTTP/2 is told as far as it is known, which depends on the cut.
        let is_same = is_clean || !(told.http2 || whole.http2);
        if whole.mixed || told.mixed || !is_same {
            continue;
        }
        assert_alike(&events, &expected);
        let told = observe(talk, cut, Shipping::Framed);
        let events = run(told.observations, Bounds::default());
        if !told.followed {
            assert_order(&events);
            assert_marked(&events, &expected);
            continue;
        }
        assert_alike(&events, &expected);
        if let Some(begun) = told.requests
            && !events.iter().any(is_last)
        {
            let known: u32 = events.iter().map(known).sum();
            // Half a request line at the end is no exchange.
            assert!(known + 1 >= begun, "{begun} messages, {known} told");
        }
    }
    let told = observe(talk, Cut::Told, Shipping::Framed);
    assert_order(&run(told.observations, TIGHT));
    if talk.writes.iter().any(|write| write.refused) {
        let told = observe(talk, Cut::Told, Shipping::Refused);
        let events = run(told.observations, Bounds::default());
        assert_order(&events);
        if is_clean {
            assert_nothing_is_invented(&events, &expected);
        }
    }
}

fn run(observations: Vec<Observation>, bounds: Bounds) -> Vec<HttpEvent> {
    let sent: usize = observations.iter().map(bytes).sum();
    // A byte of HPACK can stand for a field of the largest size.
    within((64 << 10) + 4096 * sent, || {
        let mut tracker = Tracker::new(bounds);
        let mut events = Vec::new();
        for observation in observations {
            tracker.observe(observation, &mut events);
            let counters = tracker.counters();
            assert!(counters.bytes <= bounds.memory, "{counters:?}");
            assert!(counters.open <= 2 * bounds.connections, "{counters:?}");
        }
        let counters = tracker.counters();
        assert_eq!((counters.open, counters.bytes), (0, 0));
        events
    })
}

fn bytes(observation: &Observation) -> usize {
    match observation {
        Observation::Segment(segment) => segment.bytes.len(),
        _ => 0,
    }
}

/// Requests that an event accounts for.
fn known(event: &HttpEvent) -> u32 {
    match event {
        HttpEvent::Begun { .. } => 1,
        HttpEvent::Lost { exchanges, .. } => *exchanges,
        _ => 0,
    }
}

/// Whether what follows in the stream may be no request.
fn is_last(event: &HttpEvent) -> bool {
    let HttpEvent::Ended(exchange) = event else {
        return false;
    };
    let upgraded = exchange
        .response
        .as_ref()
        .is_some_and(|response| response.upgraded);
    let head = exchange.request.head.as_ref();
    upgraded
        || head.is_some_and(|head| {
            head.version == "1.0" || head.headers.iter().any(|(name, _)| name == "connection")
        })
}

/// Whether there are exchanges of HTTP/2, all is known of each, and each ended.
fn is_clean(events: &[HttpEvent]) -> bool {
    let is_stream = |exchange: &Exchange| exchange.stream.is_some();
    events.iter().filter_map(ended).any(is_stream)
        && events.iter().all(|event| match event {
            HttpEvent::Lost { .. } => false,
            HttpEvent::Ended(exchange) => {
                let response = exchange.response.as_ref();
                exchange.gap.is_none()
                    && exchange.request.head.is_some()
                    && exchange.request.ended.is_some()
                    && response.is_some_and(|response| response.ended.is_some())
            }
            _ => true,
        })
}

/// The same follows from what is lawful HTTP/1. Behind an answer to nothing it depends on the packets
/// how soon it is known where a message begins; then what is told without a mark in one of them is
/// the same in the other, or marked there.
fn assert_alike(events: &[HttpEvent], expected: &[HttpEvent]) {
    let is_marked = |exchange: &Exchange| exchange.gap.is_some();
    if !expected.iter().filter_map(ended).any(is_marked) {
        return assert_same(events, expected);
    }
    assert_eq!(begun(events), begun(expected));
    for (events, expected) in [(events, expected), (expected, events)] {
        for exchange in events.iter().filter_map(ended).filter(|it| !is_marked(it)) {
            let same = |other: &&Exchange| other.exchange == exchange.exchange;
            let other = expected.iter().filter_map(ended).find(same);
            assert!(
                other.is_some_and(|other| is_marked(other) || other == exchange),
                "{exchange:?}, {other:?}"
            );
        }
    }
}

fn begun(events: &[HttpEvent]) -> Vec<&HttpEvent> {
    let begun = |event: &&HttpEvent| matches!(event, HttpEvent::Begun { .. });
    events.iter().filter(begun).collect()
}

fn assert_same(events: &[HttpEvent], expected: &[HttpEvent]) {
    // Whether a line ended in what is no request is told by packets.
    let plain = |event: &HttpEvent| match event {
        HttpEvent::Closed(closed) => HttpEvent::Closed(Closed {
            no_request: false,
            ..closed.clone()
        }),
        event => event.clone(),
    };
    // At the end there may have been more in what was left out.
    let counts = |event: &&HttpEvent| !matches!(event, HttpEvent::Lost { exchanges: 0, .. });
    let mut expected = expected.iter().filter(counts);
    for event in events.iter().filter(counts) {
        assert_eq!(Some(plain(event)), expected.next().map(plain));
    }
    assert_eq!(expected.next(), None);
}

/// What was left out may be missing, where that is said. Nothing is different but when a request
/// ended on which the connection was handed over before that: no server may (RFC 9110 section 7.8).
/// That may have been by an answer which is malformed further on, and so has no status.
fn assert_marked(events: &[HttpEvent], expected: &[HttpEvent]) {
    let plain = |exchange: &Exchange| {
        let mut plain = exchange.clone();
        let answer = plain.response.as_ref();
        if answer.is_some_and(|it| it.upgraded || it.status.is_none()) {
            plain.request.ended = None;
        }
        plain
    };
    let whole = events.iter().filter_map(ended);
    let whole = whole.filter(|exchange| exchange.request.head.is_some());
    for exchange in whole.filter(|exchange| exchange.gap.is_none()) {
        let same = |other: &HttpEvent| match other {
            HttpEvent::Ended(other) => other.gap.is_some() || plain(other) == plain(exchange),
            _ => false,
        };
        assert!(expected.iter().any(same), "{exchange:?}");
    }
}

/// Segments were refused. What is told of an exchange of HTTP/2 all the same is what it was; all of
/// it, unless it is marked.
fn assert_nothing_is_invented(events: &[HttpEvent], expected: &[HttpEvent]) {
    for exchange in events.iter().filter_map(ended) {
        let same = |other: &&Exchange| other.stream == exchange.stream;
        let mut others = expected.iter().filter_map(ended).filter(same);
        let (Some(_), Some(other)) = (exchange.stream, others.next()) else {
            continue;
        };
        let is_whole = |exchange: &Exchange| exchange.gap.is_none() && !exchange.undecoded;
        if !is_whole(other) {
            continue;
        }
        let head = |exchange: &Exchange| exchange.request.head.clone();
        let status = |exchange: &Exchange| exchange.response.as_ref().and_then(|it| it.status);
        if is_whole(exchange) {
            let mut other = Exchange {
                exchange: exchange.exchange,
                joined: exchange.joined,
                ..other.clone()
            };
            if exchange.request.ended.is_none() {
                // A server may reset a stream before the hole in what the client sent shows.
                let bytes = exchange.request.body_bytes;
                assert!(bytes <= other.request.body_bytes, "{exchange:?}");
                (other.request.ended, other.request.body_bytes) = (None, bytes);
            }
            assert_eq!(*exchange, other);
        } else if let (Some(head), Some(other)) = (head(exchange), head(other)) {
            assert!(
                head.method.is_none() || head.method == other.method,
                "{exchange:?}"
            );
            assert!(
                head.path.is_none() || head.path == other.path,
                "{exchange:?}"
            );
        }
        assert!(
            status(exchange).is_none() || status(exchange) == status(other),
            "{exchange:?}"
        );
    }
}

fn ended(event: &HttpEvent) -> Option<&Exchange> {
    match event {
        HttpEvent::Ended(exchange) => Some(exchange),
        _ => None,
    }
}

/// Opened, each exchange begun in order and ended once, then closed.
fn assert_order(events: &[HttpEvent]) {
    let mut begun = 0;
    let mut open = BTreeSet::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            HttpEvent::Opened(_) => assert_eq!(index, 0, "opened late or twice"),
            HttpEvent::Begun { exchange, .. } => {
                assert_eq!(*exchange, begun, "begun out of order");
                open.insert(begun);
                begun += 1;
            }
            HttpEvent::Ended(exchange) => {
                assert!(open.remove(&exchange.exchange), "{exchange:?}");
                assert!(exchange.end >= exchange.time, "{exchange:?}");
            }
            HttpEvent::Greeted { .. } | HttpEvent::Lost { .. } | HttpEvent::Dropped { .. } => {}
            HttpEvent::Closed(_) => {
                assert_eq!(index + 1, events.len(), "closed early or twice");
                assert!(open.is_empty(), "left open: {open:?}");
            }
        }
    }
}
