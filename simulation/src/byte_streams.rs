//! Connections through a sidecar that it carries as TCP, or that come to nothing.

use std::time::Duration;

use meshwitness::{
    envoy::LogEntry,
    http::{Greeting, hello::ClientHello},
    ledger::Input,
    record::{Reason, Side, Verdict},
};

use crate::{
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
    transaction::unlogged,
    truth::Statement,
};

/// A port of which nobody ever saw that it carries HTTP.
const PORT: u16 = 5432;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Logged,
    /// The line has other bytes.
    Edited,
    /// The app speaks TLS, and the line has another server name.
    Renamed,
    /// There is no line.
    Removed,
    /// Nothing was sent, and there is no line.
    Idle,
    /// It was HTTP all the same.
    Http,
}

const FATES: [Fate; 6] = [
    Fate::Logged,
    Fate::Edited,
    Fate::Renamed,
    Fate::Removed,
    Fate::Idle,
    Fate::Http,
];

impl Scene {
    pub(crate) fn streams_of_bytes(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 3) {
            let side = *self.random.pick(&[Side::Client, Side::Server]);
            let fate = *self.random.pick(&FATES);
            self.stream_of_bytes(pod, side, fate);
        }
    }

    fn stream_of_bytes(&mut self, pod: usize, side: Side, fate: Fate) {
        let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
        let mut wire = self.wire(pod, side, begin);
        wire.asked.set_port(PORT);
        if side == Side::Server {
            wire.destination.set_port(PORT);
        }
        let uid = self.pods[pod].uid.clone();
        let likeness = self.truth.unlike("bytes");
        self.truth.observed(&uid, wire.opened, likeness);
        let mut now = begin + self.random.micros(20, 2_000);
        self.tell(
            now,
            Input::Opened(Box::new(wire.connection(&self.pods[pod]))),
        );
        let speaks_tls = fate == Fate::Renamed || fate == Fate::Logged && self.random.chance(50);
        if speaks_tls {
            now = now + self.random.micros(10, 5_000);
            let hello = ClientHello {
                server_name: Some("Shop.example".to_owned()),
                ..ClientHello::default()
            };
            self.tell(
                now,
                Input::Greeted {
                    connection: wire.id,
                    time: now,
                    greeting: Greeting::Client(hello),
                },
            );
        }
        if fate == Fate::Http {
            for number in 0..2 {
                let begun = now + self.random.micros(10, 5_000);
                let begun = self.moment(begun);
                let exchange = unlogged(wire.id, number, begun);
                now = exchange.end;
                let (connection, exchange_number) = (wire.id, number);
                self.tell(
                    begun,
                    Input::Begun {
                        connection,
                        exchange: exchange_number,
                        stream: None,
                        time: begun,
                    },
                );
                let exchange = self.intake.exchange(exchange);
                self.tell(now, Input::Ended(Box::new(exchange)));
            }
        }
        let closed = now + self.random.millis(1, 5_000);
        let bytes = match fate {
            Fate::Idle => (0, 0),
            _ => (self.random.between(1, 9_999), self.random.between(0, 9_999)),
        };
        self.tell(closed, Input::Closed(wire.closed(closed, bytes)));
        let mut entry = LogEntry {
            start_time: Some(wire.opened + self.random.micros(20, 1_000)),
            start_time_precision_nanoseconds: 1_000_000,
            can_speak_http: true,
            response_code: Some(0),
            bytes_received: Some(bytes.0),
            bytes_sent: Some(bytes.1),
            duration_milliseconds: u64::try_from(closed.since(wire.opened).as_millis()).ok(),
            upstream_host: Some(wire.network.1.to_string()),
            upstream_cluster: Some(format!("outbound|{PORT}||database")),
            upstream_local_address: Some(wire.network.0),
            downstream_local_address: Some(wire.asked),
            downstream_remote_address: Some(wire.source),
            ..LogEntry::default()
        };
        if side == Side::Server {
            entry.upstream_cluster = Some(format!("inbound|{PORT}||"));
            entry.upstream_host = Some(wire.destination.to_string());
            entry.upstream_local_address = Some(wire.source);
            entry.downstream_remote_address = Some(wire.network.1);
        }
        if speaks_tls {
            // Inbound it is the name that the other sidecar asked for.
            let name = if side == Side::Server {
                "outbound_.5432_._.database"
            } else {
                "shop.example"
            };
            entry.requested_server_name = self.random.chance(80).then(|| name.to_owned());
        }
        let mut says = Statement::new(Verdict::Matched, side).observed(likeness);
        match fate {
            Fate::Logged => {}
            Fate::Renamed if side == Side::Server => {}
            Fate::Renamed => {
                entry.requested_server_name = Some("elsewhere.example".to_owned());
                says.verdict = Verdict::Mismatched;
                says = says.differing("tls.client.server_name");
            }
            Fate::Edited => {
                entry.bytes_sent = Some(bytes.1 + 7);
                says.verdict = Verdict::Mismatched;
                says = says.differing("connection.server_bytes");
            }
            Fate::Removed => says.verdict = Verdict::Unlogged,
            Fate::Idle => {
                says.verdict = Verdict::Outside;
                says = says.because(Reason::NoRequest);
            }
            Fate::Http => says = says.because(Reason::LoggedAsTcp),
        }
        if !matches!(fate, Fate::Removed | Fate::Idle) {
            let logged = self.truth.unlike("line of bytes");
            let made = closed + Duration::from_micros(300);
            self.write(pod, made, entry, logged, Some(side));
            says = says.logged(logged);
        }
        self.truth.expect(vec![says]);
    }
}
