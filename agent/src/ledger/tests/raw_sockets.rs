//! Raw sockets that processes of a pod make.

use std::time::Duration;

use super::{APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, UID, policy::any, process};
use crate::{
    config::{Expectation, PolicyRule},
    ledger::{Input, RawSocketFact},
    record::{Body, FindingBody, Reason, Record, Severity, Side, Traffic, Units, Verdict},
    workload::{Owner, WorkloadFact},
};

impl Scene {
    fn raw_socket(&mut self, cgroup: u64, pid: u32, protocol: u32) {
        let time = self.now;
        self.feed(Input::RawSocket(RawSocketFact {
            cookie: 1,
            time,
            cgroup,
            process: process(pid),
            ipv6: false,
            protocol,
        }));
    }

    fn told(&self) -> Vec<(&Record, &Traffic)> {
        let told = self.records.iter().filter_map(|record| match &record.body {
            Body::Traffic(traffic) => Some((record, &**traffic)),
            _ => None,
        });
        told.collect()
    }

    fn found(&self) -> Vec<&FindingBody> {
        let found = self.records.iter().filter_map(|record| match &record.body {
            Body::Finding(found) => Some(&found.finding),
            _ => None,
        });
        found.collect()
    }
}

#[test]
fn one_is_told_and_found() {
    for (protocol, name) in [(1, "icmp"), (58, "icmpv6"), (6, "raw"), (255, "raw")] {
        let mut scene = Scene::new();
        let made = scene.now;
        scene.raw_socket(APP_CGROUP, APP_PID, protocol);
        let [(record, traffic)] = scene.told()[..] else {
            panic!("{:?}", scene.records);
        };
        assert_eq!(
            (record.verdict, record.time),
            (Some(Verdict::Bypassed), made)
        );
        assert_eq!(record.units, Some(Units::default()));
        assert_eq!(traffic.side, Some(Side::Client));
        assert_eq!(traffic.attributes.protocol, Some(name));
        assert_eq!(traffic.attributes.transport, None);
        assert_eq!(traffic.workload.pod_uid.as_deref(), Some(UID));
        assert_eq!(traffic.workload.container.as_deref(), Some("app"));
        assert_eq!(traffic.workload.pid, Some(APP_PID));
        let [found] = scene.found()[..] else {
            panic!("{:?}", scene.records);
        };
        assert_eq!((found.id, found.severity), ("MW-114", Severity::Medium));
        assert_eq!(found.records, [record.id.to_string()]);
        scene.stop();
    }
}

#[test]
fn what_sets_the_rules_up_makes_them_too() {
    const INIT_CGROUP: u64 = 14;
    let mut scene = Scene::new();
    let owner = Owner::Container {
        pod_uid: UID.into(),
        container_id: "c4".into(),
    };
    scene.feed(Input::Workload(WorkloadFact::Cgroup {
        id: INIT_CGROUP,
        owner,
    }));
    // Its container's name comes later.
    scene.raw_socket(INIT_CGROUP, 600, 255);
    assert!(scene.told().is_empty());
    scene.feed(Input::Workload(WorkloadFact::Container {
        id: "c4".into(),
        pod_uid: UID.into(),
        name: "istio-init".into(),
    }));
    scene.settle();
    let [(record, _)] = scene.told()[..] else {
        panic!("{:?}", scene.records);
    };
    assert_eq!(record.verdict, Some(Verdict::Outside));
    assert_eq!(record.reasons.as_deref(), Some(&[Reason::MeshInit][..]));
    assert!(scene.found().is_empty());
    scene.stop();
}

#[test]
fn nobody_in_the_proxys_container_needs_one() {
    for (pid, reasons) in [
        (PROXY_PID, &[][..]),
        (999, &[Reason::FromProxyContainer][..]),
    ] {
        let mut scene = Scene::new();
        scene.raw_socket(PROXY_CGROUP, pid, 1);
        let (record, _) = scene.told()[0];
        assert_eq!(record.verdict, Some(Verdict::Bypassed));
        assert_eq!(record.reasons.as_deref(), Some(reasons));
        assert_eq!(scene.found().len(), 1);
        scene.stop();
    }
}

#[test]
fn what_is_declared_for_all_that_the_workload_sends_is_expected() {
    let all = any(Expectation::Direct);
    let one_port = PolicyRule {
        port: Some(53),
        ..any(Expectation::Direct)
    };
    let addresses = PolicyRule {
        cidr: Some("10.0.0.0/8".parse().unwrap()),
        ..any(Expectation::Direct)
    };
    for (rule, expected) in [(all, true), (one_port, false), (addresses, false)] {
        let mut scene = Scene::with_policy(vec![rule]);
        scene.raw_socket(APP_CGROUP, APP_PID, 1);
        let (record, _) = scene.told()[0];
        assert_eq!(record.verdict == Some(Verdict::Outside), expected);
        assert_eq!(scene.found().is_empty(), expected);
        scene.stop();
    }
}

#[test]
fn elsewhere_they_are_nobodys_business() {
    const NODE: u64 = 78;
    let mut scene = Scene::new();
    let (id, owner) = (NODE, Owner::Other);
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
    scene.raw_socket(NODE, 1, 1);
    // Of that cgroup nothing ever becomes known.
    scene.raw_socket(79, 1, 1);
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert!(scene.told().is_empty());
    scene.stop();
}

#[test]
fn one_whose_pod_is_not_known_waits() {
    let mut scene = Scene::bare(Vec::new());
    scene.feed(Input::Started { time: scene.now });
    scene.raw_socket(APP_CGROUP, APP_PID, 1);
    assert!(scene.told().is_empty());
    scene.tell_pod();
    scene.settle();
    assert_eq!(scene.told()[0].0.verdict, Some(Verdict::Bypassed));
    scene.stop();
}
