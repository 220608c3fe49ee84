//! Hosts in client-side lines: replaced by a route, or by whoever edited the line.

use std::time::Duration;

use serde_json::json;

use super::{Scene, address, end, entry, fingerprint, get, process};
use crate::{
    http::Connection,
    ledger::{Input, ListenerFact, authority::Received},
    record::{Body, Reason, Side, Verdict},
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

const OTHER_UID: &str = "22222222-2222-2222-2222-222222222222";
const OTHER_APP_CGROUP: u64 = 21;
const OTHER_PROXY_CGROUP: u64 = 22;
const OTHER_PROXY_PID: u32 = 502;
const OTHER_APP: &str = "10.0.0.2:8080";

const ASKED: &str = "asked.shop";
const LOGGED: &str = "logged.shop";

/// What an app received.
#[derive(Clone, Copy)]
struct Request {
    host: &'static str,
    app: &'static str,
    path: &'static str,
    id: &'static str,
}

const PLAIN: Request = Request {
    host: ASKED,
    app: OTHER_APP,
    path: "/a",
    id: "id",
};

/// A scene with a second meshed pod.
fn two_pods() -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    for (id, container, name) in [
        (OTHER_APP_CGROUP, "d1", "app"),
        (OTHER_PROXY_CGROUP, "d2", "istio-proxy"),
    ] {
        let owner = Owner::Container {
            pod_uid: OTHER_UID.into(),
            container_id: container.into(),
        };
        scene.feed(Input::Workload(WorkloadFact::Cgroup { id, owner }));
        scene.feed(Input::Workload(WorkloadFact::Container {
            id: container.into(),
            pod_uid: OTHER_UID.into(),
            name: name.into(),
        }));
    }
    scene.feed(Input::Workload(WorkloadFact::Pod(Pod {
        uid: OTHER_UID.into(),
        namespace: "shop".into(),
        name: "b".into(),
        containers: vec!["app".into(), "istio-proxy".into()],
    })));
    let time = scene.now;
    scene.feed(Input::Listener(ListenerFact {
        cookie: 1,
        time,
        cgroup: OTHER_PROXY_CGROUP,
        process: process(OTHER_PROXY_PID),
        port: 15006,
    }));
    scene
}

/// The second pod's sidecar hands a request to its app.
fn receive(scene: &mut Scene, request: Request) {
    let port = 50_000 + u16::try_from(scene.next_id).unwrap();
    let (source, app) = (address("127.0.0.6", port), request.app.parse().unwrap());
    let proxy = end(OTHER_PROXY_CGROUP, OTHER_PROXY_PID, source, request.app);
    let own = end(OTHER_APP_CGROUP, 600, app, &source.to_string());
    let leg = scene.connect(Some(proxy), Some(own), (source, app), Some(app));
    let time = scene.now;
    scene.begin(&leg, 0);
    scene.pass(Duration::from_millis(1));
    let mut sent = get(request.path);
    sent.request_id = Some(request.id.into());
    let mut exchange = super::exchange(leg.id, 0, time, scene.now, &sent);
    exchange.authority = Some(fingerprint(request.host));
    scene.feed(Input::Ended(Box::new(exchange)));
}

/// The first pod's app asks for one host, while other apps receive this, and the line names
/// another.
fn ask(scene: &mut Scene, received: &[Request]) -> Connection {
    let leg = scene.client_leg();
    let time = scene.now;
    scene.begin(&leg, 0);
    scene.pass(Duration::from_millis(1));
    for request in received {
        receive(scene, *request);
    }
    scene.pass(Duration::from_millis(1));
    let mut exchange = super::exchange(leg.id, 0, time, scene.now, &get("/a"));
    exchange.authority = Some(fingerprint(ASKED));
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.feed(Input::Ended(Box::new(exchange)));
    let fields = entry(&mut line);
    fields.authority = Some(fingerprint(LOGGED));
    fields.request_id = Some(fingerprint("id"));
    fields.upstream_host = Some(OTHER_APP.into());
    scene.read(line);
    leg
}

/// The verdict on the client's request, and the fields in which both accounts differ.
fn judged(scene: &mut Scene) -> (Verdict, Vec<Reason>, Vec<String>) {
    scene.settle();
    let of_client = scene.records.iter().rev().find_map(|record| {
        let Body::Traffic(traffic) = &record.body else {
            return None;
        };
        let fields = traffic.differences.iter().map(|it| it.field.clone());
        let fields: Vec<String> = fields.collect();
        let reasons = record.reasons.clone().unwrap_or_default();
        (!fields.is_empty()).then_some((record.verdict?, reasons, fields))
    });
    of_client.expect("a record with a difference")
}

fn differing() -> Vec<String> {
    vec!["http.request.header.host".to_owned()]
}

fn edited() -> (Verdict, Vec<Reason>, Vec<String>) {
    (Verdict::Mismatched, vec![], differing())
}

fn replaced() -> (Verdict, Vec<Reason>, Vec<String>) {
    (Verdict::Matched, vec![Reason::Rewritten], differing())
}

#[test]
fn a_host_that_was_never_sent_accuses() {
    let mut scene = two_pods();
    ask(&mut scene, &[PLAIN]);
    assert_eq!(judged(&mut scene), edited());
    let finding = |record: &&crate::record::Record| {
        let value = serde_json::to_value(record).unwrap();
        value["finding"]["id"] == json!("MW-007")
    };
    assert_eq!(scene.records.iter().filter(finding).count(), 1);
}

#[test]
fn a_host_that_was_sent_does_not() {
    let mut scene = two_pods();
    let sent = Request {
        host: LOGGED,
        ..PLAIN
    };
    ask(&mut scene, &[sent]);
    assert_eq!(judged(&mut scene), replaced());
}

#[test]
fn nobody_is_accused_where_no_app_of_the_node_received_it() {
    let other = |change: fn(&mut Request)| {
        let mut request = PLAIN;
        change(&mut request);
        vec![request]
    };
    let other_host = other(|it| it.host = "inner.shop");
    for (what, received) in [
        ("nothing", vec![]),
        ("a host that its own sidecar put there", other_host),
        ("at another address", other(|it| it.app = "10.0.0.2:8081")),
        (
            "on the loopback device",
            other(|it| it.app = "127.0.0.1:8080"),
        ),
        ("for another path", other(|it| it.path = "/b")),
        ("with another id", other(|it| it.id = "another")),
    ] {
        let mut scene = two_pods();
        ask(&mut scene, &received);
        assert_eq!(judged(&mut scene), replaced(), "{what}");
    }
}

#[test]
fn nobody_is_accused_where_an_app_received_both_hosts() {
    let sent = Request {
        host: LOGGED,
        ..PLAIN
    };
    for received in [[PLAIN, sent], [sent, PLAIN]] {
        let mut scene = two_pods();
        ask(&mut scene, &received);
        assert_eq!(judged(&mut scene), replaced());
    }
}

#[test]
fn what_was_received_at_another_time_tells_nothing() {
    let mut scene = two_pods();
    receive(&mut scene, PLAIN);
    scene.pass(Duration::from_millis(10));
    ask(&mut scene, &[]);
    scene.pass(Duration::from_millis(10));
    receive(&mut scene, PLAIN);
    assert_eq!(judged(&mut scene), replaced());
}

#[test]
fn the_id_that_the_app_gave_will_do_where_that_of_the_line_was_edited() {
    let mut scene = two_pods();
    let leg = scene.client_leg();
    let time = scene.now;
    scene.begin(&leg, 0);
    receive(&mut scene, PLAIN);
    let mut sent = get("/a");
    sent.request_id = Some("id".into());
    let mut exchange = super::exchange(leg.id, 0, time, scene.now, &sent);
    exchange.authority = Some(fingerprint(ASKED));
    let mut line = scene.line(Side::Client, &leg, &exchange, &sent);
    scene.feed(Input::Ended(Box::new(exchange)));
    let fields = entry(&mut line);
    fields.authority = Some(fingerprint(LOGGED));
    fields.request_id = Some(fingerprint("edited"));
    fields.upstream_host = Some(OTHER_APP.into());
    scene.read(line);
    assert_eq!(judged(&mut scene), edited());
}

#[test]
fn on_the_server_side_a_host_is_never_accused() {
    let mut scene = two_pods();
    receive(&mut scene, PLAIN);
    let leg = scene.server_leg();
    let mut sent = get("/a");
    sent.request_id = Some("id".into());
    let time = scene.now;
    scene.begin(&leg, 0);
    let mut exchange = super::exchange(leg.id, 0, time, scene.now, &sent);
    exchange.authority = Some(fingerprint(ASKED));
    let mut line = scene.line(Side::Server, &leg, &exchange, &sent);
    scene.feed(Input::Ended(Box::new(exchange)));
    let fields = entry(&mut line);
    fields.authority = Some(fingerprint(LOGGED));
    fields.upstream_host = Some(OTHER_APP.into());
    scene.read(line);
    assert_eq!(judged(&mut scene), replaced());
}

#[test]
fn what_apps_received_is_kept_for_half_a_minute_and_within_a_bound() {
    let mut received = Received::default();
    let begin = Timestamp(1_800_000_000_000_000_000);
    let mut note = |id: &str, time: Timestamp| {
        let mut sent = get("/a");
        sent.request_id = Some(id.into());
        let mut exchange = super::exchange(1, 0, time, time, &sent);
        exchange.authority = Some(fingerprint(ASKED));
        received.note(OTHER_APP.parse().unwrap(), &exchange);
        received.kept()
    };
    // One and the same counts once, and its last time.
    assert_eq!(note("same", begin), 1);
    assert_eq!(note("same", begin + Duration::from_secs(15)), 1);
    assert_eq!(note("next", begin + Duration::from_secs(31)), 2);
    assert_eq!(note("next", begin + Duration::from_secs(46)), 1);
    for number in 0..40_000 {
        let kept = note(&number.to_string(), begin + Duration::from_secs(47));
        assert!(kept <= 32_768, "{kept}");
    }
}

#[test]
fn a_late_line_with_another_host_acquits() {
    let mut scene = two_pods();
    let leg = scene.client_leg();
    let time = scene.now;
    scene.begin(&leg, 0);
    scene.pass(Duration::from_millis(3));
    let mut exchange = super::exchange(leg.id, 0, time, scene.now, &get("/a"));
    exchange.authority = Some(fingerprint(ASKED));
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.feed(Input::Ended(Box::new(exchange)));
    scene.settle();
    assert_eq!(
        scene.verdicts().last(),
        Some(&(Verdict::Unlogged, (1, 0), vec![]))
    );
    line.time = scene.now;
    entry(&mut line).authority = Some(fingerprint(LOGGED));
    scene.read(line);
    let reasons = vec![Reason::Rewritten, Reason::LateLine];
    assert_eq!(judged(&mut scene), (Verdict::Matched, reasons, differing()));
    scene.stop();
}

#[test]
fn of_requests_at_once_a_line_is_rather_of_the_one_with_its_host() {
    for stream in [Some(1), None] {
        let mut scene = two_pods();
        let leg = scene.client_leg();
        let hosts = [ASKED, LOGGED];
        let mut exchanges = Vec::new();
        for (number, host) in (0..).zip(hosts) {
            let stream = stream.map(|stream: u32| stream + 2 * number);
            let time = scene.now;
            scene.feed(Input::Begun {
                connection: leg.id,
                exchange: number,
                stream,
                time,
            });
            let end = time + Duration::from_millis(3);
            let mut exchange = super::exchange(leg.id, number, time, end, &get("/a"));
            (exchange.stream, exchange.authority) = (stream, Some(fingerprint(host)));
            exchanges.push(exchange);
        }
        scene.pass(Duration::from_millis(3));
        for exchange in &exchanges {
            scene.feed(Input::Ended(Box::new(exchange.clone())));
        }
        // That of the first is missing.
        let mut line = scene.line(Side::Client, &leg, &exchanges[1], &get("/a"));
        entry(&mut line).authority = Some(fingerprint(LOGGED));
        scene.read(line);
        scene.settle();
        let mut found = scene.verdicts().split_off(1);
        found.sort();
        let expected = [
            (Verdict::Matched, (1, 1), vec![]),
            (Verdict::Unlogged, (1, 0), vec![]),
        ];
        assert_eq!(found, expected, "{stream:?}");
    }
}
