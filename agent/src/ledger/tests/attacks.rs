//! Attempts to have a fault excused, or to have it pass as something else.

use std::time::Duration;

use super::{
    APP_CGROUP, APP_PID, PILOT_AGENT_PID, PROXY_CGROUP, PROXY_PID, Scene, Sent, UID, address, end,
    entry, exchange, get, process,
};
use crate::{
    http::Connection,
    ledger::{Input, Line, LineContent, ListenerFact},
    record::{Reason, Side, Verdict},
    workload::{Owner, Pod, WorkloadFact},
};

/// A line whose tuple and request id stand in several readings.
fn shifted(mut line: Line) -> Line {
    let LineContent::Entry(mut entry) = line.content else {
        panic!("expected an entry")
    };
    entry.downstream_remote_address = None;
    entry.downstream_local_address = None;
    line.content = LineContent::Ambiguous(entry);
    line
}

#[test]
fn an_ambiguous_line_of_another_request_acquits_nobody() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let removed = scene.exchange(&leg, 0, &get("/removed"));
    let injected = scene.exchange(&leg, 1, &get("/injected"));
    let line = scene.line(Side::Client, &leg, &injected, &get("/injected"));
    assert!(line.time >= removed.end, "it lies in the time of both");
    scene.read(shifted(line));
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    let expected = [
        (Verdict::Unlogged, (1, 0), vec![]),
        (Verdict::Unverifiable, (1, 1), vec![Reason::LineAmbiguous]),
    ];
    assert_eq!(found, expected);
    scene.stop();
}

#[test]
fn a_bypass_older_than_the_programs_is_a_bypass() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.1", 5557), address("10.0.0.99", 80));
    let connection = Connection {
        id: 900,
        time: scene.now,
        client: Some(end(APP_CGROUP, APP_PID, source, "10.0.0.99:80")),
        server: None,
        source,
        destination,
        asked: None,
        established: true,
        preexisting: true,
        udp: None,
    };
    scene.feed(Input::Opened(Box::new(connection.clone())));
    scene.close(&connection, 100, 100);
    let expected = (Verdict::Bypassed, (1, 0), vec![Reason::Preexisting]);
    assert_eq!(scene.verdicts(), [expected]);
    scene.stop();
}

#[test]
fn a_rewritten_line_that_another_request_claims_acquits_nobody() {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let first = scene.exchange(&leg, 0, &get("/first"));
    scene.read(scene.line(Side::Server, &leg, &first, &get("/first")));
    scene.exchange(&leg, 1, &get("/removed"));
    let injected = scene.exchange(&leg, 2, &get("/injected"));
    let mut line = scene.line(Side::Server, &leg, &injected, &get("/injected"));
    entry(&mut line).upstream_local_address = None;
    // On this side a path may differ.
    scene.read(shifted(line));
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    let expected = [
        (Verdict::Unlogged, (1, 0), vec![]),
        (Verdict::Unverifiable, (1, 1), vec![Reason::LineAmbiguous]),
    ];
    assert_eq!(found, expected);
    scene.stop();
}

#[test]
fn tools_of_the_mesh_speak_to_the_proxys_administration() {
    let mut scene = Scene::new();
    let destination = address("127.0.0.1", 15000);
    for (port, pid) in [(15000, PROXY_PID), (15021, PILOT_AGENT_PID)] {
        let server = address("127.0.0.1", port);
        let source = address("127.0.0.1", 40_000 + port - 15_000);
        let tool = scene.connect(
            Some(end(PROXY_CGROUP, 999, source, &server.to_string())),
            Some(end(PROXY_CGROUP, pid, server, &source.to_string())),
            (source, server),
            Some(destination),
        );
        scene.close(&tool, 100, 100);
    }
    let expected = (Verdict::Outside, (1, 0), vec![Reason::PodInternal]);
    assert_eq!(scene.verdicts(), [expected.clone(), expected]);
    scene.stop();
}

#[test]
fn a_proxy_that_was_seen_to_bind_needs_no_pilot_agent() {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    scene.feed(Input::Started { time: scene.now });
    scene.feed(Input::Listener(ListenerFact {
        cookie: 15_001,
        time: scene.now,
        cgroup: PROXY_CGROUP,
        process: process(PROXY_PID),
        port: 15_001,
    }));
    let (source, destination) = (address("10.0.0.1", 5558), address("10.0.0.99", 80));
    let foreign = scene.connect(
        Some(end(PROXY_CGROUP, 999, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&foreign, 100, 100);
    let expected = (Verdict::Bypassed, (1, 0), vec![Reason::FromProxyContainer]);
    assert_eq!(scene.verdicts(), [expected]);
    scene.stop();
}

#[test]
fn pods_are_known_after_any_number_of_others_came_and_went() {
    let mut scene = Scene::new();
    for number in 0..70_000_u64 {
        let (uid, id) = (format!("uid-{number}"), 1000 + number);
        let container = format!("container-{number}");
        let owner = Owner::Container {
            pod_uid: uid.clone(),
            container_id: container.clone(),
        };
        scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
        scene.feed(Input::Workload(WorkloadFact::Container {
            id: container,
            pod_uid: uid.clone(),
            name: "app".to_owned(),
        }));
        let pod = Pod {
            uid: uid.clone(),
            namespace: "jobs".into(),
            name: uid.as_str().into(),
            containers: vec!["app".to_owned(), "istio-proxy".to_owned()],
        };
        scene.feed(Input::Workload(WorkloadFact::Pod(pod)));
        scene.feed(Input::Workload(WorkloadFact::CgroupGone { id }));
        scene.feed(Input::Workload(WorkloadFact::PodGone { uid }));
    }
    // The first pod still is what it was, and so is the last.
    scene.clean("/still");
    assert_eq!(scene.verdicts(), [(Verdict::Matched, (1, 1), vec![])]);
    let (source, destination) = (address("10.0.0.2", 5559), address("10.0.0.99", 80));
    let bypass = scene.connect(
        Some(end(1000 + 69_999, APP_PID, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    scene.close(&bypass, 100, 100);
    let last = scene.verdicts().pop();
    assert_eq!(last, Some((Verdict::Bypassed, (1, 0), vec![])));
    scene.stop();
}

#[test]
fn a_line_that_went_with_a_part_of_the_log_is_not_missed() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let read_until = scene.now;
    scene.feed(Input::LogProgress {
        pod_uid: UID.into(),
        read_until,
    });
    scene.exchange(&leg, 0, &get("/lost"));
    scene.pass(Duration::from_secs(1));
    // The file was cut after the line was written, and before it was read.
    let mut hole = scene.line(
        Side::Client,
        &leg,
        &exchange(leg.id, 0, scene.now, scene.now, &get("/")),
        &get("/"),
    );
    hole.content = LineContent::Hole;
    hole.time = scene.now;
    scene.read(hole);
    scene.pass(Duration::from_secs(1));
    scene.exchange(&leg, 1, &get("/removed"));
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    let expected = [
        (Verdict::Unlogged, (1, 0), vec![]),
        (Verdict::Unverifiable, (1, 0), vec![Reason::LineLost]),
    ];
    assert_eq!(found, expected);
    scene.stop();
}

#[test]
fn among_very_many_without_a_line_an_edited_line_names_its_exchange() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let request = |scene: &mut Scene, number| {
        scene.pass(Duration::from_millis(20));
        scene.exchange(&leg, number, &get("/load"))
    };
    let exchanges: Vec<_> = (0..300).map(|number| request(&mut scene, number)).collect();
    let other_status = Sent {
        status: 204,
        ..get("/load")
    };
    let edited: Vec<_> = exchanges.iter().skip(10).step_by(20).collect();
    for exchange in &edited {
        scene.read(scene.line(Side::Client, &leg, exchange, &other_status));
    }
    scene.settle();
    let of_verdict = |verdict| {
        let records = scene.records.iter();
        let found = records.filter(move |record| record.verdict == Some(verdict));
        found.map(|record| record.time).collect::<Vec<_>>()
    };
    let times: Vec<_> = edited.iter().map(|exchange| exchange.time).collect();
    assert_eq!(of_verdict(Verdict::Mismatched), times);
    assert_eq!(of_verdict(Verdict::Unlogged).len(), 300 - edited.len());
    scene.stop();
}

#[test]
fn requests_behind_one_that_was_cut_off_are_not_missed() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let sent = scene.unanswered(&leg, &["/0", "/1", "/2"]);
    scene.tell_ended(&sent);
    scene.close(&leg, 100, 0);
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    let unread = (Verdict::Outside, (1, 0), vec![Reason::NoRequest]);
    // The first of them has a line, for all that is known: it was removed.
    let removed = (Verdict::Unlogged, (1, 0), vec![]);
    assert_eq!(found, [removed, unread.clone(), unread]);
    scene.stop();
}
