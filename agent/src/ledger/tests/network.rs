//! Lines that name no connection, in a pod whose proxy holds one from the network.

use std::time::Duration;

use super::{PROXY_CGROUP, PROXY_PID, Scene, address, end, entry, get};
use crate::{
    ledger::{Input, Line},
    record::{Body, Side, Verdict},
};

/// A scene with a connection from the network, and a line behind X-Forwarded-For that fits no
/// exchange.
fn scene() -> (Scene, Line) {
    let mut scene = Scene::new();
    scene.clean("/first");
    let (source, destination) = (address("10.0.0.7", 33333), address("10.0.0.1", 15006));
    let proxy = end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.7:33333");
    scene.connect(None, Some(proxy), (source, destination), None);
    scene.pass(Duration::from_secs(1));
    let leg = scene.client_leg();
    let mut sent = get("/denied");
    sent.forwarded = true;
    let time = scene.now;
    let request = super::exchange(leg.id, 0, time, time, &sent);
    let line = scene.line(Side::Client, &leg, &request, &sent);
    (scene, line)
}

#[test]
fn the_proxy_answers_what_it_sent_nowhere() {
    for (cluster, upstream, expected) in [
        (None, false, Verdict::ProxyAnswered),
        (Some("inbound|8080||"), false, Verdict::ProxyAnswered),
        (Some("outbound|80||b.shop"), false, Verdict::Unseen),
        (Some("inbound|8080||"), true, Verdict::Unseen),
    ] {
        let (mut scene, mut line) = scene();
        let fields = entry(&mut line);
        fields.upstream_cluster = cluster.map(Into::into);
        fields.upstream_local_address = upstream.then(|| address("10.0.0.1", 4));
        scene.read(line);
        scene.settle();
        let verdict = scene.verdicts().pop();
        assert_eq!(verdict, Some((expected, (0, 1), vec![])), "{cluster:?}");
        scene.stop();
    }
}

#[test]
fn what_a_line_speaks_of_is_told_within_two_seconds() {
    let (mut scene, line) = scene();
    let told = line.time + Duration::from_secs(2);
    scene.read(line);
    for (captured, expected) in [(told - Duration::from_nanos(1), 1), (told, 2)] {
        scene.capture_until(captured);
        scene.read_log_until(captured);
        scene.feed(Input::Tick(captured));
        assert_eq!(scene.verdicts().len(), expected);
    }
    scene.stop();
}

#[test]
fn at_the_stop_nothing_waits() {
    let (mut scene, line) = scene();
    let leg = scene.client_leg();
    let mut sent = get("/other");
    sent.forwarded = true;
    scene.exchange(&leg, 0, &sent);
    scene.read(line);
    scene.stop();
    let verdicts = scene.verdicts();
    let answered = (Verdict::ProxyAnswered, (0, 1), vec![]);
    assert!(verdicts.contains(&answered), "{verdicts:?}");
}

#[test]
fn the_cluster_of_a_line_tells_its_side() {
    for (cluster, side) in [
        ("inbound|8080||", Some(Side::Server)),
        ("InboundPassthroughCluster", Some(Side::Server)),
        ("outbound|80||b.shop", Some(Side::Client)),
        ("PassthroughCluster", Some(Side::Client)),
        ("BlackHoleCluster", None),
    ] {
        let (mut scene, mut line) = scene();
        let fields = entry(&mut line);
        fields.upstream_cluster = Some(cluster.into());
        fields.upstream_local_address = Some(address("10.0.0.1", 4));
        scene.read(line);
        scene.settle();
        let last = scene.records.iter().rfind(|record| record.units.is_some());
        let Body::Traffic(traffic) = &last.unwrap().body else {
            panic!("traffic")
        };
        assert_eq!(traffic.side, side, "{cluster}");
        scene.stop();
    }
}
