//! A scene of pods, connections and lines for the ledger's tests.

mod alike;
mod attacks;
mod attempts;
mod authority;
mod books;
mod bypasses;
mod clean;
mod client_retries;
mod clock_steps;
mod comparison;
mod copies;
mod course;
mod doubled;
mod doubt;
mod due;
mod evidence;
mod facts;
mod faults;
mod findings;
mod flows;
mod forwarded;
mod intake;
mod interim;
mod late;
mod late_attempts;
mod left_early;
mod leg;
mod life;
mod losses;
mod memory;
mod multiplexed;
mod network;
mod no_http;
mod places;
mod plaintext;
mod policy;
mod proofs;
mod proven;
mod raw_sockets;
mod records;
mod refusals;
mod reload;
mod resets;
mod retries;
mod sensitive;
mod silent;
mod strangers;
mod suggested;
mod summary;
mod tls;
mod tracked;
mod undecoded;
mod unlogged;
mod unplaced;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use books::check_books;
pub(super) use facts::exchange;
use facts::{address, end, entry, fingerprint, path, process, settings};

use super::{
    Entry, Exchange, Input, Ledger, Line, LineContent, ListenerFact, Settings, evidence::Evidence,
};
use crate::{
    config::PolicyRule,
    http::{Closed, Connection, End},
    record::{Reason, Record, Side, Units, Verdict},
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

const FLUSH: Duration = Duration::from_secs(1);
const APP_CGROUP: u64 = 11;
const PROXY_CGROUP: u64 = 12;
const OTHER_APP_CGROUP: u64 = 13;
const PROXY_PID: u32 = 500;
const PILOT_AGENT_PID: u32 = 400;
const APP_PID: u32 = 300;
const UID: &str = "11111111-1111-1111-1111-111111111111";

/// One meshed pod, its traffic and its log, on a clock that the test turns.
struct Scene {
    ledger: Ledger,
    records: Vec<Record>,
    /// Of each record that is not `matched`, by its sequence number.
    evidence: BTreeMap<u64, Evidence>,
    now: Timestamp,
    next_id: u64,
}

/// What a test varies of an exchange.
#[derive(Clone)]
pub(super) struct Sent {
    path: String,
    status: u16,
    bytes: u64,
    forwarded: bool,
    request_id: Option<String>,
}

pub(super) fn get(path: &str) -> Sent {
    Sent {
        path: path.to_owned(),
        status: 200,
        bytes: 10,
        forwarded: false,
        request_id: None,
    }
}

impl Scene {
    fn new() -> Self {
        Self::with_policy(Vec::new())
    }

    fn with_policy(policy: Vec<PolicyRule>) -> Self {
        let mut scene = Self::bare(policy);
        scene.tell_pod();
        scene.feed(Input::Started { time: scene.now });
        scene.tell_listeners();
        scene.pass(Duration::from_secs(1));
        scene
    }

    fn bare(policy: Vec<PolicyRule>) -> Self {
        Self::set_up(settings(policy))
    }

    fn set_up(settings: Settings) -> Self {
        let mut ledger = Ledger::new(settings);
        ledger.keep_evidence();
        let now = Timestamp(1_800_000_000_000_000_000);
        Self {
            ledger,
            records: Vec::new(),
            evidence: BTreeMap::new(),
            now,
            next_id: 1,
        }
    }

    fn tell_pod(&mut self) {
        for (cgroup, container, name) in [
            (APP_CGROUP, "c1", "app"),
            (PROXY_CGROUP, "c2", "istio-proxy"),
            (OTHER_APP_CGROUP, "c3", "other"),
        ] {
            let owner = Owner::Container {
                pod_uid: UID.into(),
                container_id: container.into(),
            };
            self.feed(Input::Workload(WorkloadFact::Cgroup { id: cgroup, owner }));
            let (id, pod_uid, name) = (container.into(), UID.into(), name.into());
            self.feed(Input::Workload(WorkloadFact::Container {
                id,
                pod_uid,
                name,
            }));
        }
        self.feed(Input::Workload(WorkloadFact::Pod(Pod {
            uid: UID.into(),
            namespace: "shop".into(),
            name: "a".into(),
            containers: vec!["app".into(), "istio-proxy".into(), "other".into()],
        })));
    }

    fn tell_listeners(&mut self) {
        for (port, pid) in [
            (15001, PROXY_PID),
            (15006, PROXY_PID),
            (15020, PILOT_AGENT_PID),
        ] {
            let process = process(pid);
            self.feed(Input::Listener(ListenerFact {
                cookie: u64::from(port),
                time: self.now,
                cgroup: PROXY_CGROUP,
                process,
                port,
            }));
        }
    }

    fn feed(&mut self, input: Input) {
        let mut records = Vec::new();
        self.ledger.handle(input, &mut records);
        let evidence = self.ledger.take_evidence();
        let judged = records.iter().filter(|record| record.verdict.is_some());
        let unmatched = judged.filter(|record| record.verdict != Some(Verdict::Matched));
        let expected: Vec<u64> = unmatched.map(|record| record.sequence).collect();
        let gathered: Vec<u64> = evidence.iter().map(|evidence| evidence.sequence).collect();
        assert_eq!(gathered, expected, "{records:?}");
        self.records.extend(records);
        self.evidence.extend(
            evidence
                .into_iter()
                .map(|evidence| (evidence.sequence, evidence)),
        );
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Lets everything become due: capture and log are read far past now.
    fn settle(&mut self) {
        self.pass(Duration::from_secs(20));
        let now = self.now;
        self.capture_until(now);
        self.read_log_until(now);
        self.feed(Input::Tick(now));
        self.capture_until(now + Duration::from_secs(1));
        self.read_log_until(now);
        self.feed(Input::Tick(now + Duration::from_secs(1)));
    }

    /// All that was sent before this moment was told.
    fn capture_until(&mut self, time: Timestamp) {
        self.feed(Input::CaptureProgress(time));
    }

    /// All that was stamped before this moment was read.
    fn read_log_until(&mut self, read_until: Timestamp) {
        self.feed(Input::LogProgress {
            pod_uid: UID.into(),
            read_until,
        });
    }

    /// A connection from the app to its sidecar, asked for 10.0.0.9:8080.
    fn client_leg(&mut self) -> Connection {
        let port = 40_000 + u16::try_from(self.next_id).unwrap();
        self.connect(
            Some(end(
                APP_CGROUP,
                APP_PID,
                address("10.0.0.1", port),
                "10.0.0.9:8080",
            )),
            Some(end(
                PROXY_CGROUP,
                PROXY_PID,
                "127.0.0.1:15001".parse().unwrap(),
                "10.0.0.1:1",
            )),
            (
                address("10.0.0.1", port),
                "127.0.0.1:15001".parse().unwrap(),
            ),
            Some("10.0.0.9:8080".parse().unwrap()),
        )
    }

    /// A connection from the sidecar to its app on port 8080.
    fn server_leg(&mut self) -> Connection {
        let port = 50_000 + u16::try_from(self.next_id).unwrap();
        let destination: SocketAddr = "10.0.0.1:8080".parse().unwrap();
        self.connect(
            Some(end(
                PROXY_CGROUP,
                PROXY_PID,
                address("127.0.0.6", port),
                "10.0.0.1:8080",
            )),
            Some(end(APP_CGROUP, APP_PID, destination, "127.0.0.6:1")),
            (address("127.0.0.6", port), destination),
            Some(destination),
        )
    }

    fn connect(
        &mut self,
        client: Option<End>,
        server: Option<End>,
        (source, destination): (SocketAddr, SocketAddr),
        asked: Option<SocketAddr>,
    ) -> Connection {
        let id = self.next_id;
        self.next_id += 1;
        let connection = Connection {
            id,
            time: self.now,
            client,
            server,
            source,
            destination,
            asked,
            established: true,
            preexisting: false,
            udp: None,
        };
        self.feed(Input::Opened(Box::new(connection.clone())));
        connection
    }

    /// An exchange of 3 ms, told to the ledger.
    fn exchange(&mut self, connection: &Connection, number: u32, sent: &Sent) -> Exchange {
        let time = self.now;
        self.feed(Input::Begun {
            connection: connection.id,
            exchange: number,
            stream: None,
            time,
        });
        self.pass(Duration::from_millis(3));
        let exchange = exchange(connection.id, number, time, self.now, sent);
        self.feed(Input::Ended(Box::new(exchange.clone())));
        exchange
    }

    /// Bytes that are no request, and an answer in HTTP all the same.
    fn unreadable(&mut self, connection: &Connection) -> Exchange {
        let time = self.now;
        self.feed(Input::Begun {
            connection: connection.id,
            exchange: 0,
            stream: None,
            time,
        });
        self.pass(Duration::from_millis(3));
        let exchange = Exchange {
            method: None,
            path: None,
            ..exchange(connection.id, 0, time, self.now, &get("/"))
        };
        self.feed(Input::Ended(Box::new(exchange.clone())));
        exchange
    }

    /// Requests that are under way at once and that nobody answers.
    fn unanswered(&mut self, connection: &Connection, paths: &[&str]) -> Vec<Exchange> {
        let mut begun = Vec::new();
        for (number, path) in (0..).zip(paths) {
            begun.push((number, self.now, *path));
            self.begin(connection, number);
            self.pass(Duration::from_millis(3));
        }
        let exchanges = begun.into_iter().map(|(number, time, path)| Exchange {
            response: None,
            ..exchange(connection.id, number, time, self.now, &get(path))
        });
        exchanges.collect()
    }

    /// Exchanges that began have ended.
    fn tell_ended(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            self.feed(Input::Ended(Box::new(exchange.clone())));
        }
    }

    /// An exchange that goes on.
    fn begin(&mut self, connection: &Connection, number: u32) {
        self.feed(Input::Begun {
            connection: connection.id,
            exchange: number,
            stream: None,
            time: self.now,
        });
    }

    /// The line that an honest proxy writes for it.
    fn line(&self, side: Side, connection: &Connection, exchange: &Exchange, sent: &Sent) -> Line {
        let (mut upstream_local, mut remote) = (None, Some(connection.source));
        if side == Side::Server {
            upstream_local = Some(connection.source);
            remote = Some("10.0.0.7:33333".parse().unwrap());
        }
        if exchange.forwarded {
            remote = Some("9.9.9.9:0".parse().unwrap());
        }
        let entry = Entry {
            start_time: Some(Timestamp(
                exchange.time.0 / 1_000_000 * 1_000_000 + 1_000_000,
            )),
            start_time_precision_nanoseconds: 1_000_000,
            method: Some("GET".into()),
            path: Some(path(&sent.path)),
            protocol: Some("HTTP/1.1".into()),
            can_speak_http: true,
            response_code: Some(sent.status),
            response_code_details: Some("via_upstream".into()),
            bytes_received: Some(0),
            bytes_sent: Some(sent.bytes),
            request_id: exchange.request_id,
            upstream_local_address: upstream_local,
            downstream_local_address: connection.asked,
            downstream_remote_address: remote,
            whole: Some(fingerprint(&format!(
                "{}/{}",
                connection.id, exchange.exchange
            ))),
            ..Entry::default()
        };
        Line {
            pod_uid: UID.into(),
            file: "pods/shop_a/istio-proxy/0.log".into(),
            offset: 0,
            length: 100,
            time: exchange.end + Duration::from_millis(500),
            content: LineContent::Entry(entry),
            sensitive: Vec::new(),
        }
    }

    /// The line that a proxy writes for a connection that it carried as TCP.
    fn line_of_the_whole(
        &self,
        connection: &Connection,
        exchange: &Exchange,
        received: u64,
        sent: u64,
    ) -> Line {
        let mut line = self.line(Side::Client, connection, exchange, &get("/"));
        let fields = entry(&mut line);
        (fields.method, fields.path, fields.protocol) = (None, None, None);
        (fields.response_code, fields.response_code_details) = (Some(0), None);
        (fields.bytes_received, fields.bytes_sent) = (Some(received), Some(sent));
        line
    }

    fn read(&mut self, line: Line) {
        self.feed(Input::Line(Box::new(line)));
    }

    fn close(&mut self, connection: &Connection, client_bytes: u64, server_bytes: u64) {
        let closed = self.closed(connection, client_bytes, server_bytes);
        self.feed(Input::Closed(closed));
    }

    /// How a connection ended that ends now, with a FIN at both ends.
    fn closed(&self, connection: &Connection, client_bytes: u64, server_bytes: u64) -> Closed {
        Closed {
            connection: connection.id,
            time: self.now,
            client_bytes,
            server_bytes,
            both_fin: true,
            client_closed_first: true,
            established: true,
            no_request: client_bytes == 0,
            unread: false,
            retransmits: 0,
        }
    }

    /// One exchange with its line, on a connection of its own.
    fn clean(&mut self, path: &str) {
        let leg = self.client_leg();
        let exchange = self.exchange(&leg, 0, &get(path));
        let line = self.line(Side::Client, &leg, &exchange, &get(path));
        self.read(line);
        self.close(&leg, 100, 200);
    }

    /// The verdicts that carry units, with these units and their reasons.
    fn verdicts(&self) -> Vec<(Verdict, (u64, u64), Vec<Reason>)> {
        let units = |record: &Record| record.units.filter(|units| *units != Units::default());
        self.records
            .iter()
            .filter_map(|record| {
                let units = units(record)?;
                let reasons = record.reasons.clone().unwrap_or_default();
                Some((record.verdict?, (units.observed, units.logged), reasons))
            })
            .collect()
    }

    /// Stops the ledger and checks that the books close at zero and agree with the records.
    fn stop(&mut self) {
        let now = self.now;
        self.feed(Input::Stopped(now));
        check_books(&self.records);
    }
}
