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

/// A scene as above, and the line of an answer that names a peer who never connected.
fn announced() -> (Scene, Line) {
    let (scene, mut line) = scene();
    let fields = entry(&mut line);
    fields.upstream_cluster = Some("inbound|8080||".into());
    fields.downstream_remote_address = Some(address("198.51.100.7", 4711));
    (scene, line)
}

#[test]
fn a_load_balancer_may_announce_peers() {
    // An exchange shows it, before the line or within two seconds behind it.
    for is_before in [true, false] {
        let (mut scene, line) = announced();
        let carry = |scene: &mut Scene| {
            let leg = scene.server_leg();
            let exchange = scene.exchange(&leg, 0, &get("/carried"));
            let mut line = scene.line(Side::Server, &leg, &exchange, &get("/carried"));
            entry(&mut line).downstream_remote_address = Some(address("198.51.100.7", 4710));
            scene.read(line);
        };
        if is_before {
            carry(&mut scene);
        }
        scene.read(line);
        if !is_before {
            carry(&mut scene);
        }
        scene.settle();
        let answered = (Verdict::ProxyAnswered, (0, 1), vec![]);
        let verdicts = scene.verdicts();
        assert!(verdicts.contains(&answered), "{is_before}: {verdicts:?}");
        scene.stop();
    }
}

#[test]
fn where_nobody_announces_peers_a_line_names_who_connected() {
    let forgeries: [fn(&mut Line); 2] = [
        |_| {},
        // Even where somebody does, the format may name the physical peer.
        |line| {
            let other = Some(address("10.0.0.7", 33334));
            entry(line).downstream_direct_remote_address = other;
        },
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        let (mut scene, mut line) = announced();
        let leg = scene.server_leg();
        let exchange = scene.exchange(&leg, 0, &get("/carried"));
        let mut carried = scene.line(Side::Server, &leg, &exchange, &get("/carried"));
        let peer = [("10.0.0.7", 33333), ("198.51.100.7", 4710)][number];
        entry(&mut carried).downstream_remote_address = Some(address(peer.0, peer.1));
        scene.read(carried);
        forge(&mut line);
        scene.read(line);
        scene.settle();
        let verdict = scene.verdicts().pop();
        assert_eq!(verdict, Some((Verdict::Unseen, (0, 1), vec![])), "{number}");
        scene.stop();
    }
}

#[test]
fn one_peer_whose_connection_was_missed_was_not_announced() {
    let (mut scene, line) = announced();
    let leg = scene.server_leg();
    for (number, peer) in [("10.0.0.7", 33333), ("198.51.100.7", 4710)]
        .into_iter()
        .enumerate()
    {
        let number = u32::try_from(number).unwrap();
        let exchange = scene.exchange(&leg, number, &get("/carried"));
        let mut carried = scene.line(Side::Server, &leg, &exchange, &get("/carried"));
        entry(&mut carried).downstream_remote_address = Some(address(peer.0, peer.1));
        scene.read(carried);
    }
    scene.read(line);
    scene.settle();
    let verdict = scene.verdicts().pop();
    assert_eq!(verdict, Some((Verdict::Unseen, (0, 1), vec![])));
    scene.stop();
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
