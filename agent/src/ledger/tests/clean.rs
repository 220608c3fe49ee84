//! Clean traffic: nobody is accused.

use std::time::Duration;

use super::{
    APP_CGROUP, APP_PID, OTHER_APP_CGROUP, PILOT_AGENT_PID, PROXY_CGROUP, PROXY_PID, Scene, Sent,
    address, end, entry, exchange, get,
};
use crate::{
    http::{Closed, Gap},
    ledger::Input,
    record::{Reason, Side, Verdict},
};

#[test]
fn an_exchange_and_its_line_match_on_both_sides() {
    let mut scene = Scene::new();
    for side in [Side::Client, Side::Server] {
        let leg = if side == Side::Client {
            scene.client_leg()
        } else {
            scene.server_leg()
        };
        let exchange = scene.exchange(&leg, 0, &get("/hello"));
        let line = scene.line(side, &leg, &exchange, &get("/hello"));
        scene.read(line);
        scene.close(&leg, 100, 200);
    }
    assert_eq!(
        scene.verdicts(),
        [
            (Verdict::Matched, (1, 1), vec![]),
            (Verdict::Matched, (1, 1), vec![])
        ]
    );
    scene.settle();
    assert_eq!(scene.verdicts().len(), 2);
    scene.stop();
}

#[test]
fn identical_requests_in_a_row_match_one_to_one() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let mut lines = Vec::new();
    for number in 0..100 {
        let exchange = scene.exchange(&leg, number, &get("/same"));
        lines.push(scene.line(Side::Client, &leg, &exchange, &get("/same")));
    }
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    assert_eq!(scene.verdicts().len(), 100);
    assert!(
        scene
            .verdicts()
            .iter()
            .all(|(verdict, ..)| *verdict == Verdict::Matched)
    );
    scene.stop();
}

#[test]
fn lines_behind_x_forwarded_for_find_their_exchange() {
    let mut scene = Scene::new();
    let sent = |path: &str| Sent {
        forwarded: true,
        ..get(path)
    };
    for path in ["/x", "/x", "/y"] {
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &sent(path));
        let line = scene.line(Side::Client, &leg, &exchange, &sent(path));
        scene.pass(Duration::from_millis(50));
        scene.read(line);
        scene.close(&leg, 1, 1);
    }
    scene.settle();
    assert_eq!(scene.verdicts().len(), 3);
    assert!(
        scene
            .verdicts()
            .iter()
            .all(|(verdict, ..)| *verdict == Verdict::Matched)
    );
    scene.stop();
}

#[test]
fn a_reader_that_catches_up_finds_lines_behind_x_forwarded_for() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let sent = Sent {
        forwarded: true,
        ..get("/x")
    };
    let mut lines = Vec::new();
    for _ in 0..3 {
        let leg = scene.client_leg();
        let exchange = scene.exchange(&leg, 0, &sent);
        lines.push(scene.line(Side::Client, &leg, &exchange, &sent));
        scene.close(&leg, 1, 1);
    }
    scene.pass(Duration::from_secs(60));
    let now = scene.now;
    scene.feed(Input::CaptureProgress(now));
    for line in lines {
        scene.read(line);
    }
    scene.feed(Input::LogProgress {
        pod_uid: super::UID.into(),
        read_until: now,
    });
    scene.feed(Input::Tick(now));
    assert_eq!(
        scene.verdicts(),
        vec![(Verdict::Matched, (1, 1), vec![]); 4]
    );
    scene.stop();
}

#[test]
fn ids_join_lines_behind_x_forwarded_for() {
    let mut scene = Scene::new();
    let sent = Sent {
        forwarded: true,
        ..get("/x")
    };
    let mut lines = Vec::new();
    for id in ["a", "b"] {
        let leg = scene.client_leg();
        let time = scene.now;
        scene.feed(Input::Begun {
            connection: leg.id,
            exchange: 0,
            stream: None,
            time,
        });
        let mut exchange = exchange(leg.id, 0, time, time, &sent);
        exchange.request_id = Some(super::fingerprint(id));
        let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
        entry(&mut line).request_id = exchange.request_id;
        entry(&mut line).shown_request_id = Some(leg.source.port().to_string());
        lines.push(line);
        scene.feed(Input::Ended(Box::new(exchange)));
    }
    for line in lines.into_iter().rev() {
        scene.read(line);
    }
    scene.settle();
    let ids = scene
        .records
        .iter()
        .filter_map(|record| match &record.body {
            crate::record::Body::Traffic(traffic) => {
                let id = traffic.envoy.as_ref()?.request_id.clone()?;
                Some((id, traffic.attributes.client?.port().to_string()))
            }
            _ => None,
        });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids.len(), 2);
    assert!(
        ids.iter().all(|(line, exchange)| line == exchange),
        "{ids:?}"
    );
    scene.stop();
}

#[test]
fn a_normalised_path_is_no_difference() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a//b/../c"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a/c"));
    scene.read(line);
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Matched, (1, 1), vec![Reason::PathNormalized])]
    );
    scene.stop();
}

#[test]
fn a_client_that_leaves_early_accuses_nobody() {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let exchange = scene.exchange(&leg, 0, &get("/slow"));
    let mut line = scene.line(Side::Server, &leg, &exchange, &get("/slow"));
    let fields = entry(&mut line);
    fields.response_code = Some(0);
    fields.response_flags = Some("DC".into());
    fields.bytes_sent = Some(0);
    scene.read(line);
    assert_eq!(
        scene.verdicts(),
        [(
            Verdict::Matched,
            (1, 1),
            vec![Reason::Aborted, Reason::Rewritten]
        )]
        .map(|(v, u, mut r)| {
            r.retain(|reason| *reason == Reason::Aborted);
            (v, u, r)
        })
    );
    scene.stop();
}

#[test]
fn traffic_inside_the_pod_is_outside() {
    let mut scene = Scene::new();
    let (source, destination) = (address("127.0.0.1", 4000), address("127.0.0.1", 9000));
    let internal = scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "127.0.0.1:9000")),
        Some(end(OTHER_APP_CGROUP, 301, destination, "127.0.0.1:4000")),
        (source, destination),
        Some(destination),
    );
    scene.close(&internal, 5, 5);
    let (source, destination) = (address("127.0.0.6", 4001), address("10.0.0.1", 8080));
    let probe = scene.connect(
        Some(end(PROXY_CGROUP, PILOT_AGENT_PID, source, "10.0.0.1:8080")),
        Some(end(APP_CGROUP, APP_PID, destination, "127.0.0.6:4001")),
        (source, destination),
        Some(destination),
    );
    scene.exchange(&probe, 0, &get("/healthz"));
    scene.close(&probe, 5, 5);
    scene.settle();
    assert_eq!(
        scene.verdicts(),
        [
            (Verdict::Outside, (1, 0), vec![Reason::PodInternal]),
            (Verdict::Outside, (1, 0), vec![Reason::PilotAgent]),
        ]
    );
    scene.stop();
}

#[test]
fn what_the_proxy_answers_itself_needs_its_network_connection() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.7", 33333), address("10.0.0.1", 15006));
    let network = scene.connect(
        None,
        Some(end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.7:33333")),
        (source, destination),
        None,
    );
    let mut other = Scene::new();
    let leg = other.server_leg();
    let exchange = other.exchange(&leg, 0, &get("/denied"));
    let mut line = other.line(Side::Server, &leg, &exchange, &get("/denied"));
    entry(&mut line).upstream_local_address = None;
    entry(&mut line).response_code_details = Some("rbac_access_denied".into());
    scene.read(line.clone());
    assert_eq!(scene.verdicts(), [(Verdict::ProxyAnswered, (0, 1), vec![])]);
    entry(&mut line).downstream_remote_address = Some(address("10.0.0.8", 1));
    entry(&mut line).whole = None;
    scene.read(line);
    scene.close(&network, 1, 1);
    scene.settle();
    assert_eq!(scene.verdicts()[1], (Verdict::Unseen, (0, 1), vec![]));
    scene.stop();
}

#[test]
fn http_carried_as_tcp_is_one_connection() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    scene.exchange(&leg, 1, &get("/b"));
    let line = scene.line_of_the_whole(&leg, &exchange, 70, 90);
    scene.close(&leg, 70, 90);
    scene.read(line);
    scene.settle();
    assert_eq!(
        scene.verdicts(),
        [(Verdict::Matched, (1, 1), vec![Reason::LoggedAsTcp])]
    );
    scene.stop();
}

#[test]
fn a_connection_without_a_request_is_outside() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.close(&leg, 0, 0);
    scene.settle();
    assert_eq!(
        scene.verdicts()[1],
        (Verdict::Outside, (1, 0), vec![Reason::NoRequest])
    );
    scene.stop();
}

#[test]
fn a_request_that_the_proxy_never_read_is_outside() {
    let mut scene = Scene::new();
    scene.clean("/before");
    for unread in [true, false] {
        let leg = scene.client_leg();
        let sent = scene.unanswered(&leg, &["/with-a-fin"]);
        scene.tell_ended(&sent);
        scene.feed(Input::Closed(Closed {
            unread,
            ..scene.closed(&leg, 50, 0)
        }));
    }
    scene.settle();
    assert_eq!(
        scene.verdicts()[1..],
        [
            (Verdict::Outside, (1, 0), vec![Reason::NoRequest]),
            (Verdict::Unlogged, (1, 0), vec![])
        ]
    );
    scene.stop();
}

#[test]
fn a_lagging_reader_postpones() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/second"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/second"));
    let before = scene.now;
    scene.pass(Duration::from_secs(60));
    let now = scene.now;
    scene.feed(Input::CaptureProgress(now));
    scene.feed(Input::LogProgress {
        pod_uid: super::UID.into(),
        read_until: before,
    });
    scene.feed(Input::Tick(now));
    assert_eq!(scene.verdicts().len(), 1);
    scene.read(line);
    assert_eq!(scene.verdicts()[1], (Verdict::Matched, (1, 1), vec![]));
    scene.stop();
}

#[test]
fn lines_of_heads_that_were_all_missed_wait_for_no_close() {
    let mut scene = Scene::new();
    let (seen, missed) = (scene.server_leg(), scene.server_leg());
    scene.pass(Duration::from_millis(10));
    let time = scene.now;
    let request = exchange(missed.id, 0, time, time, &get("/a"));
    let line = scene.line(Side::Server, &missed, &request, &get("/a"));
    scene.pass(Duration::from_millis(10));
    scene.feed(Input::Lost {
        connection: seen.id,
        exchanges: 1,
        time: scene.now,
        cause: Gap::RingLost,
    });
    scene.read(line);
    scene.settle();
    let lost = (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]);
    assert_eq!(scene.verdicts(), [lost]);
    scene.stop();
}
