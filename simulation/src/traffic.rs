//! Connections between apps and their sidecars, with requests on them and lines about them.

use std::{net::SocketAddr, time::Duration};

use meshwitness::{
    envoy::LogEntry,
    ledger::Input,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    case::Case,
    log::Damage,
    losses::{Loss, Losses, reason},
    manner::Manner,
    random::Random,
    scene::{BEGIN, Scene},
    tampering::{Field, Tampering},
    transaction::{Head, Logged, Reply, Transaction},
    truth::{Likeness, Statement},
    wire::Wire,
};

/// Connections open within this time.
pub(crate) const SPAN_MILLISECONDS: u64 = 8_000;

impl Scene {
    /// The requests of a pod, its own and those to it.
    pub(crate) fn requests(&mut self, pod: usize) {
        for side in [Side::Client, Side::Server] {
            // Something to begin with: of a log without any line nothing is concluded.
            let first = Manner::first();
            self.connection(pod, side, BEGIN + Duration::from_millis(1), &first);
            for _ in 0..self.random.between(0, 4) {
                let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
                let mut manner = Manner::any(&mut self.random);
                if self.logs[pod].damage != Damage::None {
                    (manner.tampered, manner.lossy) = (0, false);
                }
                if manner.forwarded && (manner.lossy || self.logs[pod].damage != Damage::None) {
                    // Lines that name no upstream may then be anything.
                    manner.odd = false;
                }
                if self.logs[pod].damage == Damage::Holes {
                    // Of what is alike the last is left over, however far from the hole.
                    (manner.forwarded, manner.gives_ids) = (false, true);
                }
                match self.random.chance(40) {
                    true => self.streams(pod, side, begin, &manner),
                    false => self.connection(pod, side, begin, &manner),
                }
            }
        }
    }

    /// A connection in this manner.
    fn connection(&mut self, pod: usize, side: Side, begin: Timestamp, manner: &Manner) {
        let wire = self.wire(pod, side, begin);
        let opened = Input::Opened(Box::new(wire.connection(&self.pods[pod])));
        let mut now = begin + self.random.micros(20, 2_000);
        self.tell(now, opened);
        let (mut bytes, mut made) = ((0, 0), begin);
        let mut may_tamper = true;
        let (mut losses, mut seen) = (Losses::new(manner, self.cause), 0);
        for number in 0..manner.requests {
            let mut transaction = self.transaction(number, side, manner, now);
            let case = match manner.odd && !manner.same_path {
                true => Case::any(side, &mut self.random),
                false => Case::Plain,
            };
            case.apply(side, &mut transaction, &mut self.random);
            now = transaction.ended + manner.pause(&mut self.random);
            bytes.0 += transaction.request_bytes + 100;
            bytes.1 += transaction.reply.as_ref().map_or(0, |reply| reply.bytes) + 100;
            let tampering = (may_tamper && self.random.chance(manner.tampered))
                .then(|| Tampering::any(case == Case::Plain, &mut self.random));
            // Two faults side by side would be one, and where all requests are alike, any two are.
            may_tamper = match tampering {
                Some(_) => false,
                None => may_tamper || !manner.same_path,
            };
            // A worker writes the lines of a connection in order.
            made = made.max(transaction.logged.made);
            transaction.logged.made = made;
            match losses.next(case == Case::Plain, &mut self.random) {
                Some(Loss::Head(cause)) => self.lose(pod, &wire, &transaction, (1, cause)),
                Some(Loss::Rest(cause)) => self.lose(pod, &wire, &transaction, (0, cause)),
                loss => {
                    if let Some(Loss::Part(cause)) = loss {
                        transaction.gap = Some(cause);
                        transaction.request_ended = None;
                    } else {
                        self.hand_on(pod, side, case, &mut transaction);
                    }
                    transaction.number = seen;
                    seen += 1;
                    self.exchange(&wire, &transaction);
                    self.log(pod, &wire, &transaction, tampering);
                }
            }
            if transaction.is_last {
                now = transaction.ended;
                break;
            }
        }
        let told = now + self.random.micros(1, 3_000);
        self.tell(told, Input::Closed(wire.closed(now, bytes)));
        if side == Side::Client {
            self.carry_on(pod, &wire, now);
        }
    }

    pub(crate) fn wire(&mut self, pod: usize, side: Side, begin: Timestamp) -> Wire {
        let id = self.next_connection;
        self.next_connection += 1;
        let opened = self.moment(begin);
        self.truth.since = begin;
        let pod = &self.pods[pod];
        let port = 40_000 + u16::try_from(id).unwrap();
        let own = pod.address();
        let (local, source, destination, asked) = match side {
            Side::Client => {
                let local = SocketAddr::new(own, port);
                // REDIRECT gives another source port where its own is taken.
                let remapped = SocketAddr::new(own, port - 20_000);
                let source = *self.random.pick(&[local, local, remapped]);
                let backend = if pod.v6 {
                    "[fd77::99]:8080"
                } else {
                    "10.2.0.99:8080"
                };
                (
                    local,
                    source,
                    pod.outbound_listener(),
                    backend.parse().unwrap(),
                )
            }
            _ => {
                let source = SocketAddr::new(pod.inbound_source(), port);
                let app = SocketAddr::new(own, 9090);
                (source, source, app, app)
            }
        };
        let network_port = port - 10_000;
        let network = match side {
            Side::Client => (SocketAddr::new(own, network_port), asked),
            _ => {
                let peer = if pod.v6 { "fd77::77" } else { "10.2.0.77" };
                let listener = SocketAddr::new(own, 15006);
                (
                    listener,
                    SocketAddr::new(peer.parse().unwrap(), network_port),
                )
            }
        };
        Wire {
            id,
            side,
            opened,
            local,
            source,
            destination,
            asked,
            network,
            preexisting: false,
        }
    }

    /// A request with a plain answer.
    pub(crate) fn transaction(
        &mut self,
        number: u32,
        side: Side,
        manner: &Manner,
        begin: Timestamp,
    ) -> Transaction {
        let begun = self.moment(begin);
        let random = &mut self.random;
        let path = match manner.same_path {
            true => "/same".to_owned(),
            false => format!("/item/{}?page={number}", random.between(0, 9)),
        };
        let method = match manner.same_path {
            true => "GET",
            false => random.pick(&["GET", "GET", "POST", "PUT"]),
        };
        let request_bytes = match method {
            "GET" => 0,
            _ => random.between(0, 60_000),
        };
        let status = match manner.same_path {
            true => 200,
            false => *random.pick(&[200, 200, 204, 301, 404, 503]),
        };
        let response_bytes = match (manner.same_path, status) {
            (true, _) => 10,
            (false, 204) => 0,
            (false, _) => random.between(0, 5_000),
        };
        let id = format!("{:08x}-{begun:?}", random.between(0, u64::from(u32::MAX)));
        // The proxy overwrites this character with its decision to trace.
        let logged_id = format!("{}9{}", &id[..14], &id[15..]);
        // The client side's request has an id only if the app gave it one; the proxy adds it.
        let given = side == Side::Server || manner.gives_ids;
        let forwarded_for = manner.forwarded.then(|| "198.51.100.7".to_owned());
        let request_ended = match request_bytes {
            0 => begun,
            _ => begun + random.micros(1, 2_000),
        };
        let answered = request_ended + random.micros(30, manner.slowest_answer);
        let ended = answered + random.micros(0, 2_000);
        let started = match side {
            Side::Client => begun + random.micros(20, 1_200),
            _ => begun - random.micros(20, 20_000),
        };
        let made = started.max(ended - Duration::from_micros(200) + random.micros(1, 1_500));
        Transaction {
            number,
            stream: None,
            undecoded: false,
            head: Some(Head {
                method,
                path: path.clone(),
                authority: "backend".into(),
                request_id: given.then_some(id),
                forwarded_for: forwarded_for.clone(),
            }),
            request_bytes,
            begun,
            request_ended: Some(request_ended),
            reply: Some(Reply {
                answered,
                status,
                ended: Some(ended),
                bytes: response_bytes,
                upgraded: false,
                grpc_status: None,
            }),
            ended,
            gap: None,
            logged: Logged {
                started,
                method: Some(method),
                path: Some(path),
                authority: Some("backend".into()),
                request_id: Some(logged_id),
                forwarded_for,
                request_bytes,
                status,
                response_bytes,
                flags: None,
                details: "via_upstream",
                protocol: "HTTP/1.1",
                grpc_status: None,
                upstream: true,
                upstream_host: None,
                made,
            },
            reasons: Vec::new(),
            differences: Vec::new(),
            host_is_seen: false,
            is_last: false,
        }
    }

    /// The capture tells an exchange.
    pub(crate) fn exchange(&mut self, wire: &Wire, transaction: &Transaction) {
        let begun = Input::Begun {
            connection: wire.id,
            exchange: transaction.number,
            stream: transaction.stream,
            time: transaction.begun,
        };
        self.tell(transaction.begun, begun);
        let exchange = self.intake.exchange(transaction.exchange(wire));
        self.tell(exchange.end, Input::Ended(Box::new(exchange)));
    }

    /// What it is alike to: on its connection, or in its pod where the line bears no tuple.
    pub(crate) fn likeness(
        &mut self,
        pod: usize,
        wire: &Wire,
        transaction: &Transaction,
    ) -> Likeness {
        let place = match transaction.named_side(wire.side) {
            None => format!("pod {pod} {}", wire.asked),
            Some(_) => format!("#{}", wire.id),
        };
        self.truth
            .likeness(format!("{place} {}", transaction.likeness()))
    }

    /// The proxy writes about it, and somebody may tamper with that.
    pub(crate) fn log(
        &mut self,
        pod: usize,
        wire: &Wire,
        transaction: &Transaction,
        tampering: Option<Tampering>,
    ) {
        let side = wire.side;
        let likeness = self.likeness(pod, wire, transaction);
        let uid = self.pods[pod].uid.clone();
        self.truth.observed(&uid, transaction.begun, likeness);
        let made = transaction.logged.made;
        let named = transaction.named_side(side);
        let mut entry = transaction.logged.entry(wire);
        let alone = |verdict| Statement::new(verdict, side);
        let matched = transaction.matched(side, likeness);
        let mut expected = Vec::new();
        match tampering {
            Some(Tampering::Removed) => {
                expected.push(alone(Verdict::Unlogged).observed(likeness));
            }
            // When the upload ended is not known where the clock was set in it.
            Some(Tampering::Edited(field))
                if field != Field::RequestBytes || self.truth.clock_step.is_none() =>
            {
                field.edit(&mut entry, &mut self.random);
                let edited = self.truth.unlike("edited");
                self.write(pod, made, entry, edited, named);
                expected.push(
                    field
                        .judge(side, transaction.host_is_seen)
                        .observed(likeness)
                        .logged(edited),
                );
            }
            Some(Tampering::Repeated) => {
                let again = made + self.random.micros(0, 50_000);
                self.write(pod, made, entry.clone(), likeness, named);
                self.write(pod, again, entry, likeness, named);
                expected.push(matched);
                let verdict = match self.logs[pod].beside.is_doubled() {
                    true => Verdict::Matched,
                    false => Verdict::Unseen,
                };
                let repeated = alone(verdict).because(Reason::Repeated);
                expected.push(repeated.logged(likeness));
            }
            Some(Tampering::Invented) => {
                let invented = self.truth.unlike("invented");
                let forged = forge(entry.clone(), &mut self.random);
                self.write(pod, made, entry, likeness, named);
                self.write(pod, made, forged, invented, named);
                expected.push(matched);
                expected.push(alone(Verdict::Unseen).logged(invented));
            }
            Some(Tampering::Edited(_)) | None => {
                self.write(pod, made, entry, likeness, named);
                match self.logs[pod].damage {
                    Damage::Stalled(..) => self.truth.expect_early_or_late(matched),
                    _ => expected.push(matched),
                }
            }
        }
        self.truth.expect(expected);
    }
}

impl Transaction {
    /// Of a line that names its connection, the side of that.
    pub(crate) fn named_side(&self, side: Side) -> Option<Side> {
        let forwarded = self.logged.forwarded_for.is_some() && side == Side::Client;
        (!forwarded).then_some(side)
    }

    /// What must be said of it if nobody tampers with its line.
    fn matched(&self, side: Side, likeness: u32) -> Statement {
        let mut matched = match self.gap {
            None if self.undecoded => {
                Statement::new(Verdict::Unverifiable, side).because(Reason::HpackUnknownEntry)
            }
            None => Statement::new(Verdict::Matched, side),
            Some(gap) => Statement::new(Verdict::Unverifiable, side).because(reason(gap)),
        };
        for reason in &self.reasons {
            matched = matched.because(*reason);
        }
        for field in &self.differences {
            matched = matched.differing(field);
        }
        matched.observed(likeness).logged(likeness)
    }
}

/// A line like this one, of a request that never was.
fn forge(mut entry: LogEntry, random: &mut Random) -> LogEntry {
    Field::Path.edit(&mut entry, random);
    Field::RequestId.edit(&mut entry, random);
    entry
}
