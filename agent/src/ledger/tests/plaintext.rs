//! Plaintext between sidecars, and what only looks like it.

use std::{net::SocketAddr, time::Duration};

use super::{APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, UID, address, end, process};
use crate::{
    http::{Connection, Greeting, hello::ClientHello},
    ledger::{Input, ListenerFact},
    record::{Body, FindingBody, Kind, Verdict},
    workload::{Owner, Pod, WorkloadFact},
};

const OTHER_UID: &str = "22222222-2222-2222-2222-222222222222";
const OTHER_PROXY_CGROUP: u64 = 22;
const OTHER_PROXY_PID: u32 = 502;

const OTHER_APP: &str = "10.0.0.2:8080";

/// A scene with a second meshed pod.
fn two_pods() -> Scene {
    let mut scene = Scene::new();
    let owner = Owner::Container {
        pod_uid: OTHER_UID.into(),
        container_id: "d1".into(),
    };
    let id = OTHER_PROXY_CGROUP;
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
    scene.feed(Input::Workload(WorkloadFact::Container {
        id: "d1".into(),
        pod_uid: OTHER_UID.into(),
        name: "istio-proxy".into(),
    }));
    scene.feed(Input::Workload(WorkloadFact::Pod(Pod {
        uid: OTHER_UID.into(),
        namespace: "shop".into(),
        name: "b".into(),
        containers: vec!["app".into(), "istio-proxy".into()],
    })));
    for (cookie, port) in [(1, 15001), (2, 15006)] {
        let time = scene.now;
        scene.feed(Input::Listener(ListenerFact {
            cookie,
            time,
            cgroup: OTHER_PROXY_CGROUP,
            process: process(OTHER_PROXY_PID),
            port,
        }));
    }
    scene
}

fn tuple() -> (SocketAddr, SocketAddr) {
    (address("10.0.0.1", 45678), OTHER_APP.parse().unwrap())
}

/// The first sidecar's end of a leg.
fn sending(scene: &mut Scene) -> Connection {
    let own = end(PROXY_CGROUP, PROXY_PID, tuple().0, OTHER_APP);
    scene.connect(Some(own), None, tuple(), Some(tuple().1))
}

/// The second sidecar's end of it, at this port.
fn accepting_at(scene: &mut Scene, port: u16) -> Connection {
    let local = address("10.0.0.2", port);
    let own = end(OTHER_PROXY_CGROUP, OTHER_PROXY_PID, local, "10.0.0.1:45678");
    scene.connect(None, Some(own), tuple(), None)
}

fn greet(scene: &mut Scene, leg: &Connection, greeting: Greeting) {
    let (connection, time) = (leg.id, scene.now);
    scene.feed(Input::Greeted {
        connection,
        time,
        greeting,
    });
}

fn plain(scene: &mut Scene, leg: &Connection) {
    greet(scene, leg, Greeting::Plain);
}

fn found(scene: &Scene) -> Vec<(&str, &FindingBody)> {
    let found = scene
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Finding(found) if found.finding.id == "MW-112" => {
                let uid = found.workload.pod_uid.as_deref().unwrap();
                Some((uid, &found.finding))
            }
            _ => None,
        });
    found.collect()
}

/// Exactly one finding, which names the record of the sending end.
fn assert_found(scene: &mut Scene) {
    let [(uid, finding)] = found(scene)[..] else {
        panic!("{:?}", found(scene));
    };
    assert_eq!((uid, finding.id, finding.count), (UID, "MW-112", 1));
    let named = &finding.records[..];
    let record = scene.records.iter().find(|record| named == [&*record.id]);
    let record = record.expect("the record that it names");
    assert_eq!(
        (record.kind, record.verdict),
        (Kind::Connection, Some(Verdict::Outside))
    );
    let value = serde_json::to_value(record).unwrap();
    assert_eq!(value["side"], "proxy");
    assert_eq!(value["attributes"]["tls.established"], false);
    assert_eq!(value["workload"]["k8s.pod.uid"], UID);
    scene.stop();
}

#[test]
fn plaintext_between_sidecars_is_found_in_whatever_order_its_ends_are_told() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    let told = &scene.records.last().unwrap().body;
    assert!(matches!(told, Body::Finding(_)), "at once: {told:?}");
    assert_found(&mut scene);

    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    assert_eq!(found(&scene), []);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);

    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    scene.close(&leg, 10, 10);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn a_leg_is_found_once() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    scene.close(&leg, 10, 10);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn tls_and_silence_between_sidecars_are_none() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let leg = sending(&mut scene);
    scene.close(&leg, 10, 10);
    let leg = sending(&mut scene);
    greet(&mut scene, &leg, Greeting::Client(ClientHello::default()));
    scene.close(&leg, 10, 10);
    assert_eq!(found(&scene), []);
    scene.stop();
}

#[test]
fn plaintext_to_where_no_sidecar_takes_it_is_none() {
    // Nobody's, the proxy's own statistics, and pilot-agent's port.
    for port in [None, Some(15090), Some(15020)] {
        let mut scene = two_pods();
        if let Some(port) = port {
            accepting_at(&mut scene, port);
        }
        let leg = sending(&mut scene);
        plain(&mut scene, &leg);
        scene.close(&leg, 10, 10);
        assert_eq!(found(&scene), [], "{port:?}");
        scene.stop();
    }
}

#[test]
fn plaintext_that_no_sidecar_sends_is_none() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let own = end(APP_CGROUP, APP_PID, tuple().0, OTHER_APP);
    let leg = scene.connect(Some(own), None, tuple(), Some(tuple().1));
    plain(&mut scene, &leg);
    assert_eq!(found(&scene), []);
    scene.stop();
}

#[test]
fn an_earlier_connection_with_these_addresses_proves_nothing() {
    let mut scene = two_pods();
    let earlier = accepting_at(&mut scene, 15006);
    scene.close(&earlier, 10, 10);
    scene.pass(Duration::from_secs(2));
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    assert_eq!(found(&scene), []);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn a_pod_that_speaks_to_itself_is_none() {
    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    let local = address("10.0.0.2", 15006);
    let own = end(PROXY_CGROUP, PROXY_PID, local, "10.0.0.1:45678");
    scene.connect(None, Some(own), tuple(), None);
    assert_eq!(found(&scene), []);
    scene.stop();
}

#[test]
fn a_program_that_is_the_proxy_by_name_alone_is_not_accused() {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    scene.feed(Input::Started { time: scene.now });
    scene.pass(Duration::from_secs(1));
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    assert_eq!(scene.ledger.network_legs.kept(), 0);
    scene.close(&leg, 10, 10);
    scene.stop();
}

#[test]
fn what_waits_is_bounded() {
    let mut scene = two_pods();
    let (_, destination) = tuple();
    for number in 0..20_000_u16 {
        let source = address("10.0.0.1", 40_000 + number % 20_000);
        let destination = SocketAddr::new(destination.ip(), number);
        let own = end(PROXY_CGROUP, PROXY_PID, source, &destination.to_string());
        let leg = scene.connect(Some(own), None, (source, destination), None);
        plain(&mut scene, &leg);
        scene.close(&leg, 1, 1);
    }
    assert_eq!(scene.ledger.network_legs.kept(), 16_384);
}
