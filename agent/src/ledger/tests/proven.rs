//! Which process is the proxy, where its listeners are older than the agent: what its log agrees
//! with tells.

use std::time::Duration;

use super::{APP_PID, PROXY_PID, Scene, UID, address, end, entry, get, process};
use crate::{
    ledger::{
        Input, LineContent, ListenerEnd, ListenerFact,
        roles::{Place, Role},
    },
    record::{Reason, Side, Verdict},
    workload::{Owner, WorkloadFact},
};

/// A scene where nobody was seen to listen.
fn scene() -> Scene {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    scene.feed(Input::Started { time: scene.now });
    scene.pass(Duration::from_secs(1));
    scene
}

/// The verdict on a request to the app that has no line.
fn without_line(scene: &mut Scene) -> (Verdict, Vec<Reason>) {
    let leg = scene.server_leg();
    scene.exchange(&leg, 0, &get("/silent"));
    scene.close(&leg, 100, 200);
    scene.settle();
    let (verdict, units, reasons) = scene.verdicts().pop().unwrap();
    assert_eq!(units, (1, 0));
    (verdict, reasons)
}

/// The verdict on a connection to the app that carried no request and has no line.
fn silent_connection(scene: &mut Scene) -> (Verdict, Vec<Reason>) {
    let leg = scene.server_leg();
    scene.close(&leg, 100, 200);
    scene.settle();
    let (verdict, _, reasons) = scene.verdicts().pop().unwrap();
    (verdict, reasons)
}

fn pilot_agents() -> (Verdict, Vec<Reason>) {
    let reasons = vec![Reason::PilotAgent, Reason::RoleByName];
    (Verdict::Outside, reasons)
}

#[test]
fn a_line_of_a_request_that_agrees_proves_the_proxy() {
    let mut scene = scene();
    scene.clean("/outbound");
    assert_eq!(without_line(&mut scene), pilot_agents());
    for (status, expected) in [
        (418, pilot_agents()),
        (200, (Verdict::Unlogged, Vec::new())),
    ] {
        let leg = scene.server_leg();
        let exchange = scene.exchange(&leg, 0, &get("/inbound"));
        let mut line = scene.line(Side::Server, &leg, &exchange, &get("/inbound"));
        entry(&mut line).response_code = Some(status);
        scene.read(line);
        scene.close(&leg, 100, 200);
        scene.settle();
        assert_eq!(without_line(&mut scene), expected, "{status}");
    }
    scene.stop();
}

#[test]
fn so_does_a_line_of_a_connection_unless_it_is_doubtful() {
    for doubtful in [true, false] {
        let mut scene = scene();
        scene.clean("/outbound");
        assert_eq!(silent_connection(&mut scene), pilot_agents());
        let leg = scene.server_leg();
        let nothing = super::exchange(leg.id, 0, scene.now, scene.now, &get("/"));
        let mut line = scene.line_of_the_whole(&leg, &nothing, 100, 200);
        let fields = entry(&mut line);
        fields.downstream_remote_address = Some(address("10.0.0.7", 33333));
        fields.upstream_local_address = Some(leg.source);
        if doubtful {
            line.content = LineContent::Ambiguous(fields.clone());
        }
        scene.close(&leg, 100, 200);
        scene.read(line);
        scene.settle();
        let expected = match doubtful {
            true => (Verdict::Unverifiable, (1, 1), vec![Reason::LineAmbiguous]),
            false => (Verdict::Matched, (1, 1), Vec::new()),
        };
        let verdicts = scene.verdicts();
        assert!(verdicts.contains(&expected), "{verdicts:?}");
        let expected = match doubtful {
            true => pilot_agents(),
            false => (Verdict::Unlogged, Vec::new()),
        };
        assert_eq!(silent_connection(&mut scene), expected);
        scene.stop();
    }
}

#[test]
fn a_listener_that_closed_before_its_container_had_a_name_proves_nobody() {
    for closes in [true, false] {
        let mut scene = scene();
        let owner = Owner::Container {
            pod_uid: UID.into(),
            container_id: "c9".into(),
        };
        scene.feed(Input::Workload(WorkloadFact::Cgroup { id: 79, owner }));
        scene.feed(Input::Listener(ListenerFact {
            cookie: 9,
            time: scene.now,
            cgroup: 79,
            process: process(PROXY_PID),
            port: 15001,
        }));
        if closes {
            scene.feed(Input::ListenerClosed(ListenerEnd {
                cookie: Some(9),
                time: scene.now,
                cgroup: 79,
                pid: PROXY_PID,
            }));
        }
        scene.feed(Input::Workload(WorkloadFact::Container {
            id: "c9".into(),
            pod_uid: UID.into(),
            name: "istio-proxy".into(),
        }));
        let is_proxy = scene.ledger.roles.is_proxy(UID, Some(PROXY_PID));
        assert_eq!(is_proxy, !closes);
    }
}

#[test]
fn a_container_that_never_had_a_name_is_one_of_the_pod() {
    let mut scene = scene();
    let owner = Owner::Container {
        pod_uid: UID.into(),
        container_id: "c9".into(),
    };
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id: 79, owner }));
    let unnamed = end(79, APP_PID, address("10.0.0.1", 1), "10.0.0.9:80");
    assert_eq!(scene.ledger.roles.role(&unnamed), None);
    let place = Place {
        pod_uid: UID.into(),
        container: Some(("c9".into(), None)),
    };
    let role = scene.ledger.roles.role_without_name(&unnamed);
    assert_eq!(role, Role::App(place));
}
