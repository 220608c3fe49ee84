//! Pods without a sidecar that speak with meshed ones.

use std::{net::SocketAddr, time::Duration};

use super::{
    APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, address, end, findings::end_interval,
};
use crate::{
    http::Connection,
    ledger::Input,
    record::{Body, Record, Severity},
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

const PLAIN_UID: &str = "33333333-3333-3333-3333-333333333333";
const PLAIN_CGROUP: u64 = 31;

/// The scene's meshed pod, and one without a sidecar that was there before the programs.
fn scene() -> Scene {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    let owner = Owner::Container {
        pod_uid: PLAIN_UID.into(),
        container_id: "p1".into(),
    };
    let id = PLAIN_CGROUP;
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
    scene.feed(Input::Workload(WorkloadFact::Container {
        id: "p1".into(),
        pod_uid: PLAIN_UID.into(),
        name: "app".into(),
    }));
    scene.feed(Input::Workload(WorkloadFact::Pod(Pod {
        uid: PLAIN_UID.into(),
        namespace: "shop".into(),
        name: "plain".into(),
        containers: vec!["app".into()],
    })));
    scene.feed(Input::Started { time: scene.now });
    scene.tell_listeners();
    scene.pass(Duration::from_secs(1));
    scene
}

/// From the plain pod to the service of the meshed one, as its client asks for it and as the
/// meshed pod's proxy accepts it.
fn tuples() -> [(SocketAddr, SocketAddr); 2] {
    let source = address("10.0.0.3", 4_444);
    [
        (source, address("10.96.0.1", 80)),
        (source, address("10.0.0.1", 8080)),
    ]
}

fn plain_end(scene: &mut Scene) -> Connection {
    let (source, service) = tuples()[0];
    let own = end(PLAIN_CGROUP, 9, source, &service.to_string());
    scene.connect(Some(own), None, (source, service), Some(service))
}

fn accepted(scene: &mut Scene, cgroup: u64, pid: u32) -> Connection {
    let (source, destination) = tuples()[1];
    let own = end(
        cgroup,
        pid,
        address("10.0.0.1", 15_006),
        &source.to_string(),
    );
    scene.connect(None, Some(own), (source, destination), None)
}

/// Pods without a sidecar that were found, with the names of the records.
fn found(records: &[Record]) -> Vec<(String, Vec<String>)> {
    let findings = records.iter().filter_map(|record| match &record.body {
        Body::Finding(found) if found.finding.id == "MW-113" => Some(found),
        _ => None,
    });
    let found = findings.map(|found| {
        assert_eq!(found.finding.severity, Severity::Low);
        let uid = found.workload.pod_uid.as_deref().unwrap_or_default();
        (uid.to_owned(), found.finding.records.clone())
    });
    found.collect()
}

fn record_of(scene: &Scene, uid: &str) -> String {
    let is_of = |record: &&Record| match &record.body {
        Body::Traffic(traffic) => traffic.workload.pod_uid.as_deref() == Some(uid),
        _ => false,
    };
    let record = scene.records.iter().find(is_of).unwrap();
    record.id.to_string()
}

#[test]
fn it_is_found_whichever_end_is_known_first() {
    for meshed_is_first in [true, false] {
        let mut scene = scene();
        let plain = plain_end(&mut scene);
        if meshed_is_first {
            accepted(&mut scene, PROXY_CGROUP, PROXY_PID);
        }
        scene.close(&plain, 10, 10);
        assert_eq!(found(&scene.records).is_empty(), !meshed_is_first);
        if !meshed_is_first {
            accepted(&mut scene, PROXY_CGROUP, PROXY_PID);
        }
        let record = record_of(&scene, PLAIN_UID);
        let expected = (PLAIN_UID.to_owned(), vec![record]);
        assert_eq!(found(&scene.records), [expected]);
        end_interval(&mut scene);
        scene.stop();
    }
}

#[test]
fn an_app_that_is_reached_past_its_sidecar_is_met_too() {
    let mut scene = scene();
    let plain = plain_end(&mut scene);
    accepted(&mut scene, APP_CGROUP, APP_PID);
    scene.close(&plain, 10, 10);
    assert_eq!(found(&scene.records).len(), 1);
}

#[test]
fn an_earlier_connection_with_the_same_address_is_another() {
    let mut scene = scene();
    accepted(&mut scene, PROXY_CGROUP, PROXY_PID);
    scene.pass(Duration::from_secs(2));
    let plain = plain_end(&mut scene);
    scene.close(&plain, 10, 10);
    assert!(found(&scene.records).is_empty());
}

#[test]
fn nobody_is_met_outside_the_mesh() {
    let mut scene = scene();
    let plain = plain_end(&mut scene);
    scene.close(&plain, 10, 10);
    // What the meshed pod itself opens to another host.
    let (source, host) = (address("10.0.0.1", 5_000), address("10.9.9.9", 80));
    let own = end(PROXY_CGROUP, PROXY_PID, source, "10.9.9.9:80");
    let leg = scene.connect(Some(own), None, (source, host), Some(host));
    scene.close(&leg, 10, 10);
    assert!(found(&scene.records).is_empty());
    let now: Timestamp = scene.now;
    scene.feed(Input::Stopped(now));
}
