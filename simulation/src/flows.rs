//! UDP flows: each is judged by itself, or was lost.

use std::net::SocketAddr;

use meshwitness::{
    config::{Expectation, PolicyRule},
    http::{Closed, Connection, End, Udp},
    ledger::{FlowsLost, Input},
    record::{Reason, Side, Verdict},
};

use crate::{
    pod::Part,
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
    truth::Statement,
};

/// A port to which datagrams are declared.
const DECLARED: u16 = 4999;

/// What stands between the two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Out,
    In,
    Quic,
    /// As the policy expects.
    Declared,
    /// To a resolver of the cluster.
    Dns,
    /// To a public one.
    PublicDns,
    /// To pilot-agent, which resolves names.
    DnsOfPilotAgent,
    /// From one app container to another.
    Internal,
    /// To nobody in the pod.
    IntoTheVoid,
    /// Of another program in the proxy's container.
    Foreign,
    Proxy,
    PilotAgent,
    /// So many that the kernel side had no room for some.
    Lost,
}

const COURSES: [Course; 13] = [
    Course::Out,
    Course::In,
    Course::Quic,
    Course::Declared,
    Course::Dns,
    Course::PublicDns,
    Course::DnsOfPilotAgent,
    Course::Internal,
    Course::IntoTheVoid,
    Course::Foreign,
    Course::Proxy,
    Course::PilotAgent,
    Course::Lost,
];

/// What the operators of each scene declare.
pub(crate) fn declared() -> PolicyRule {
    PolicyRule {
        expect: Expectation::Direct,
        direction: None,
        port: Some(DECLARED),
        cidr: None,
        workload: None,
        method: None,
        path: None,
        status: None,
        reason: None,
    }
}

/// A flow as the capture tells it.
struct Flow {
    client: Option<End>,
    server: Option<End>,
    tuple: (SocketAddr, SocketAddr),
    udp: Udp,
    /// What must be said of it; none: it is no unit.
    statement: Option<Statement>,
}

impl Scene {
    /// Datagrams of a meshed pod.
    pub(crate) fn datagrams(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 5) {
            match *self.random.pick(&COURSES) {
                Course::Lost => self.lose_flows(pod),
                course => {
                    let flow = self.flow_of(pod, course);
                    self.flow(pod, flow);
                }
            }
        }
    }

    /// Datagrams of a pod without a sidecar.
    pub(crate) fn datagrams_without_a_sidecar(&mut self, pod: usize) {
        for course in [Course::Out, Course::In, Course::Dns, Course::Internal] {
            let mut flow = self.flow_of(pod, course);
            let side = flow.statement.and_then(|statement| statement.side);
            flow.statement =
                side.map(|side| Statement::new(Verdict::Outside, side).because(Reason::NoSidecar));
            self.flow(pod, flow);
        }
    }

    fn flow_of(&self, pod: usize, course: Course) -> Flow {
        let port = self.next_port();
        let (own, other) = (self.pods[pod].address(), self.elsewhere(pod));
        let local = SocketAddr::new(own, port);
        let within = |port| SocketAddr::new(own, port);
        let public = |port| {
            let address = if own.is_ipv4() {
                "203.0.113.9"
            } else {
                "2001:db8::9"
            };
            SocketAddr::new(address.parse().unwrap(), port)
        };
        let end = |part, local, remote| Some(self.pods[pod].end(part, local, remote));
        let says = |verdict, side| Some(Statement::new(verdict, side));
        let outside = |reason| Some(Statement::new(Verdict::Outside, Side::Client).because(reason));
        let out = |part, to, statement| Flow {
            client: end(part, local, to),
            server: None,
            tuple: (local, to),
            udp: Udp {
                inside: false,
                quic: course == Course::Quic,
            },
            statement,
        };
        let inside = |part: Option<Part>, port, reason| {
            let to = within(port);
            Flow {
                server: part.and_then(|part| end(part, to, local)),
                udp: Udp {
                    inside: true,
                    quic: false,
                },
                ..out(Part::App, to, outside(reason))
            }
        };
        let bypassed = || says(Verdict::Bypassed, Side::Client);
        match course {
            Course::Out => out(Part::App, SocketAddr::new(other, 5000), bypassed()),
            Course::Quic => out(Part::App, public(443), bypassed()),
            Course::PublicDns => out(Part::App, public(53), bypassed()),
            Course::Declared => out(
                Part::App,
                SocketAddr::new(other, DECLARED),
                outside(Reason::Policy),
            ),
            Course::Dns => out(Part::App, SocketAddr::new(other, 53), outside(Reason::Dns)),
            Course::In => {
                let (from, to) = (SocketAddr::new(other, port + 1), within(7071));
                Flow {
                    client: None,
                    server: end(Part::App, to, from),
                    tuple: (from, to),
                    ..out(Part::App, from, says(Verdict::Bypassed, Side::Server))
                }
            }
            Course::DnsOfPilotAgent => inside(Some(Part::PilotAgent), 15053, Reason::Dns),
            Course::Internal => inside(Some(Part::OtherApp), 7072, Reason::PodInternal),
            Course::IntoTheVoid => inside(None, 7073, Reason::PodInternal),
            Course::Foreign => {
                let statement = Statement::new(Verdict::Bypassed, Side::Client);
                let statement = statement.because(Reason::FromProxyContainer);
                out(Part::Foreign, public(5000), Some(statement))
            }
            Course::Proxy => out(Part::Proxy, SocketAddr::new(other, 53), None),
            Course::PilotAgent => out(Part::PilotAgent, public(53), outside(Reason::PilotAgent)),
            Course::Lost => unreachable!("it has no ends"),
        }
    }

    fn flow(&mut self, pod: usize, flow: Flow) {
        let id = self.next_connection;
        self.next_connection += 1;
        let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
        let opened = self.moment(begin);
        self.truth.since = begin;
        let connection = Connection {
            id,
            time: opened,
            client: flow.client,
            server: flow.server,
            source: flow.tuple.0,
            destination: flow.tuple.1,
            asked: None,
            established: true,
            preexisting: false,
            udp: Some(flow.udp),
        };
        self.tell(opened, Input::Opened(Box::new(connection)));
        if let Some(statement) = flow.statement {
            let uid = self.pods[pod].uid.clone();
            let likeness = self.truth.unlike("flow");
            self.truth.observed(&uid, opened, likeness);
            self.truth.expect(vec![statement.observed(likeness)]);
        }
        // Some go on until the end.
        if self.random.chance(20) {
            return;
        }
        let closed = opened + self.random.millis(0, 9_000);
        let end = Closed {
            connection: id,
            time: closed,
            client_bytes: 30,
            server_bytes: 500,
            both_fin: false,
            client_closed_first: false,
            established: true,
            no_request: false,
            unread: false,
            retransmits: 0,
        };
        self.tell(closed, Input::Closed(end));
    }

    /// The kernel side had no room for some flows of a container.
    fn lose_flows(&mut self, pod: usize) {
        let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
        let time = self.moment(begin);
        self.truth.since = begin;
        let flows = self.random.between(1, 9);
        let part = *self.random.pick(&[Part::App, Part::Proxy]);
        let cgroup = Some(self.pods[pod].cgroup(part));
        self.tell(
            time,
            Input::FlowsLost(FlowsLost {
                cgroup,
                flows,
                time,
            }),
        );
        if part == Part::App {
            let statement = Statement::new(Verdict::Unverifiable, Side::Client);
            let mut statement = statement.because(Reason::Evicted);
            (statement.side, statement.units) = (None, (flows, 0));
            self.truth.expect(vec![statement]);
        }
    }
}
