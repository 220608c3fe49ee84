//! UDP flows: one course each, and their place in the books.

use std::{net::SocketAddr, time::Duration};

use super::{
    APP_CGROUP, APP_PID, OTHER_APP_CGROUP, PILOT_AGENT_PID, PROXY_CGROUP, PROXY_PID, Scene, UID,
    address, end, get, policy::any,
};
use crate::{
    config::{Expectation, PolicyRule},
    http::{Closed, Connection, End, Udp},
    ledger::{FlowsLost, Input},
    record::{
        Body, ConnectionState, FindingBody, Kind, Reason, Record, Side, Traffic, Units, Verdict,
    },
    workload::{Owner, WorkloadFact},
};

const OWN: &str = "10.0.0.1:3000";
const PUBLIC: &str = "203.0.113.9:4000";
const PUBLIC_V6: &str = "[2001:db8::9]:4000";
const FOREIGN_PID: u32 = 999;

fn parse(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A flow from one end to another; the server's end is known if it is inside.
struct Flow {
    client: Option<End>,
    server: Option<End>,
    source: SocketAddr,
    destination: SocketAddr,
    udp: Udp,
}

impl Flow {
    /// What somebody sends out of the pod.
    fn out((cgroup, pid): (u64, u32), to: &str) -> Self {
        Self {
            client: Some(end(cgroup, pid, parse(OWN), to)),
            server: None,
            source: parse(OWN),
            destination: parse(to),
            udp: Udp {
                inside: false,
                quic: false,
            },
        }
    }

    /// What comes in from elsewhere first.
    fn in_((cgroup, pid): (u64, u32), from: &str) -> Self {
        Self {
            client: None,
            server: Some(end(cgroup, pid, parse(OWN), from)),
            source: parse(from),
            destination: parse(OWN),
            ..Self::out((cgroup, pid), from)
        }
    }

    fn inside(client: (u64, u32), server: Option<(u64, u32)>, port: u16) -> Self {
        let to = address("127.0.0.1", port);
        let own = Self::out(client, &to.to_string());
        Self {
            server: server.map(|(cgroup, pid)| end(cgroup, pid, to, OWN)),
            udp: Udp {
                inside: true,
                quic: false,
            },
            ..own
        }
    }

    fn quic(mut self) -> Self {
        self.udp.quic = true;
        self
    }
}

impl Scene {
    fn flow(&mut self, flow: Flow) -> Connection {
        let id = self.next_id;
        self.next_id += 1;
        let connection = Connection {
            id,
            time: self.now,
            client: flow.client,
            server: flow.server,
            source: flow.source,
            destination: flow.destination,
            asked: None,
            established: true,
            preexisting: false,
            udp: Some(flow.udp),
        };
        self.feed(Input::Opened(Box::new(connection.clone())));
        connection
    }

    /// It ends after five seconds, with 30 bytes of the client and 500 of the server.
    fn end_flow(&mut self, flow: &Connection) {
        self.pass(Duration::from_secs(5));
        let time = self.now;
        self.feed(Input::Closed(Closed {
            connection: flow.id,
            time,
            client_bytes: 30,
            server_bytes: 500,
            both_fin: false,
            client_closed_first: false,
            established: true,
            no_request: false,
            unread: false,
            retransmits: 0,
        }));
    }

    fn connections(&self) -> Vec<(&Record, &Traffic)> {
        let of = |record: &'_ Record| record.kind == Kind::Connection;
        let records = self.records.iter().filter(|record| of(record));
        let traffic = records.filter_map(|record| match &record.body {
            Body::Traffic(traffic) => Some((record, &**traffic)),
            _ => None,
        });
        traffic.collect()
    }

    fn findings(&self) -> Vec<&FindingBody> {
        let found = self.records.iter().filter_map(|record| match &record.body {
            Body::Finding(found) => Some(&found.finding),
            _ => None,
        });
        found.collect()
    }
}

/// The verdict on a flow in a pod, its reasons, its side and its units.
fn judged(flow: Flow) -> (Verdict, Vec<Reason>, Option<Side>, u64) {
    let mut scene = Scene::new();
    let flow = scene.flow(flow);
    scene.end_flow(&flow);
    scene.settle();
    let (record, traffic) = *scene.connections().last().unwrap();
    assert_eq!(traffic.attributes.transport, Some("udp"));
    let body = traffic.connection.as_ref().unwrap();
    assert_eq!(body.state, ConnectionState::Closed);
    let found = (
        record.verdict.unwrap(),
        record.reasons.clone().unwrap(),
        traffic.side,
        record.units.unwrap().observed,
    );
    let accuses = found.0 == Verdict::Bypassed;
    assert_eq!(!scene.findings().is_empty(), accuses);
    scene.stop();
    found
}

#[test]
fn each_course_is_that_of_tcp() {
    let (app, other) = ((APP_CGROUP, APP_PID), (OTHER_APP_CGROUP, 310));
    let (proxy, pilot_agent) = ((PROXY_CGROUP, PROXY_PID), (PROXY_CGROUP, PILOT_AGENT_PID));
    let foreign = (PROXY_CGROUP, FOREIGN_PID);
    let (client, server, neither) = (Side::Client, Side::Server, Side::Proxy);
    let bypassed = |reasons: &[Reason], side| (Verdict::Bypassed, reasons.to_vec(), Some(side), 1);
    let outside = |reason, side: Side| {
        let units = u64::from(side != Side::Proxy);
        (Verdict::Outside, vec![reason], Some(side), units)
    };
    for (flow, expected) in [
        (Flow::out(app, PUBLIC), bypassed(&[], client)),
        (Flow::out(app, PUBLIC_V6), bypassed(&[], client)),
        (Flow::out(app, "10.0.0.9:4000"), bypassed(&[], client)),
        (Flow::in_(app, PUBLIC), bypassed(&[], server)),
        (Flow::in_(app, PUBLIC_V6), bypassed(&[], server)),
        (
            Flow::out(foreign, PUBLIC),
            bypassed(&[Reason::FromProxyContainer], client),
        ),
        (
            Flow::in_(foreign, PUBLIC),
            bypassed(&[Reason::FromProxyContainer], client),
        ),
        // Resolvers of the cluster, and others.
        (
            Flow::out(app, "10.96.0.10:53"),
            outside(Reason::Dns, client),
        ),
        (Flow::out(app, "[fd00::a]:53"), outside(Reason::Dns, client)),
        (
            Flow::out(foreign, "10.96.0.10:53"),
            outside(Reason::Dns, client),
        ),
        (Flow::out(app, "8.8.8.8:53"), bypassed(&[], client)),
        (
            Flow::inside(app, Some(pilot_agent), 15053),
            outside(Reason::Dns, client),
        ),
        // Within the pod.
        (
            Flow::inside(app, Some(other), 4000),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(app, Some(app), 4000),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(app, Some(proxy), 15001),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(app, None, 4000),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(foreign, Some(proxy), 4000),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(foreign, None, 4000),
            outside(Reason::PodInternal, client),
        ),
        (
            Flow::inside(foreign, Some(app), 4000),
            bypassed(&[Reason::FromProxyContainer], client),
        ),
        // The sidecar itself.
        (Flow::out(proxy, PUBLIC), outside(Reason::ProxyLeg, neither)),
        (Flow::in_(proxy, PUBLIC), outside(Reason::ProxyLeg, neither)),
        (
            Flow::inside(proxy, Some(app), 4000),
            outside(Reason::ProxyLeg, neither),
        ),
        (
            Flow::out(pilot_agent, "8.8.8.8:53"),
            outside(Reason::PilotAgent, client),
        ),
    ] {
        let told = format!("{} to {}, {:?}", flow.source, flow.destination, flow.client);
        assert_eq!(judged(flow), expected, "{told}");
    }
}

#[test]
fn a_bypass_is_told_at_once_and_is_a_unit_when_it_ends() {
    for quic in [false, true] {
        let mut scene = Scene::new();
        let flow = Flow::out((APP_CGROUP, APP_PID), PUBLIC);
        let flow = scene.flow(if quic { flow.quic() } else { flow });
        let (open, traffic) = scene.connections()[0];
        let (open_id, opened) = (open.id.clone(), flow.time);
        assert_eq!((open.verdict, open.time), (Some(Verdict::Bypassed), opened));
        assert_eq!(open.units, Some(Units::default()));
        let body = traffic.connection.as_ref().unwrap();
        assert_eq!(body.state, ConnectionState::Open);
        let protocol = quic.then_some("quic");
        assert_eq!(traffic.attributes.protocol, protocol);
        assert_eq!(scene.ledger.pending(), Units::new(1, 0));
        let [found] = scene.findings()[..] else {
            panic!("{:?}", scene.findings());
        };
        let id = if quic { "MW-110" } else { "MW-109" };
        assert_eq!((found.id, found.count, found.first), (id, 1, opened));
        assert_eq!(found.records, [open_id.to_string()]);

        scene.end_flow(&flow);
        let (closed, traffic) = scene.connections()[1];
        assert_eq!(closed.units, Some(Units::new(1, 0)));
        assert_eq!(closed.time, opened);
        assert_eq!(traffic.duration, Some(5.0));
        assert_eq!(traffic.attributes.protocol, protocol);
        assert_eq!(traffic.attributes.client, Some(parse(OWN)));
        assert_eq!(traffic.attributes.server, Some(parse(PUBLIC)));
        assert_eq!(traffic.attributes.peer, Some(parse(PUBLIC)));
        assert_eq!(traffic.workload.pod_uid.as_deref(), Some(UID));
        assert_eq!(traffic.workload.pid, Some(APP_PID));
        let body = traffic.connection.as_ref().unwrap();
        assert_eq!((body.bytes_sent, body.bytes_received), (30, 500));
        assert_eq!(scene.ledger.pending(), Units::default());
        scene.stop();
    }
}

#[test]
fn what_came_in_first_has_its_client_elsewhere() {
    let mut scene = Scene::new();
    let flow = scene.flow(Flow::in_((APP_CGROUP, APP_PID), PUBLIC));
    scene.end_flow(&flow);
    let (_, traffic) = *scene.connections().last().unwrap();
    assert_eq!(traffic.attributes.client, Some(parse(PUBLIC)));
    assert_eq!(traffic.attributes.server, Some(parse(OWN)));
    let body = traffic.connection.as_ref().unwrap();
    assert_eq!((body.bytes_sent, body.bytes_received), (500, 30));
    scene.stop();
}

#[test]
fn many_bypasses_are_one_finding() {
    let mut scene = Scene::new();
    for port in 4000..4010 {
        let to = format!("203.0.113.9:{port}");
        let flow = scene.flow(Flow::out((APP_CGROUP, APP_PID), &to));
        scene.end_flow(&flow);
    }
    scene.stop();
    let found: Vec<_> = scene
        .findings()
        .iter()
        .map(|it| (it.id, it.count))
        .collect();
    assert_eq!(found, [("MW-109", 1), ("MW-109", 10)]);
}

#[test]
fn what_is_declared_is_no_bypass() {
    let rule = PolicyRule {
        port: Some(4000),
        ..any(Expectation::Direct)
    };
    for (to, expected) in [(PUBLIC, true), ("203.0.113.9:4001", false)] {
        let mut scene = Scene::with_policy(vec![rule.clone()]);
        let flow = scene.flow(Flow::out((APP_CGROUP, APP_PID), to));
        scene.end_flow(&flow);
        let (record, _) = *scene.connections().last().unwrap();
        let verdict = match expected {
            true => (Verdict::Outside, vec![Reason::Policy]),
            false => (Verdict::Bypassed, vec![]),
        };
        assert_eq!(record.verdict.zip(record.reasons.clone()), Some(verdict));
        let found: Vec<_> = scene.findings().iter().map(|it| it.id).collect();
        assert_eq!(found, [if expected { "MW-106" } else { "MW-109" }]);
        scene.stop();
    }
}

#[test]
fn a_flow_that_goes_on_at_the_end_is_judged_with_what_it_carried() {
    let mut scene = Scene::new();
    let out = scene.flow(Flow::out((APP_CGROUP, APP_PID), PUBLIC));
    let in_ = scene.flow(Flow::in_((APP_CGROUP, APP_PID), PUBLIC_V6));
    scene.flow(Flow::out((PROXY_CGROUP, PROXY_PID), PUBLIC));
    for flow in [&out, &in_] {
        scene.feed(Input::Carried {
            connection: flow.id,
            client_bytes: 7,
            server_bytes: 8,
        });
    }
    scene.stop();
    let ends = scene.connections().split_off(2);
    let told: Vec<_> = ends
        .iter()
        .map(|(record, traffic)| {
            let body = traffic.connection.as_ref().unwrap();
            assert_eq!(body.state, ConnectionState::Open);
            let bytes = (body.bytes_sent, body.bytes_received);
            (
                record.verdict.unwrap(),
                record.units.unwrap().observed,
                bytes,
            )
        })
        .collect();
    let expected = [
        (Verdict::Bypassed, 1, (7, 8)),
        (Verdict::Bypassed, 1, (8, 7)),
        (Verdict::Outside, 0, (0, 0)),
    ];
    assert_eq!(told, expected);
    assert_eq!(scene.ledger.pending(), Units::default());
}

#[test]
fn flows_that_were_lost_are_units_of_their_pod() {
    const KUBELET: u64 = 77;
    let mut scene = Scene::new();
    scene.feed(Input::Workload(WorkloadFact::Cgroup {
        id: KUBELET,
        owner: Owner::Kubelet,
    }));
    let time = scene.now;
    for (cgroup, flows) in [
        (Some(APP_CGROUP), 3),
        (Some(PROXY_CGROUP), 5),
        (Some(KUBELET), 7),
        (None, 11),
    ] {
        scene.feed(Input::FlowsLost(FlowsLost {
            cgroup,
            flows,
            time,
        }));
    }
    let told: Vec<_> = scene
        .connections()
        .iter()
        .map(|(record, traffic)| {
            assert_eq!(record.verdict, Some(Verdict::Unverifiable));
            assert_eq!(record.reasons.as_deref(), Some(&[Reason::Evicted][..]));
            assert_eq!(traffic.attributes.transport, Some("udp"));
            let uid = traffic.workload.pod_uid.clone();
            (uid.is_some(), record.units.unwrap())
        })
        .collect();
    assert_eq!(told, [(true, Units::new(3, 0)), (false, Units::new(11, 0))]);
    // It says nothing of any line.
    let mut other = Scene::new();
    let leg = other.client_leg();
    let invented = other.exchange(&leg, 0, &get("/invented"));
    scene.read(other.line(Side::Client, &leg, &invented, &get("/invented")));
    scene.settle();
    assert!(
        scene
            .verdicts()
            .iter()
            .any(|(verdict, ..)| *verdict == Verdict::Unseen)
    );
    scene.stop();
}

#[test]
fn a_flow_waits_until_it_is_known_whose_it_is() {
    let mut scene = Scene::bare(Vec::new());
    scene.feed(Input::Started { time: scene.now });
    let flow = scene.flow(Flow::out((APP_CGROUP, APP_PID), PUBLIC));
    scene.end_flow(&flow);
    assert!(scene.connections().is_empty());
    scene.tell_pod();
    scene.settle();
    let verdicts: Vec<_> = scene
        .connections()
        .iter()
        .map(|(it, _)| it.verdict)
        .collect();
    assert_eq!(verdicts, [Some(Verdict::Bypassed); 2]);
    scene.stop();
}

#[test]
fn a_program_in_the_proxys_container_may_be_a_pilot_agent_that_has_yet_to_bind() {
    let mut scene = Scene::new();
    scene.flow(Flow::out((PROXY_CGROUP, FOREIGN_PID), PUBLIC));
    scene.pass(Duration::from_secs(4));
    let now = scene.now;
    scene.capture_until(now);
    scene.feed(Input::Tick(now));
    assert!(scene.connections().is_empty());
    scene.pass(Duration::from_secs(1));
    let now = scene.now;
    scene.capture_until(now);
    scene.feed(Input::Tick(now));
    assert_eq!(scene.connections().len(), 1);
    scene.stop();
}
