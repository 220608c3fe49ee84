//! Starts, stops, losses and lateness.

use std::time::Duration;

use super::{PROXY_CGROUP, PROXY_PID, Scene, UID, address, end, entry, get};
use crate::{
    http::Connection,
    ledger::{HttpPort, Input, LineContent},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

#[test]
fn bytes_that_are_answered_in_http_wait_for_the_close() {
    let mut scene = Scene::new();
    scene.clean("/as-http");
    let leg = scene.client_leg();
    let exchange = scene.unreadable(&leg);
    scene.settle();
    assert_eq!(scene.verdicts().len(), 1);
    scene.pass(Duration::from_secs(60));
    scene.close(&leg, 70, 90);
    let line = scene.line_of_the_whole(&leg, &exchange, 70, 90);
    scene.read(line);
    scene.settle();
    assert_eq!(
        scene.verdicts()[1..],
        [(Verdict::Matched, (1, 1), vec![Reason::LoggedAsTcp])]
    );
    scene.stop();
}

#[test]
fn without_a_single_line_nothing_is_accused() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/a"));
    scene.close(&leg, 1, 1);
    scene.settle();
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Unverifiable, (1, 0), vec![Reason::NoLog])]
    );
    scene.stop();
}

#[test]
fn in_a_silent_pod_nobody_waits_for_the_close() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/kept-alive"));
    scene.settle();
    assert_eq!(scene.verdicts(), []);
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Unverifiable, (1, 0), vec![Reason::NoLog])]
    );
    scene.close(&leg, 1, 1);
    scene.settle();
    assert_eq!(scene.verdicts().len(), 1);
    scene.stop();
}

#[test]
fn in_a_silent_pod_what_nobody_asked_for_is_a_probe() {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    scene.feed(Input::Started { time: scene.now });
    let probe = scene.server_leg();
    scene.exchange(&probe, 0, &get("/probe"));
    scene.close(&probe, 1, 1);
    scene.pass(Duration::from_secs(1));
    let (source, destination) = (address("10.0.0.7", 33333), address("10.0.0.1", 15006));
    let network = scene.connect(
        None,
        Some(end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.7:33333")),
        (source, destination),
        None,
    );
    let carried = scene.server_leg();
    scene.exchange(&carried, 0, &get("/carried"));
    scene.close(&carried, 1, 1);
    scene.close(&network, 1, 1);
    scene.settle();
    let reasons: Vec<_> = scene
        .verdicts()
        .into_iter()
        .filter(|(_, units, _)| *units == (1, 0))
        .map(|(verdict, _, reasons)| (verdict, reasons))
        .collect();
    assert_eq!(
        reasons,
        [
            (
                Verdict::Outside,
                vec![Reason::PilotAgent, Reason::RoleByName]
            ),
            (
                Verdict::Unverifiable,
                vec![Reason::NoLog, Reason::RoleByName]
            ),
        ]
    );
    scene.stop();
}

#[test]
fn the_ends_of_a_run_leave_nothing_pending() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/unlogged yet"));
    let time = scene.now;
    scene.feed(Input::Begun {
        connection: leg.id,
        exchange: 1,
        stream: None,
        time,
    });
    let other = scene.client_leg();
    let exchange = super::exchange(other.id, 0, time, time, &get("/x"));
    let mut line = scene.line(Side::Client, &other, &exchange, &get("/x"));
    entry(&mut line).downstream_remote_address = Some(address("10.0.0.1", 1));
    scene.read(line);
    scene.stop();
    let down = |units| (Verdict::Unverifiable, units, vec![Reason::AgentDown]);
    assert_eq!(
        scene.verdicts()[1..],
        [down((1, 0)), down((1, 0)), down((0, 1))]
    );
}

#[test]
fn a_call_by_a_pilot_agent_older_than_the_agent_needs_no_line() {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    let time = scene.now;
    scene.feed(Input::Started { time });
    scene.pass(Duration::from_secs(1));
    scene.clean("/first");
    // Bytes that are no HTTP/1, as a gRPC probe sends them.
    let probe = scene.server_leg();
    scene.close(&probe, 100, 50);
    scene.settle();
    let (verdict, units, reasons) = scene.verdicts()[1].clone();
    assert_eq!((verdict, units), (Verdict::Outside, (1, 0)));
    assert!(reasons.contains(&Reason::PilotAgent), "{reasons:?}");
    scene.stop();
}

#[test]
fn an_ambiguous_line_is_never_a_wrong_match() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/hostile"));
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/hostile"));
    let mut fields = entry(&mut line).clone();
    fields.downstream_remote_address = None;
    fields.path = None;
    line.content = LineContent::Ambiguous(fields);
    scene.read(line);
    scene.close(&leg, 1, 1);
    scene.settle();
    let expected = (Verdict::Unverifiable, (1, 1), vec![Reason::LineAmbiguous]);
    assert_eq!(scene.verdicts()[1], expected);
    scene.stop();
}

#[test]
fn lines_of_a_time_before_the_start_are_not_forged() {
    let mut scene = Scene::new();
    let mut old = Scene::new();
    old.now = old.now - Duration::from_secs(60);
    let leg = old.client_leg();
    let exchange = old.exchange(&leg, 0, &get("/old"));
    let line = old.line(Side::Client, &leg, &exchange, &get("/old"));
    scene.read(line);
    scene.settle();
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Unverifiable, (0, 1), vec![Reason::BeforeStart])]
    );
    scene.stop();
}

#[test]
fn accusations_wait_on_connections_older_than_the_agent() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let old = older_connection(&mut scene);
    scene.exchange(&old, 0, &get("/unlogged"));
    scene.settle();
    let expected = (Verdict::Unverifiable, (1, 0), vec![Reason::Preexisting]);
    assert_eq!(scene.verdicts()[1], expected);
    let exchange = scene.exchange(&old, 1, &get("/logged"));
    let line = scene.line(Side::Client, &old, &exchange, &get("/logged"));
    scene.read(line);
    scene.exchange(&old, 2, &get("/unlogged"));
    scene.settle();
    assert_eq!(
        scene.verdicts()[2..],
        [
            (Verdict::Matched, (1, 1), vec![]),
            (Verdict::Unlogged, (1, 0), vec![]),
        ]
    );
    scene.stop();
}

/// The line of the request that went on when the agent began may be read before anything is told.
#[test]
fn a_line_of_before_holds_up_none_behind_it() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let old = older_connection(&mut scene);
    let before = super::exchange(old.id, 0, Timestamp(1), Timestamp(2), &get("/same"));
    let mut older = scene.line(Side::Client, &old, &before, &get("/same"));
    older.time = scene.now;
    scene.read(older);
    let exchanges: Vec<_> = (1..4)
        .map(|number| {
            scene.pass(Duration::from_millis(25));
            scene.exchange(&old, number, &get("/same"))
        })
        .collect();
    for exchange in &exchanges {
        let line = scene.line(Side::Client, &old, exchange, &get("/same"));
        scene.read(line);
    }
    // At once: nothing of it is left to be told by order alone.
    assert_eq!(
        scene.verdicts()[1..],
        vec![(Verdict::Matched, (1, 1), vec![]); 3]
    );
    scene.settle();
    let older = (Verdict::Unverifiable, (0, 1), vec![Reason::BeforeStart]);
    assert_eq!(scene.verdicts()[4..], [older]);
    scene.stop();
}

/// A connection of the app that was there before the agent.
fn older_connection(scene: &mut Scene) -> Connection {
    let (source, destination) = (address("10.0.0.1", 7777), address("127.0.0.1", 15001));
    let mut old = scene.connect(None, None, (source, destination), None);
    old.id = 999;
    old.preexisting = true;
    old.client = Some(end(
        super::APP_CGROUP,
        super::APP_PID,
        source,
        "10.0.0.9:8080",
    ));
    old.server = Some(end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.1:7777"));
    old.asked = Some("10.0.0.9:8080".parse().unwrap());
    scene.feed(Input::Opened(Box::new(old.clone())));
    old
}

#[test]
fn a_pod_without_a_sidecar_is_outside() {
    let mut scene = Scene::bare(Vec::new());
    let time = scene.now;
    scene.feed(Input::Started { time });
    scene.tell_pod();
    let (source, destination) = (address("10.0.0.5", 1), address("10.0.0.6", 2));
    let cgroup = 77;
    let owner = crate::workload::Owner::Container {
        pod_uid: "22222222-2222-2222-2222-222222222222".into(),
        container_id: "c9".into(),
    };
    scene.feed(Input::Workload(crate::workload::WorkloadFact::Cgroup {
        id: cgroup,
        owner,
    }));
    let leg = scene.connect(
        Some(end(cgroup, 1, source, "10.0.0.6:2")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&leg, 1, 1);
    assert!(
        scene.verdicts().is_empty(),
        "it may yet turn out to be meshed"
    );
    scene.pass(Duration::from_secs(61));
    let now = scene.now;
    scene.feed(Input::Tick(now));
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Outside, (1, 0), vec![Reason::NoSidecar])]
    );
    scene.feed(Input::LogProgress {
        pod_uid: UID.into(),
        read_until: now,
    });
    scene.stop();
}

#[test]
fn a_port_that_spoke_http_before_the_restart_still_does() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let learnt = scene.ledger.take_http_ports();
    let port = HttpPort {
        pod_uid: UID.into(),
        side: Side::Client,
        port: 8080,
    };
    assert!(learnt.iter().eq([&port]));
    scene.clean("/second");
    assert!(scene.ledger.take_http_ports().is_empty());
    for knows in [false, true] {
        let mut scene = Scene::bare(Vec::new());
        scene.tell_pod();
        if knows {
            scene.feed(Input::SpeaksHttp(port.clone()));
        }
        let time = scene.now;
        scene.feed(Input::Started { time });
        scene.tell_listeners();
        scene.pass(Duration::from_secs(1));
        // Another port speaks, so there is a log; this one's first exchange has no line.
        let other = scene.server_leg();
        let exchange = scene.exchange(&other, 0, &get("/other"));
        let line = scene.line(Side::Server, &other, &exchange, &get("/other"));
        scene.read(line);
        let open = scene.client_leg();
        scene.exchange(&open, 0, &get("/unlogged"));
        scene.settle();
        let missed = scene
            .verdicts()
            .contains(&(Verdict::Unlogged, (1, 0), vec![]));
        assert_eq!(missed, knows);
        scene.stop();
    }
}

#[test]
fn lines_of_a_connection_whose_bytes_went_another_way_accuse_nobody() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    for number in 0..2 {
        let unseen = super::exchange(leg.id, number, time, time, &get("/sockmap"));
        let line = scene.line(Side::Client, &leg, &unseen, &get("/sockmap"));
        scene.read(line);
    }
    scene.close(&leg, 0, 0);
    // And one that carried nothing, of which the proxy says so.
    let idle = scene.client_leg();
    let nothing = super::exchange(idle.id, 0, time, time, &get("/"));
    let mut line = scene.line(Side::Client, &idle, &nothing, &get("/"));
    let fields = entry(&mut line);
    (fields.method, fields.path, fields.protocol) = (None, None, None);
    (fields.response_code, fields.bytes_sent) = (Some(0), Some(0));
    scene.read(line);
    scene.close(&idle, 0, 0);
    scene.settle();
    let no_bytes = |units| (Verdict::Unverifiable, units, vec![Reason::NoBytes]);
    let mut found = scene.verdicts();
    found.remove(0);
    found.sort();
    let expected = [
        (Verdict::Matched, (1, 1), vec![]),
        no_bytes((0, 1)),
        no_bytes((1, 1)),
    ];
    assert_eq!(found, expected);
    scene.stop();
}
