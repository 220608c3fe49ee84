//! What the ledger keeps, and for how long.

use std::time::Duration;

use super::{PROXY_CGROUP, PROXY_PID, Scene, UID, address, end, entry, get, process};
use crate::{
    http::Connection,
    ledger::{
        Input, KEPT_KUBELET_TUPLES, KEPT_LISTENERS, ListenerFact,
        connections::{KEPT_EVENTS, KEPT_WAITING_OF_ONE},
    },
    record::{Reason, Side, Verdict},
    workload::{Owner, WorkloadFact},
};

#[test]
fn a_connection_is_forgotten_once_no_line_can_come_any_more() {
    let mut scene = Scene::new();
    scene.clean("/logged");
    let open = scene.client_leg();
    let exchange = scene.exchange(&open, 0, &get("/open"));
    let line = scene.line(Side::Client, &open, &exchange, &get("/open"));
    scene.read(line);
    scene.settle();
    assert_eq!(scene.ledger.connections.len(), 1, "the open one");
    scene.close(&open, 1, 1);
    scene.settle();
    assert_eq!(scene.ledger.connections.len(), 0);
    // A late line may acquit.
    let accused = scene.client_leg();
    scene.exchange(&accused, 0, &get("/unlogged"));
    scene.close(&accused, 1, 1);
    scene.settle();
    assert_eq!(scene.ledger.connections.len(), 1);
    scene.pass(Duration::from_secs(300));
    scene.settle();
    assert_eq!(scene.ledger.connections.len(), 0);
    assert!(scene.ledger.line_agenda.is_empty());
    scene.stop();
}

#[test]
fn the_books_of_a_pod_that_is_gone_close_with_its_last_unit() {
    let gone = |scene: &mut Scene| {
        let uid = UID.into();
        scene.feed(Input::Workload(WorkloadFact::PodGone { uid }));
    };
    let end_interval = |scene: &mut Scene| {
        scene.pass(Duration::from_secs(3600));
        scene.feed(Input::Tick(scene.now));
        scene.feed(Input::Tick(scene.now));
    };
    // A pod that is there keeps its books, one that is gone does not.
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.settle();
    end_interval(&mut scene);
    assert_eq!(scene.ledger.pods().count(), 1);
    gone(&mut scene);
    scene.feed(Input::Tick(scene.now));
    assert_eq!(scene.ledger.pods().count(), 0);
    scene.stop();
    // Unless a connection is open, or a line waits for the capture.
    for connected in [true, false] {
        let mut scene = Scene::new();
        let leg = scene.client_leg();
        let mut named = leg.clone();
        if connected {
            scene.settle();
        } else {
            scene.close(&leg, 0, 0);
            scene.settle();
            named.source.set_port(9);
            let time = scene.now + Duration::from_secs(7200);
            let unseen = super::exchange(9, 0, time, time, &get("/unseen"));
            let line = scene.line(Side::Client, &named, &unseen, &get("/unseen"));
            scene.read(line);
        }
        gone(&mut scene);
        end_interval(&mut scene);
        assert_eq!(scene.ledger.pods().count(), 1, "connected: {connected}");
        scene.stop();
    }
}

/// Whether the proxy is known that bound its port before so many others whose containers had no
/// names yet either: then any other program beside it is foreign.
fn is_proxy_known(others: usize) -> bool {
    let mut scene = Scene::bare(Vec::new());
    let time = scene.now;
    scene.feed(Input::Started { time });
    let mut listen = |cgroup, pid| {
        scene.feed(Input::Listener(ListenerFact {
            cookie: 15001,
            time,
            cgroup,
            process: process(pid),
            port: 15001,
        }));
    };
    listen(PROXY_CGROUP, PROXY_PID);
    for other in 0..others {
        listen(1_000 + other as u64, 1);
    }
    scene.tell_pod();
    scene.pass(Duration::from_secs(1));
    let (source, destination) = (address("10.0.0.1", 5556), address("10.0.0.99", 80));
    let foreign = scene.connect(
        Some(end(PROXY_CGROUP, 999, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&foreign, 100, 100);
    let verdicts = scene.verdicts();
    scene.stop();
    verdicts == [(Verdict::Bypassed, (1, 0), vec![Reason::FromProxyContainer])]
}

#[test]
fn listeners_wait_for_their_containers_names_so_far_as_there_is_room() {
    assert!(is_proxy_known(0));
    assert!(is_proxy_known(KEPT_LISTENERS - 1));
    assert!(!is_proxy_known(KEPT_LISTENERS));
}

#[test]
fn a_line_that_waits_in_another_pods_log_stays_there() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    line.pod_uid = "22222222-2222-2222-2222-222222222222".into();
    entry(&mut line).whole = None;
    scene.read(line);
    scene.settle();
    assert_eq!(scene.verdicts()[0], (Verdict::Unseen, (0, 1), vec![]));
    scene.stop();
}

/// A connection out of a container that nobody named yet.
fn unnamed(scene: &mut Scene, cgroup: u64) -> Connection {
    let (source, destination) = (address("10.0.0.5", 1), address("10.0.0.6", 2));
    let client = end(cgroup, 1, source, "10.0.0.6:2");
    scene.connect(Some(client), None, (source, destination), None)
}

#[test]
fn a_container_that_floods_while_it_has_no_name_is_judged_with_what_is_known() {
    let mut scene = Scene::new();
    let waiting = |scene: &Scene| scene.ledger.waiting.len();
    for _ in 0..KEPT_WAITING_OF_ONE {
        unnamed(&mut scene, 70);
    }
    assert_eq!(waiting(&scene), KEPT_WAITING_OF_ONE);
    unnamed(&mut scene, 70);
    assert_eq!(waiting(&scene), KEPT_WAITING_OF_ONE, "judged at once");
    // That harms no other, and once those are judged there is room again.
    unnamed(&mut scene, 71);
    assert_eq!(waiting(&scene), KEPT_WAITING_OF_ONE + 1);
    scene.pass(Duration::from_secs(61));
    scene.feed(Input::Tick(scene.now));
    assert_eq!(waiting(&scene), 0);
    unnamed(&mut scene, 70);
    assert_eq!(waiting(&scene), 1);
    scene.stop();
}

#[test]
fn a_connection_without_a_course_keeps_so_many_events() {
    for (events, waits) in [(KEPT_EVENTS - 1, 1), (KEPT_EVENTS, 0)] {
        let mut scene = Scene::new();
        let leg = unnamed(&mut scene, 70);
        for number in 0..events {
            scene.begin(&leg, u32::try_from(number).unwrap());
        }
        assert_eq!(scene.ledger.waiting.len(), waits);
        scene.stop();
    }
}

#[test]
fn the_kubelets_oldest_connections_are_forgotten() {
    let mut scene = Scene::new();
    let (id, owner) = (4, Owner::Kubelet);
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
    let server = address("10.0.0.1", 8080);
    let source = |probe: usize| address("10.0.0.254", u16::try_from(probe).unwrap());
    let probe = |scene: &mut Scene, number| {
        let client = Some(end(4, 1, source(number), "10.0.0.1:8080"));
        let leg = scene.connect(client, None, (source(number), server), Some(server));
        scene.close(&leg, 1, 1);
    };
    let is_known = |scene: &Scene, number| {
        let tuples = &scene.ledger.kubelet_tuples;
        tuples.contains(&(source(number), server))
    };
    for number in 0..KEPT_KUBELET_TUPLES {
        probe(&mut scene, number);
    }
    assert!(is_known(&scene, 0));
    probe(&mut scene, KEPT_KUBELET_TUPLES);
    assert!(!is_known(&scene, 0) && is_known(&scene, 1));
    assert!(is_known(&scene, KEPT_KUBELET_TUPLES));
    assert!(scene.ledger.connections.is_empty());
    assert_eq!(scene.records.len(), 1, "the start");
    scene.stop();
}
