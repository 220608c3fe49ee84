//! The traffic of a scene: connections with requests on them, and the lines about them.

use std::{net::SocketAddr, time::Duration};

use super::{
    random::Random,
    scene::{BEGIN, Scene},
    tampering::{Field, Tampering},
    transaction::Transaction,
    truth::Statement,
    wire::Wire,
};
use crate::{
    envoy::LogEntry,
    ledger::Input,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

/// Connections open within this time.
const SPAN_MILLISECONDS: u64 = 8_000;

impl Scene {
    /// Everything that happens.
    pub(super) fn play(&mut self) {
        for pod in 0..self.pods.len() {
            for side in [Side::Client, Side::Server] {
                // Something to begin with: of a log without any line nothing is concluded.
                self.connection(pod, side, BEGIN + Duration::from_millis(1), 1, 0);
                for _ in 0..self.random.between(0, 4) {
                    let begin = BEGIN + self.random.millis(100, SPAN_MILLISECONDS);
                    let count = *self.random.pick(&[1, 1, 2, 4, 12]);
                    let tampered = *self.random.pick(&[0, 0, 25, 60]);
                    self.connection(pod, side, begin, count, tampered);
                }
            }
            for _ in 0..self.random.between(0, 3) {
                let time = BEGIN + self.random.millis(0, SPAN_MILLISECONDS);
                self.logs[pod].other_output(time);
            }
        }
    }

    /// A connection with so many requests, of which so many percent are tampered with.
    fn connection(
        &mut self,
        pod: usize,
        side: Side,
        begin: Timestamp,
        requests: u32,
        tampered: u64,
    ) {
        let wire = self.wire(pod, side, begin);
        let opened = Input::Opened(Box::new(wire.connection(&self.pods[pod])));
        let mut now = begin + self.random.micros(20, 2_000);
        self.tell(now, opened);
        let manner = Manner::any(&mut self.random);
        let (mut bytes, mut made) = ((0, 0), begin);
        let mut may_tamper = true;
        for number in 0..requests {
            let transaction = self.transaction(number, side, &manner, now);
            now = transaction.ended + manner.pause(&mut self.random);
            bytes.0 += transaction.request_bytes + 100;
            bytes.1 += transaction.response_bytes + 100;
            let tampering = (may_tamper && self.random.chance(tampered))
                .then(|| Tampering::any(&mut self.random));
            // Two faults side by side would be one, and where all requests are alike, any two are.
            may_tamper = match tampering {
                Some(_) => false,
                None => may_tamper || !manner.same_path,
            };
            self.exchange(&wire, &transaction);
            // A worker writes the lines of a connection in order, about when the response leaves.
            let ended = transaction.ended - Duration::from_micros(200);
            made = made.max(ended + self.random.micros(1, 1_500));
            self.log(pod, &wire, &transaction, made, tampering);
        }
        let told = now + self.random.micros(1, 3_000);
        self.tell(told, Input::Closed(wire.closed(now, bytes)));
    }

    fn wire(&mut self, pod: usize, side: Side, begin: Timestamp) -> Wire {
        let id = self.next_connection;
        self.next_connection += 1;
        let opened = self.moment(begin);
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

    fn transaction(
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
        // The client side's request has an id only if the app gave it one; the proxy adds it.
        let id = format!("{begun:?}-{:08x}", random.between(0, u64::from(u32::MAX)));
        let given = side == Side::Server || manner.gives_ids;
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
        Transaction {
            number,
            method: method.to_owned(),
            logged_path: path.clone(),
            path,
            authority: "backend".into(),
            request_id: given.then(|| id.clone()),
            logged_request_id: Some(id),
            forwarded_for: None,
            request_bytes,
            status,
            response_bytes,
            begun,
            request_ended,
            answered,
            ended,
            started,
        }
    }

    /// The capture tells an exchange.
    fn exchange(&mut self, wire: &Wire, transaction: &Transaction) {
        let begun = Input::Begun {
            connection: wire.id,
            exchange: transaction.number,
            time: transaction.begun,
        };
        self.tell(transaction.begun, begun);
        let exchange = self.intake.exchange(transaction.exchange(wire));
        self.tell(exchange.end, Input::Ended(Box::new(exchange)));
    }

    /// The proxy writes about it, and somebody may tamper with that.
    fn log(
        &mut self,
        pod: usize,
        wire: &Wire,
        transaction: &Transaction,
        made: Timestamp,
        tampering: Option<Tampering>,
    ) {
        let side = wire.side;
        let likeness = self
            .truth
            .likeness(format!("{} {}", wire.id, transaction.likeness()));
        let uid = self.pods[pod].uid.clone();
        self.truth.observed(&uid, transaction.begun, likeness);
        let mut entry = transaction.entry(wire);
        let pair = |verdict| Statement::new(verdict, side).observed(likeness);
        let mut expected = Vec::new();
        match tampering {
            Some(Tampering::Removed) => expected.push(pair(Verdict::Unlogged)),
            Some(Tampering::Edited(field)) => {
                field.edit(&mut entry, &mut self.random);
                let edited = self.truth.unlike("edited");
                self.logs[pod].make(made, entry, edited);
                expected.push(field.judge(side).observed(likeness).logged(edited));
            }
            Some(Tampering::Repeated) => {
                let again = made + self.random.micros(0, 50_000);
                self.logs[pod].make(made, entry.clone(), likeness);
                self.logs[pod].make(again, entry, likeness);
                expected.push(pair(Verdict::Matched).logged(likeness));
                let repeated = Statement::new(Verdict::Unseen, side).because(Reason::Repeated);
                expected.push(repeated.logged(likeness));
            }
            Some(Tampering::Invented) => {
                let invented = self.truth.unlike("invented");
                let forged = forge(entry.clone(), &mut self.random);
                self.logs[pod].make(made, entry, likeness);
                let later = made + self.random.micros(0, 1_000);
                self.logs[pod].make(later, forged, invented);
                expected.push(pair(Verdict::Matched).logged(likeness));
                expected.push(Statement::new(Verdict::Unseen, side).logged(invented));
            }
            None => {
                self.logs[pod].make(made, entry, likeness);
                expected.push(pair(Verdict::Matched).logged(likeness));
            }
        }
        self.truth.expected.extend(expected);
    }
}

/// A line like this one, of a request that never was.
fn forge(mut entry: LogEntry, random: &mut Random) -> LogEntry {
    Field::Path.edit(&mut entry, random);
    Field::RequestId.edit(&mut entry, random);
    entry
}

/// How a client behaves on a connection.
struct Manner {
    same_path: bool,
    gives_ids: bool,
    /// Microseconds.
    slowest_answer: u64,
    /// Microseconds between a response and the next request.
    pause: (u64, u64),
}

impl Manner {
    fn any(random: &mut Random) -> Self {
        Self {
            same_path: random.chance(40),
            gives_ids: random.chance(30),
            slowest_answer: *random.pick(&[200, 3_000, 300_000]),
            pause: *random.pick(&[(10, 100), (500, 20_000), (100_000, 900_000)]),
        }
    }

    fn pause(&self, random: &mut Random) -> Duration {
        random.micros(self.pause.0, self.pause.1)
    }
}
