//! Which finding it is when traffic goes past its sidecar.

use std::{net::SocketAddr, time::Duration};

use super::{
    APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, address, end,
    findings::{end_interval, findings, found, states},
    process,
};
use crate::{
    config::Expectation,
    http::{Connection, End},
    ledger::{Input, ListenerEnd, ListenerFact},
    record::{FindingState, Kind, Severity},
};

fn outbound(scene: &mut Scene, app: End, to: SocketAddr) -> Connection {
    let source = app.local;
    scene.connect(Some(app), None, (source, to), Some(to))
}

fn app(to: SocketAddr) -> End {
    let port = 5_000 + to.port() % 1000;
    end(
        APP_CGROUP,
        APP_PID,
        address("10.0.0.1", port),
        &to.to_string(),
    )
}

/// A connection past the sidecar from first to last; what is found.
fn outbound_found(mut scene: Scene, app: End, to: SocketAddr) -> Vec<(&'static str, u64)> {
    let connection = outbound(&mut scene, app, to);
    scene.close(&connection, 100, 100);
    found(&mut scene)
}

#[test]
fn it_is_told_at_once_and_goes_on_until_the_connection_ends() {
    let mut scene = Scene::new();
    let to = address("10.0.0.99", 80);
    let connection = outbound(&mut scene, app(to), to);
    let opened = findings(&scene)[0];
    assert_eq!(
        (opened.id, opened.severity, opened.count),
        ("MW-101", Severity::High, 1)
    );
    let kinds = scene.records.iter().map(|record| record.kind);
    assert!(kinds.eq([Kind::Lifecycle, Kind::Connection, Kind::Finding]));
    assert_eq!(opened.records, [&*scene.records[1].id]);
    end_interval(&mut scene);
    end_interval(&mut scene);
    assert_eq!(states(&scene).len(), 1, "it goes on");
    scene.close(&connection, 100, 100);
    end_interval(&mut scene);
    end_interval(&mut scene);
    let closed = findings(&scene)[1];
    assert_eq!((closed.state, closed.count), (FindingState::Closed, 1));
    assert_eq!(closed.records.len(), 2, "of its begin and of its end");
    scene.stop();
    assert_eq!(states(&scene).len(), 2);
}

#[test]
fn a_million_of_them_are_one() {
    let mut scene = Scene::new();
    for number in 0..300u16 {
        let to = SocketAddr::new([10, 1, 0, 1].into(), 1 + number);
        let connection = outbound(&mut scene, app(to), to);
        scene.close(&connection, 100, 100);
    }
    assert_eq!(states(&scene).len(), 1);
    end_interval(&mut scene);
    let told = findings(&scene)[1];
    assert_eq!((told.count, told.records.len()), (300, 100));
    assert_eq!(found(&mut scene), [("MW-101", 300)]);
}

#[test]
fn the_proxys_user_outside_its_container_is_named() {
    let to = address("10.0.0.99", 80);
    let mut app = app(to);
    let mut process = process(APP_PID);
    process.user = 1337;
    app.process = Some(process);
    assert_eq!(outbound_found(Scene::new(), app, to), [("MW-103", 1)]);
}

#[test]
fn another_program_in_the_proxys_container_is_named() {
    let mut scene = Scene::new();
    let to = address("10.0.0.99", 80);
    let foreign = end(
        PROXY_CGROUP,
        999,
        address("10.0.0.1", 5_556),
        "10.0.0.99:80",
    );
    let connection = outbound(&mut scene, foreign, to);
    // It might be a pilot-agent that has yet to bind its ports.
    scene.pass(Duration::from_secs(6));
    let now = scene.now;
    scene.capture_until(now);
    scene.feed(Input::Tick(now));
    scene.close(&connection, 100, 100);
    assert_eq!(found(&mut scene), [("MW-104", 1)]);
}

#[test]
fn an_exclusion_is_what_the_sidecar_never_held_while_it_held_others() {
    // The scene's legs are asked for 10.0.0.9:8080.
    for (to, id) in [
        ("10.0.0.9:8080", "MW-101"),
        ("10.0.0.9:9001", "MW-105"),
        ("10.0.0.99:8080", "MW-105"),
        ("[fd00::9]:8080", "MW-101"),
    ] {
        let mut scene = Scene::new();
        scene.clean("/held");
        let to: SocketAddr = to.parse().unwrap();
        assert_eq!(outbound_found(scene, app(to), to), [(id, 1)], "{to}");
    }
}

#[test]
fn what_reaches_the_app_from_outside_is_inbound() {
    for (port, id) in [(8080, "MW-102"), (9100, "MW-105")] {
        let mut scene = Scene::new();
        let held = scene.server_leg();
        scene.close(&held, 0, 0);
        let (source, destination) = (address("10.9.9.9", 4), address("10.0.0.1", port));
        let server = end(APP_CGROUP, APP_PID, destination, "10.9.9.9:4");
        let connection = scene.connect(None, Some(server), (source, destination), None);
        scene.close(&connection, 100, 100);
        assert_eq!(found(&mut scene), [(id, 1)]);
    }
}

#[test]
fn before_the_proxy_listened_and_after_it_ended() {
    let mut scene = Scene::bare(Vec::new());
    scene.feed(Input::Started { time: scene.now });
    scene.tell_pod();
    let to = address("10.0.0.99", 80);
    let early = outbound(&mut scene, app(to), to);
    scene.close(&early, 100, 100);
    assert_eq!(states(&scene), [("MW-107", FindingState::Open, 1)]);
    scene.pass(Duration::from_secs(1));
    scene.tell_listeners();
    scene.pass(Duration::from_secs(1));
    let between = outbound(&mut scene, app(to), to);
    scene.close(&between, 100, 100);
    scene.pass(Duration::from_secs(1));
    for cookie in [15001, 15006] {
        scene.feed(Input::ListenerClosed(ListenerEnd {
            cookie: Some(cookie),
            time: scene.now,
            cgroup: PROXY_CGROUP,
            pid: PROXY_PID,
        }));
    }
    scene.pass(Duration::from_secs(1));
    let late = outbound(&mut scene, app(to), to);
    scene.close(&late, 100, 100);
    scene.pass(Duration::from_secs(1));
    scene.feed(Input::Listener(ListenerFact {
        cookie: 15_007,
        time: scene.now,
        cgroup: PROXY_CGROUP,
        process: process(PROXY_PID),
        port: 15_001,
    }));
    scene.pass(Duration::from_secs(1));
    let again = outbound(&mut scene, app(to), to);
    scene.close(&again, 100, 100);
    let expected = [("MW-101", 2), ("MW-107", 1), ("MW-108", 1)];
    assert_eq!(found(&mut scene), expected);
}

#[test]
fn what_was_declared_is_told_of_when_it_ends() {
    let rule = super::policy::any(Expectation::Direct);
    let mut scene = Scene::with_policy(vec![rule]);
    let to = address("10.0.0.99", 80);
    let connection = outbound(&mut scene, app(to), to);
    assert!(findings(&scene).is_empty());
    scene.close(&connection, 100, 100);
    assert_eq!(findings(&scene)[0].severity, Severity::Low);
    assert_eq!(found(&mut scene), [("MW-106", 1)]);
}

#[test]
fn an_app_at_the_administration_is_found_and_tools_of_the_mesh_are_not() {
    for (cgroup, pid, expected) in [
        (APP_CGROUP, APP_PID, vec![("MW-111", 1)]),
        (PROXY_CGROUP, 999, vec![]),
    ] {
        let mut scene = Scene::new();
        let (source, admin) = (address("127.0.0.1", 4), address("127.0.0.1", 15_000));
        let connection = scene.connect(
            Some(end(cgroup, pid, source, "127.0.0.1:15000")),
            Some(end(PROXY_CGROUP, PROXY_PID, admin, "127.0.0.1:4")),
            (source, admin),
            Some(admin),
        );
        scene.close(&connection, 100, 100);
        assert_eq!(found(&mut scene), expected);
    }
}

#[test]
fn an_app_that_listens_there_itself_is_none() {
    let mut scene = Scene::new();
    let (source, own) = (address("127.0.0.1", 4), address("127.0.0.1", 15_000));
    let connection = scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "127.0.0.1:15000")),
        Some(end(APP_CGROUP, APP_PID, own, "127.0.0.1:4")),
        (source, own),
        Some(own),
    );
    scene.close(&connection, 100, 100);
    assert_eq!(found(&mut scene), []);
}

#[test]
fn an_address_of_the_pods_own_is_not_one_that_its_app_was_held_on_the_way_to() {
    // The scene's server legs are asked for 10.0.0.1:8080.
    let mut scene = Scene::new();
    scene.clean("/held");
    let held = scene.server_leg();
    scene.close(&held, 0, 0);
    let to = address("10.0.0.1", 8080);
    assert_eq!(outbound_found(scene, app(to), to), [("MW-105", 1)]);
}
