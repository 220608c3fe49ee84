//! Plaintext between sidecars, and what only looks like it.

use std::{net::SocketAddr, time::Duration};

use super::{
    APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, UID, address, end, entry, get, process,
};
use crate::{
    http::{Connection, Greeting, hello::ClientHello},
    ledger::{Input, Line, LineContent, ListenerFact},
    record::{Body, FindingBody, Kind, Side, Verdict},
    workload::{Owner, Pod, WorkloadFact},
};

const OTHER_UID: &str = "22222222-2222-2222-2222-222222222222";
const OTHER_PROXY_CGROUP: u64 = 22;
const OTHER_PROXY_PID: u32 = 502;

const OTHER_APP: &str = "10.0.0.2:8080";

const SERVICE: &str = "outbound|8080||b.shop.svc.cluster.local";
const PASSTHROUGH: &str = "PassthroughCluster";

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

/// A line of the first sidecar about a request that it carried in this leg.
fn line_of(scene: &mut Scene, leg: &Connection, cluster: &str) -> Line {
    let of_app = scene.client_leg();
    let exchange = scene.exchange(&of_app, 0, &get("/"));
    let mut line = scene.line(Side::Client, &of_app, &exchange, &get("/"));
    let fields = entry(&mut line);
    fields.upstream_local_address = Some(leg.source);
    fields.upstream_host = Some(leg.destination.to_string());
    fields.upstream_cluster = Some(cluster.into());
    line
}

fn carry(scene: &mut Scene, leg: &Connection, cluster: &str) {
    let line = line_of(scene, leg, cluster);
    scene.read(line);
}

/// A leg in plaintext between the two sidecars, which is open.
fn plain_leg(scene: &mut Scene) -> Connection {
    accepting_at(scene, 15006);
    let leg = sending(scene);
    plain(scene, &leg);
    leg
}

/// Nothing was found, nor is when the leg closed long ago.
fn assert_none(scene: &mut Scene, leg: &Connection) {
    assert_eq!(found(scene), []);
    scene.close(leg, 10, 10);
    scene.settle();
    assert_eq!(found(scene), []);
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert_eq!(found(scene), []);
    assert_eq!(scene.ledger.network_legs.kept(), 0);
    scene.stop();
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
fn plaintext_for_a_service_is_found_with_its_line_in_whatever_order_its_ends_are_told() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    assert_eq!(found(&scene), []);
    carry(&mut scene, &leg, SERVICE);
    assert_eq!(found(&scene).len(), 1, "at once");
    assert_found(&mut scene);

    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    carry(&mut scene, &leg, SERVICE);
    assert_eq!(found(&scene), []);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);

    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    scene.close(&leg, 10, 10);
    carry(&mut scene, &leg, SERVICE);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn plaintext_of_which_no_line_speaks_is_found_when_none_comes_any_more() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    scene.settle();
    assert_eq!(found(&scene), [], "its line comes when it closes");
    scene.close(&leg, 10, 10);
    // The flush, the runtime's delay, and late lines.
    let last_line = scene.now + Duration::from_secs(1 + 2 + 10);
    scene.capture_until(last_line + Duration::from_secs(5));
    scene.read_log_until(last_line - Duration::from_millis(1));
    scene.feed(Input::Tick(last_line));
    assert_eq!(found(&scene), [], "the log was not read so far");
    scene.read_log_until(last_line);
    scene.capture_until(last_line + Duration::from_secs(6));
    scene.feed(Input::Tick(last_line));
    assert_found(&mut scene);
}

#[test]
fn plaintext_of_a_proxy_without_a_log_is_found() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    scene.close(&leg, 10, 10);
    for _ in 0..80 {
        scene.pass(Duration::from_secs(1));
        let now = scene.now;
        scene.capture_until(now);
        scene.feed(Input::Tick(now));
    }
    assert_found(&mut scene);
}

#[test]
fn the_other_end_may_be_told_when_no_line_comes_any_more() {
    let mut scene = two_pods();
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    scene.close(&leg, 10, 10);
    scene.settle();
    assert_eq!(found(&scene), []);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn plaintext_to_a_port_that_no_service_names_is_none() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    for _ in 0..3 {
        carry(&mut scene, &leg, PASSTHROUGH);
    }
    assert_none(&mut scene, &leg);

    // The line comes after its close.
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    let line = line_of(&mut scene, &leg, PASSTHROUGH);
    scene.close(&leg, 10, 10);
    scene.pass(Duration::from_secs(10));
    scene.read(line);
    scene.settle();
    assert_eq!(found(&scene), []);

    // The log is read before the capture.
    let mut scene = two_pods();
    let leg = sending(&mut scene);
    carry(&mut scene, &leg, PASSTHROUGH);
    accepting_at(&mut scene, 15006);
    plain(&mut scene, &leg);
    assert_none(&mut scene, &leg);
}

#[test]
fn a_line_without_times_or_host_speaks_of_its_leg_all_the_same() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    let mut line = line_of(&mut scene, &leg, PASSTHROUGH);
    let fields = entry(&mut line);
    (fields.start_time, fields.upstream_host) = (None, None);
    scene.close(&leg, 10, 10);
    scene.pass(Duration::from_secs(9));
    line.time = scene.now;
    scene.read(line);
    scene.settle();
    assert_eq!(found(&scene), []);
}

#[test]
fn a_line_that_names_a_service_outweighs_those_that_do_not() {
    for clusters in [[PASSTHROUGH, SERVICE], [SERVICE, PASSTHROUGH]] {
        let mut scene = two_pods();
        let leg = plain_leg(&mut scene);
        for cluster in clusters {
            carry(&mut scene, &leg, cluster);
        }
        assert_found(&mut scene);

        let mut scene = two_pods();
        let leg = sending(&mut scene);
        for cluster in clusters {
            carry(&mut scene, &leg, cluster);
        }
        accepting_at(&mut scene, 15006);
        plain(&mut scene, &leg);
        assert_found(&mut scene);
    }
}

#[test]
fn a_passthrough_line_acquits_its_own_leg_alone() {
    type Change = fn(&mut Line);
    let changes: [Change; 5] = [
        |line| entry(line).upstream_local_address = Some(address("10.0.0.1", 45679)),
        |line| entry(line).upstream_host = Some("10.0.0.2:8081".into()),
        |line| line.pod_uid = OTHER_UID.into(),
        // Of an earlier connection from there, and of a later one.
        |line| {
            let start = entry(line).start_time.unwrap() - Duration::from_secs(10);
            entry(line).start_time = Some(start);
            entry(line).duration_milliseconds = Some(1_000);
        },
        |line| {
            let start = entry(line).start_time.unwrap() + Duration::from_secs(3);
            entry(line).start_time = Some(start);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut scene = two_pods();
        let leg = plain_leg(&mut scene);
        let mut line = line_of(&mut scene, &leg, PASSTHROUGH);
        change(&mut line);
        scene.close(&leg, 10, 10);
        scene.read(line);
        scene.settle();
        assert_eq!(found(&scene).len(), 1, "change {number}");
        assert_found(&mut scene);
    }
}

#[test]
fn a_leg_whose_line_may_be_in_a_hole_of_the_log_is_none() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    let mut hole = line_of(&mut scene, &leg, PASSTHROUGH);
    hole.content = LineContent::Hole;
    scene.read(hole);
    assert_none(&mut scene, &leg);
}

#[test]
fn the_end_of_the_agent_accuses_no_leg_whose_line_may_come() {
    for closes in [false, true] {
        let mut scene = two_pods();
        let leg = plain_leg(&mut scene);
        if closes {
            scene.close(&leg, 10, 10);
        }
        scene.stop();
        assert_eq!(found(&scene), []);
    }
}

#[test]
fn a_leg_is_found_once() {
    let mut scene = two_pods();
    let leg = plain_leg(&mut scene);
    carry(&mut scene, &leg, SERVICE);
    carry(&mut scene, &leg, SERVICE);
    scene.close(&leg, 10, 10);
    accepting_at(&mut scene, 15006);
    scene.settle();
    assert_found(&mut scene);
}

#[test]
fn tls_and_silence_between_sidecars_are_none() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let leg = sending(&mut scene);
    carry(&mut scene, &leg, SERVICE);
    scene.close(&leg, 10, 10);
    let leg = sending(&mut scene);
    greet(&mut scene, &leg, Greeting::Client(ClientHello::default()));
    carry(&mut scene, &leg, SERVICE);
    assert_none(&mut scene, &leg);
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
        carry(&mut scene, &leg, SERVICE);
        assert_none(&mut scene, &leg);
    }
}

#[test]
fn plaintext_that_no_sidecar_sends_is_none() {
    let mut scene = two_pods();
    accepting_at(&mut scene, 15006);
    let own = end(APP_CGROUP, APP_PID, tuple().0, OTHER_APP);
    let leg = scene.connect(Some(own), None, tuple(), Some(tuple().1));
    plain(&mut scene, &leg);
    carry(&mut scene, &leg, SERVICE);
    assert_none(&mut scene, &leg);
}

#[test]
fn an_earlier_connection_with_these_addresses_proves_nothing() {
    let mut scene = two_pods();
    let earlier = accepting_at(&mut scene, 15006);
    scene.close(&earlier, 10, 10);
    scene.pass(Duration::from_secs(2));
    let leg = sending(&mut scene);
    plain(&mut scene, &leg);
    carry(&mut scene, &leg, SERVICE);
    assert_eq!(found(&scene), []);
    accepting_at(&mut scene, 15006);
    assert_found(&mut scene);
}

#[test]
fn each_of_two_connections_with_the_same_addresses_has_its_own_lines() {
    let mut scene = two_pods();
    let passed = plain_leg(&mut scene);
    let line = line_of(&mut scene, &passed, PASSTHROUGH);
    scene.close(&passed, 10, 10);
    scene.pass(Duration::from_secs(3));
    let leg = plain_leg(&mut scene);
    scene.read(line);
    carry(&mut scene, &leg, SERVICE);
    scene.close(&leg, 10, 10);
    scene.settle();
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
    carry(&mut scene, &leg, SERVICE);
    assert_none(&mut scene, &leg);
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
    let leg_from = |scene: &mut Scene, number: u16| {
        let source = address("10.0.0.1", 20_000 + number);
        let own = end(PROXY_CGROUP, PROXY_PID, source, OTHER_APP);
        let leg = scene.connect(Some(own), None, (source, destination), None);
        plain(scene, &leg);
        scene.close(&leg, 1, 1);
        source
    };
    // To where no sidecar is, and to one.
    for number in 0..5_000 {
        leg_from(&mut scene, number);
    }
    assert_eq!(scene.ledger.network_legs.kept(), 4096);
    for number in 5_000..10_000 {
        let source = leg_from(&mut scene, number);
        let local = address("10.0.0.2", 15006);
        let other = end(
            OTHER_PROXY_CGROUP,
            OTHER_PROXY_PID,
            local,
            &source.to_string(),
        );
        scene.connect(None, Some(other), (source, destination), None);
    }
    // One of the former made room for the last of the latter before its other end was told.
    assert_eq!(scene.ledger.network_legs.kept(), 4095 + 4096);
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert_eq!(scene.ledger.network_legs.kept(), 0);
}
