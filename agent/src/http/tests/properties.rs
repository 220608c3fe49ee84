//! What holds for every conversation, every cutting and every input.

use std::collections::HashMap;

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    sample::Index,
};

use super::{
    hostile,
    script::{CLIENT, Cutting, SERVER, Script, assert_order, begun, closed, exchanges, lost, run},
};
use crate::{
    capture::{Observation, StreamTotals},
    http::{Bounds, Exchange, Gap, HttpEvent, Tracker},
    timestamp::Timestamp,
};

/// What both ends do for one exchange.
#[derive(Clone, Debug)]
struct Plan {
    method: &'static str,
    request: Content,
    expect: bool,
    interims: usize,
    status: u16,
    response: Content,
    /// The response is written before the last part of the request's body.
    early: bool,
}

/// How a body is written: parts, each one write.
#[derive(Clone, Debug)]
enum Content {
    None,
    Length(Vec<usize>),
    Chunked(Vec<usize>),
}

/// A conversation and what became of it.
#[derive(Clone, Debug)]
struct Talk {
    script: Script,
    plans: Vec<Plan>,
}

const FAKE: &str = "GET /fake HTTP/1.1\r\nHost: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";

impl Content {
    fn sizes(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::Length(sizes) | Self::Chunked(sizes) => sizes,
        }
    }

    fn total(&self) -> u64 {
        self.sizes().iter().sum::<usize>() as u64
    }

    fn header(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Length(_) => format!("Content-Length: {}\r\n", self.total()),
            Self::Chunked(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
        }
    }

    /// The writes after the head: of parts, each content or framing.
    fn writes(&self) -> Vec<Vec<(Vec<u8>, bool)>> {
        let fake = |size: usize| FAKE.bytes().cycle().take(size).collect::<Vec<_>>();
        match self {
            Self::None => vec![],
            Self::Length(sizes) => sizes.iter().map(|size| vec![(fake(*size), true)]).collect(),
            Self::Chunked(sizes) => {
                let chunk = |size: &usize| {
                    vec![
                        (format!("{size:x};a=b\r\n").into_bytes(), false),
                        (fake(*size), true),
                        (b"\r\n".to_vec(), false),
                    ]
                };
                let filled = sizes.iter().filter(|size| **size > 0);
                let mut writes: Vec<_> = filled.map(chunk).collect();
                writes.push(vec![(
                    b"0\r\nTrailer: GET / HTTP/1.1\r\n\r\n".to_vec(),
                    false,
                )]);
                writes
            }
        }
    }
}

fn push(script: Script, end: usize, parts: &[(Vec<u8>, bool)], starts: bool) -> Script {
    let parts: Vec<_> = parts
        .iter()
        .map(|(bytes, content)| (&bytes[..], *content))
        .collect();
    script.write(end, &parts, starts)
}

impl Talk {
    /// Writes the plans; the client is `depth` requests ahead of the answers.
    fn new(mut plans: Vec<Plan>, depth: usize) -> Self {
        for plan in &mut plans {
            // Who asks for an interim answer waits for it.
            plan.expect &= depth == 0;
            plan.early &= depth == 0;
            // One that nobody asked for, lost before any was seen, is taken for a final one.
            plan.interims *= usize::from(plan.expect);
        }
        let mut script = Script::default();
        for index in 0..plans.len() + depth {
            if let Some(plan) = plans.get(index) {
                script = plan.write(script, index, depth == 0);
            }
            if depth > 0
                && let Some(index) = index.checked_sub(depth)
            {
                script = plans[index].answer(script, index);
            }
        }
        Self { script, plans }
    }
}

impl Plan {
    fn write(&self, mut script: Script, index: usize, answered: bool) -> Script {
        let expect = if self.expect {
            "Expect: 100-continue\r\n"
        } else {
            ""
        };
        let head = format!(
            "{} /{index} HTTP/1.1\r\n{expect}{}\r\n",
            self.method,
            self.request.header()
        );
        script = push(script, CLIENT, &[(head.into_bytes(), false)], true);
        for _ in 0..if answered { self.interims } else { 0 } {
            script = script.response("HTTP/1.1 100 Continue\r\n\r\n", "");
        }
        let mut writes = self.request.writes();
        let last = if self.early { writes.pop() } else { None };
        for write in writes {
            script = push(script, CLIENT, &write, false);
        }
        if answered {
            script = self.answer(script, index);
        }
        if let Some(last) = last {
            script = push(script, CLIENT, &last, false);
        }
        script
    }

    fn answer(&self, mut script: Script, index: usize) -> Script {
        let head = format!(
            "HTTP/1.1 {} X\r\nId: {index}\r\n{}\r\n",
            self.status,
            self.response.header()
        );
        script = push(script, SERVER, &[(head.into_bytes(), false)], true);
        if self.response_has_body() {
            for write in self.response.writes() {
                script = push(script, SERVER, &write, false);
            }
        }
        script
    }

    fn response_has_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.status, 204 | 304)
    }

    /// Compares an exchange that is claimed to be whole with the truth.
    fn check(&self, index: usize, exchange: &Exchange) {
        let head = exchange.request.head.as_ref().expect("a whole request");
        assert_eq!(
            (head.method.as_deref(), head.path.as_deref()),
            (Some(self.method), Some(&*format!("/{index}")))
        );
        assert!(exchange.request.ended.is_some());
        assert_eq!(exchange.request.body_bytes, self.request.total());
        let response = exchange.response.as_ref().expect("a whole response");
        assert_eq!(response.status, Some(self.status));
        assert_eq!(response.headers.iter().next().unwrap().1, index.to_string());
        assert!(response.ended.is_some());
        let sent = if self.response_has_body() {
            self.response.total()
        } else {
            0
        };
        assert_eq!(response.body_bytes, sent);
    }
}

fn content() -> impl Strategy<Value = Content> {
    let sizes = || vec(prop_oneof![3 => 0_usize..40, 1 => 40_usize..400], 1..4);
    prop_oneof![
        2 => proptest::strategy::Just(Content::None),
        3 => sizes().prop_map(Content::Length),
        2 => sizes().prop_map(Content::Chunked),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let method = prop_oneof![
        proptest::strategy::Just("GET"),
        proptest::strategy::Just("POST"),
        proptest::strategy::Just("HEAD")
    ];
    let status = prop_oneof![
        3 => proptest::strategy::Just(200_u16),
        1 => proptest::strategy::Just(204),
        1 => proptest::strategy::Just(304),
        1 => proptest::strategy::Just(500),
    ];
    (
        (method, content(), any::<bool>(), 0_usize..3),
        (status, content(), any::<bool>()),
    )
        .prop_map(
            |((method, request, expect, interims), (status, response, early))| Plan {
                method,
                request,
                expect,
                interims,
                status,
                // A response that may have a body says where it ends, or it ends the connection.
                response: match response {
                    Content::None => Content::Length(vec![0]),
                    other => other,
                },
                early,
            },
        )
}

fn talk() -> impl Strategy<Value = Talk> {
    let depth = prop_oneof![2 => proptest::strategy::Just(0_usize), 1 => 1_usize..18];
    (vec(plan(), 1..24), depth).prop_map(|(plans, depth)| Talk::new(plans, depth))
}

/// Cuts and elisions, told as indices that any conversation can resolve.
fn cutting() -> impl Strategy<Value = [(Vec<Index>, Vec<Index>); 2]> {
    let end = || (vec(any::<Index>(), 0..40), vec(any::<Index>(), 0..6));
    [end(), end()]
}

fn resolve(
    script: &Script,
    chosen: &[(Vec<Index>, Vec<Index>); 2],
    elide: Option<usize>,
    refuse: bool,
) -> Cutting {
    let mut cutting = Cutting {
        elide,
        ..Cutting::default()
    };
    for end in [CLIENT, SERVER] {
        let length = script.length(end).max(1);
        cutting.cuts[end] = chosen[end].0.iter().map(|cut| cut.index(length)).collect();
    }
    if refuse {
        let (_, totals) = script.segments(&cutting);
        for end in [CLIENT, SERVER] {
            let StreamTotals { segments, .. } = totals[end];
            let count = segments.max(1) as usize;
            let refused = chosen[end].1.iter().map(|index| index.index(count));
            cutting.refused[end] = refused.map(|index| u32::try_from(index).unwrap()).collect();
        }
    }
    cutting
}

proptest::proptest! {
    #[test]
    fn any_cutting_yields_the_same(
        talk in talk(),
        chosen in cutting(),
        elide in proptest::option::of(0_usize..50),
    ) {
        let expected = talk.script.events();
        let ended = exchanges(&expected);
        assert_eq!((begun(&expected), ended.len()), (talk.plans.len(), talk.plans.len()));
        assert_eq!(lost(&expected), []);
        for exchange in &ended {
            let index = exchange.exchange as usize;
            assert_eq!(exchange.gap, None);
            talk.plans[index].check(index, exchange);
        }
        let cutting = resolve(&talk.script, &chosen, elide, false);
        assert_eq!(run(talk.script.observations(&cutting)), expected);
    }

    #[test]
    fn a_cut_at_every_byte_yields_the_same(talk in talk()) {
        let cutting = Cutting {
            cuts: [CLIENT, SERVER].map(|end| (0..talk.script.length(end)).collect()),
            elide: Some(1),
            ..Cutting::default()
        };
        assert_eq!(run(talk.script.observations(&cutting)), talk.script.events());
    }

    #[test]
    fn what_is_refused_is_told_and_nothing_is_invented(
        talk in talk(),
        chosen in cutting(),
        elide in proptest::option::of(0_usize..50),
    ) {
        let cutting = resolve(&talk.script, &chosen, elide, true);
        let events = run(talk.script.observations(&cutting));
        let counted: u32 = lost(&events).iter().map(|(count, _)| count).sum();
        assert_eq!(begun(&events) + counted as usize, talk.plans.len(), "{events:#?}");
        assert!(lost(&events).iter().all(|(_, cause)| *cause == Gap::RingLost));
        assert_eq!(closed(&events).len(), 1);
        for exchange in exchanges(&events) {
            let head = exchange.request.head.as_ref();
            let path = head.and_then(|head| head.path.as_deref()?.get(1..));
            let response = exchange.response.as_ref();
            let id = response.and_then(|response| response.headers.iter().next());
            if let (Some(path), Some((_, id))) = (path, id) {
                assert_eq!(path, id, "paired wrongly: {exchange:#?}");
            }
            match exchange.gap {
                None => {
                    let index: usize = path.expect("a whole request").parse().unwrap();
                    talk.plans[index].check(index, &exchange);
                }
                Some(gap) => assert_eq!(gap, Gap::RingLost),
            }
        }
    }

    #[test]
    fn nothing_panics_and_all_is_bounded(observations in hostile::observations()) {
        let bounds = Bounds {
            connections: 3,
            outstanding: 4,
            memory: 2_000,
            waiting_segments: 3,
            waiting_bytes: 400,
        };
        let mut tracker = Tracker::new(bounds);
        let mut events = Vec::new();
        for observation in observations {
            tracker.observe(observation, &mut events);
            let counters = tracker.counters();
            assert!(counters.open <= 6 && counters.bytes <= bounds.memory, "{counters:?}");
        }
        for time in [1_u64 << 40, 1 << 62, u64::MAX] {
            tracker.observe(Observation::Progress(Timestamp(time)), &mut events);
        }
        assert_order(&events);
        let mut outstanding: HashMap<u64, i64> = HashMap::new();
        for event in &events {
            match event {
                HttpEvent::Begun { connection, .. } => {
                    let count = outstanding.entry(*connection).or_default();
                    *count += 1;
                    assert!(*count <= 4 + 1, "{events:#?}");
                }
                HttpEvent::Ended(exchange) => {
                    *outstanding.entry(exchange.connection).or_default() -= 1;
                }
                _ => {}
            }
        }
    }
}
