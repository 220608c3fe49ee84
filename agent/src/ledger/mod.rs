//! The books: observations and log entries in, records out.
//!
//! A pure state machine. It has no clock and does no I/O; its records follow from the sequence
//! of its [`Input`]s alone, which is what makes it replayable.

mod account;
mod agenda;
mod align;
mod announced;
mod attempts;
mod authority;
mod clock;
mod compare;
mod connections;
mod copies;
mod course;
mod doubt;
mod early;
pub mod evidence;
mod findings;
mod finish;
mod flows;
mod forwarded;
mod gather;
mod greetings;
mod input;
mod intake;
mod interim;
mod judge;
mod judge_attempts;
mod judge_copies;
mod judge_forwarded;
mod judge_missing;
mod judge_surplus;
mod kept;
mod leg;
mod lines;
mod log_marks;
mod lost;
mod missed;
mod path;
mod plaintext;
mod pod;
mod policy;
mod proxy_end;
mod put;
mod raw_sockets;
mod refusals;
mod roles;
mod settings;
mod steady;
mod stop;
mod strangers;
mod summary;
#[cfg(test)]
mod tests;
mod told;
mod tracked;
mod unplaced;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use account::Account;
use clock::SteadyClock;
use evidence::Evidence;
use findings::Findings;
pub use input::{
    ComparedPath, Entry, Exchange, FlowsLost, HttpPort, Input, Line, LineContent, ListenerEnd,
    ListenerFact, RawSocketFact, ResponseFact,
};
pub use intake::Intake;
use kept::Kept;
pub use lines::ATTACH_SPAN;
use plaintext::NetworkLegs;
use pod::PodBook;
use refusals::Refusals;
use roles::Roles;
pub use settings::{Reconfiguration, Settings};
use strangers::Strangers;
pub use summary::PodSummary;
use tracked::{Tracked, reason_of};
use write::Writer;

use crate::{
    capture::CgroupId,
    http::ConnectionId,
    number_map::NumberMap,
    record::{FindingKind, LedgerBody, Lifecycle, Record, Units, Workload, WorkloadAccount},
    timestamp::Timestamp,
};

/// What is added to `flush` before a missing line is missed: the container runtime's delay.
const RUNTIME_DELAY: Duration = Duration::from_secs(2);

/// A line is judged once everything captured up to this long after its stamp was processed.
const CAPTURE_DELAY: Duration = Duration::from_secs(2);

/// How long a pod's log may be silent from the beginning before its exchanges are judged.
const PATIENCE_WITH_SILENT_LOGS: Duration = Duration::from_secs(60);

/// Listeners whose container has no name yet.
const KEPT_LISTENERS: usize = 4096;

/// Connections of the kubelet that explain what pods see.
const KEPT_KUBELET_TUPLES: usize = 16_384;

/// Ports that speak HTTP and that nobody asked for yet.
const KEPT_HTTP_PORTS: usize = 65_536;

/// What this version does not look at; said in each start record.
const NOT_COVERED: [&str; 4] = [
    "unix sockets",
    "packet sockets (AF_PACKET)",
    "transports other than tcp and udp",
    "tls payload of applications",
];

/// The ledger. See the module.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    clock: SteadyClock,
    roles: Roles,
    connections: NumberMap<ConnectionId, Tracked>,
    /// Connections whose course is open.
    waiting: BTreeSet<ConnectionId>,
    /// How many of them there are of each cgroup.
    waiting_of: NumberMap<CgroupId, usize>,
    /// More is known of the pods than when `waiting` was last looked at.
    workloads_changed: bool,
    pods: BTreeMap<Arc<str>, PodBook>,
    refusals: Refusals,
    /// The account of what belongs to no pod.
    nowhere: Account,
    writer: Writer,
    findings: Findings,
    unnamed_listeners: VecDeque<ListenerFact>,
    /// Raw sockets of which it is not known whose they are.
    raw_sockets: VecDeque<RawSocketFact>,
    kubelet_tuples: Kept<(SocketAddr, SocketAddr), ()>,
    network_legs: NetworkLegs,
    strangers: Strangers,
    /// Pods with lines that overtook what the capture tells.
    pods_with_early_lines: BTreeSet<Arc<str>>,
    /// Connections whose oldest line is due at this moment of the capture.
    line_agenda: BTreeSet<(Timestamp, ConnectionId)>,
    started: Timestamp,
    captured_until: Timestamp,
    interval_began: Timestamp,
    http_ports: Vec<HttpPort>,
    /// None: nobody asks for any.
    evidence: Option<Vec<Evidence>>,
}

impl Ledger {
    /// An empty ledger. The first input is [`Input::Started`], after the pods that are there.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let roles = Roles::new(
            settings.proxy_containers.clone(),
            settings.mesh_listeners.clone(),
        );
        let writer = Writer::new(
            settings.start_id.clone(),
            settings.node.as_str().into(),
            settings.sinks.clone(),
        );
        Self {
            settings,
            clock: SteadyClock::default(),
            roles,
            connections: NumberMap::default(),
            waiting: BTreeSet::new(),
            waiting_of: NumberMap::default(),
            workloads_changed: false,
            pods: BTreeMap::new(),
            refusals: Refusals::default(),
            nowhere: Account::default(),
            writer,
            findings: Findings::default(),
            unnamed_listeners: VecDeque::new(),
            raw_sockets: VecDeque::new(),
            kubelet_tuples: Kept::new(KEPT_KUBELET_TUPLES),
            network_legs: NetworkLegs::default(),
            strangers: Strangers::default(),
            pods_with_early_lines: BTreeSet::new(),
            line_agenda: BTreeSet::new(),
            started: Timestamp::default(),
            captured_until: Timestamp::default(),
            interval_began: Timestamp::default(),
            http_ports: Vec::new(),
            evidence: None,
        }
    }

    /// Takes one input; appends the records that follow from it.
    pub fn handle(&mut self, input: Input, records: &mut Vec<Record>) {
        let input = if self.clock.is_undisturbed() {
            input
        } else {
            self.on_the_steady_clock(input)
        };
        match input {
            Input::Started { time } => self.start(time),
            Input::Workload(fact) => {
                self.roles.learn(fact);
                self.workloads_changed = true;
                self.retry_listeners();
            }
            Input::RawSocket(socket) => self.raw_socket(socket),
            Input::FlowsLost(lost) => self.flows_lost(&lost),
            Input::Carried {
                connection,
                client_bytes,
                server_bytes,
            } => self.flow_carried(connection, (client_bytes, server_bytes)),
            Input::Listener(listener) => self.listener(listener),
            Input::SpeaksHttp(port) => {
                let pod = self.pods.entry(port.pod_uid.into()).or_default();
                pod.http_matched.insert((port.side, port.port));
            }
            Input::ListenerClosed(end) => self.listener_closed(&end),
            Input::Opened(connection) => self.opened(*connection),
            Input::Greeted { connection, .. }
            | Input::Begun { connection, .. }
            | Input::Lost { connection, .. } => {
                self.on_connection(connection, input);
            }
            Input::Ended(exchange) => {
                let connection = exchange.connection;
                self.on_connection(connection, Input::Ended(exchange));
            }
            Input::Refused {
                cgroup,
                from,
                to,
                cause,
            } => self.refusals.note(cgroup, (from, to), reason_of(cause)),
            Input::Closed(closed) => self.on_connection(closed.connection, Input::Closed(closed)),
            Input::Line(line) => self.line(line),
            Input::LogProgress {
                pod_uid,
                read_until,
            } => self.log_progress(&pod_uid, read_until),
            Input::LogRewritten { pod_uid, time } => {
                self.find(FindingKind::LogRewritten, Some(&pod_uid), time, None);
            }
            Input::CaptureProgress(time) => self.capture_progress(time),
            Input::ClockStep { time, nanoseconds } => self.clock_step(time, nanoseconds),
            Input::Tick(now) => self.tick(now),
            Input::Reconfigured { time, settings } => self.reconfigure(time, *settings),
            Input::Overflow { time, gap } => self.writer.lifecycle(time, Lifecycle::Gap(gap)),
            Input::Stopped(time) => self.stop(time),
        }
        self.open_what_was_found();
        self.writer.move_to(records);
    }

    /// Ports that turned out to speak HTTP since the last call, to be told to the next run.
    pub fn take_http_ports(&mut self) -> Vec<HttpPort> {
        std::mem::take(&mut self.http_ports)
    }

    /// Units that wait for a verdict, of the whole node.
    #[must_use]
    pub fn pending(&self) -> Units {
        let pods = self.pods.values().map(|pod| pod.account.pending());
        pods.fold(self.nowhere.pending(), Units::plus)
    }

    fn start(&mut self, time: Timestamp) {
        self.started = time;
        self.interval_began = time;
        self.roles.start(time);
        let not_covered = NOT_COVERED.map(str::to_owned).to_vec();
        let version = self.settings.version.clone();
        self.writer.lifecycle(
            time,
            Lifecycle::Start {
                version,
                not_covered,
            },
        );
    }

    fn clock_step(&mut self, reading: Timestamp, nanoseconds: i64) {
        let moment = self.clock.step(reading, nanoseconds);
        self.writer.set_clock(self.clock.clone());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a step is told, not computed with"
        )]
        let seconds = nanoseconds as f64 / 1e9;
        self.writer
            .lifecycle(moment, Lifecycle::ClockStep { seconds });
    }

    fn reconfigure(&mut self, time: Timestamp, settings: Reconfiguration) {
        self.settings.flush = settings.flush;
        self.settings.interval = settings.interval;
        self.settings.policy = settings.policy;
        self.writer.set_sinks(settings.sinks.clone());
        self.settings.sinks = settings.sinks;
        self.writer.lifecycle(
            time,
            Lifecycle::Config {
                changed: settings.changed,
                at_next_start: settings.at_next_start,
            },
        );
    }

    fn listener(&mut self, listener: ListenerFact) {
        if self.roles.knows(listener.cgroup) {
            self.roles.listen(&listener);
        } else {
            self.unnamed_listeners.push_back(listener);
            if self.unnamed_listeners.len() > KEPT_LISTENERS {
                self.unnamed_listeners.pop_front();
            }
        }
    }

    fn retry_listeners(&mut self) {
        for _ in 0..self.unnamed_listeners.len() {
            if let Some(listener) = self.unnamed_listeners.pop_front() {
                self.listener(listener);
            }
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.reconsider_waiting(now);
        self.retry_raw_sockets(now, false);
        self.judge_waiting_lines();
        let silent: Vec<Arc<str>> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.read_until.is_none())
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        for uid in silent {
            self.look_at_agenda(&uid, now - PATIENCE_WITH_SILENT_LOGS);
        }
        self.judge_closed_legs();
        self.release_held();
        self.sweep_pods();
        if now.since(self.interval_began) >= self.settings.interval {
            self.close_interval(now);
        }
    }

    fn account(&mut self, pod_uid: Option<&Arc<str>>) -> &mut Account {
        match pod_uid {
            Some(uid) => &mut self.pods.entry(Arc::clone(uid)).or_default().account,
            None => &mut self.nowhere,
        }
    }

    /// The time by which a line of a unit that ended must have been read.
    fn grace(&self) -> Duration {
        self.settings.flush + RUNTIME_DELAY
    }

    fn close_interval(&mut self, now: Timestamp) {
        self.tell_findings(now);
        let mut node = self.nowhere.close();
        let mut workloads = Vec::new();
        for (uid, pod) in &mut self.pods {
            if pod.account.is_idle() {
                continue;
            }
            let account = pod.account.close();
            let names = self.roles.pod(uid);
            let workload = Workload {
                namespace: names.map(|names| names.namespace.clone()),
                pod: names.map(|names| names.name.clone()),
                pod_uid: Some(uid.clone()),
                ..Workload::default()
            };
            node.add(&account);
            workloads.push(WorkloadAccount { workload, account });
        }
        let from = std::mem::replace(&mut self.interval_began, now);
        let (ids, filtered) = ((0, 0), BTreeMap::new());
        self.writer.ledger(LedgerBody {
            from,
            to: now,
            account: node,
            ids,
            filtered,
            workloads,
        });
    }

    fn sweep_pods(&mut self) {
        let roles = &self.roles;
        self.pods
            .retain(|uid, pod| !(roles.is_gone(uid) && pod.is_idle()));
    }
}
