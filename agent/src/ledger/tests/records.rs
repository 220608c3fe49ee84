//! What records say.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{APP_CGROUP, APP_PID, PROXY_CGROUP, PROXY_PID, Scene, UID, address, end, entry, get};
use crate::{
    ledger::LineContent,
    record::{Side, Verdict},
};

/// The last record of a verdict, as it goes out.
fn told(scene: &Scene, verdict: Verdict) -> Value {
    let mut records = scene.records.iter().rev();
    let record = records.find(|record| record.verdict == Some(verdict));
    serde_json::to_value(record.unwrap()).unwrap()
}

/// A workload of the scene's pod, with its container and process.
fn workload(container_id: &str, name: &str, pid: u32) -> Value {
    json!({
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "a",
        "k8s.pod.uid": UID,
        "k8s.container.name": name,
        "container.id": container_id,
        "process.command": "x",
        "process.pid": pid,
        "user.id": 0,
    })
}

#[test]
fn a_pair_is_told_in_the_view_of_the_workload() {
    for (side, client, server, peer) in [
        (
            Side::Client,
            ("10.0.0.1", 40_001),
            ("10.0.0.9", 8080),
            ("10.0.0.9", 8080),
        ),
        (
            Side::Server,
            ("10.0.0.7", 33_333),
            ("10.0.0.1", 8080),
            ("127.0.0.6", 1),
        ),
    ] {
        let mut scene = Scene::new();
        let leg = match side {
            Side::Server => scene.server_leg(),
            _ => scene.client_leg(),
        };
        let exchange = scene.exchange(&leg, 0, &get("/hello"));
        let mut line = scene.line(side, &leg, &exchange, &get("/hello"));
        line.offset = 7;
        scene.read(line);
        let record = told(&scene, Verdict::Matched);
        let attributes = json!({
            "client.address": client.0,
            "client.port": client.1,
            "server.address": server.0,
            "server.port": server.1,
            "network.peer.address": peer.0,
            "network.peer.port": peer.1,
            "network.transport": "tcp",
            "network.protocol.name": "http",
            "network.protocol.version": "1.1",
            "http.request.method": "GET",
            "http.request.body.size": 0,
            "http.response.status_code": 200,
            "http.response.body.size": 10,
            "url.path": "/hello",
        });
        assert_eq!(record["attributes"], attributes);
        assert_eq!(record["kind"], "http");
        assert_eq!(record["side"], json!(side));
        assert_eq!(record["duration"], 0.003);
        assert_eq!(record["workload"], workload("c1", "app", APP_PID));
        let envoy = json!({
            "log.file": "pods/shop_a/istio-proxy/0.log",
            "log.offset": 7,
            "response_flags": "-",
            "response_code_details": "via_upstream",
        });
        assert_eq!(record["envoy"], envoy);
    }
}

#[test]
fn a_response_that_was_not_whole_has_no_size() {
    type Alter = fn(&mut crate::ledger::ResponseFact);
    let table: [(Alter, Value); 3] = [
        (|_| {}, json!(10)),
        (|response| response.ended = None, json!(null)),
        (|response| response.upgraded = true, json!(null)),
    ];
    for (alter, size) in table {
        let mut scene = Scene::new();
        let leg = scene.client_leg();
        scene.begin(&leg, 0);
        let time = scene.now;
        let mut exchange = super::exchange(leg.id, 0, time, time, &get("/"));
        alter(exchange.response.as_mut().unwrap());
        let line = scene.line(Side::Client, &leg, &exchange, &get("/"));
        scene.tell_ended(&[exchange]);
        scene.read(line);
        let record = told(&scene, Verdict::Matched);
        assert_eq!(record["attributes"]["http.response.body.size"], size);
    }
}

#[test]
fn a_line_alone_is_told_with_what_it_says() {
    let mut scene = Scene::new();
    let mut leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/"));
    leg.source.set_port(9);
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/invented"));
    let fields = entry(&mut line);
    fields.protocol = Some("HTTP/2".into());
    fields.duration_milliseconds = Some(1500);
    fields.upstream_cluster = Some("outbound|80||other".into());
    Arc::make_mut(&mut fields.shown).path = Some("/invented".into());
    scene.read(line.clone());
    scene.settle();
    let record = told(&scene, Verdict::Unseen);
    let attributes = json!({
        "client.address": "10.0.0.1",
        "client.port": 9,
        "server.address": "10.0.0.9",
        "server.port": 8080,
        "network.protocol.name": "http",
        "network.protocol.version": "2",
        "http.request.method": "GET",
        "http.request.body.size": 0,
        "http.response.status_code": 200,
        "http.response.body.size": 10,
        "url.path": "/invented",
    });
    assert_eq!(record["attributes"], attributes);
    assert_eq!(
        (&record["kind"], &record["side"]),
        (&json!("http"), &json!("client"))
    );
    assert_eq!(record["duration"], 1.5);
    assert_eq!(record["envoy"]["upstream_cluster"], "outbound|80||other");
    assert_eq!(record["workload"]["k8s.pod.name"], "a");
    // One of a connection has no status, and bytes that are of no body.
    let fields = entry(&mut line);
    (fields.method, fields.path, fields.protocol) = (None, None, None);
    (fields.response_code, fields.whole) = (Some(0), None);
    fields.upstream_cluster = Some("InboundPassthroughCluster".into());
    scene.read(line.clone());
    scene.settle();
    let record = told(&scene, Verdict::Unseen);
    let names = [
        "http.response.status_code",
        "http.response.body.size",
        "network.protocol.name",
    ];
    for name in names {
        assert_eq!(record["attributes"][name], json!(null), "{name}");
    }
    assert_eq!(
        (&record["kind"], &record["side"]),
        (&json!("connection"), &json!("server"))
    );
    // Of one that can be read in several ways nothing is shown.
    let LineContent::Entry(mut fields) = line.content else {
        panic!("an entry")
    };
    fields.whole = Some(super::fingerprint("ambiguous"));
    line.content = LineContent::Ambiguous(fields);
    scene.read(line);
    scene.settle();
    let record = told(&scene, Verdict::Unverifiable);
    let envoy = json!({
        "log.file": "pods/shop_a/istio-proxy/0.log",
        "log.offset": 0,
        "log.length": 100,
        "log.hash": super::fingerprint("ambiguous").to_hex(),
    });
    assert_eq!(record["envoy"], envoy);
    assert_eq!(record["attributes"], json!({}));
}

#[test]
fn a_connection_is_told_with_its_bytes_in_the_view_of_the_workload() {
    let mut scene = Scene::new();
    let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.99", 80));
    let bypass = scene.connect(
        Some(end(APP_CGROUP, APP_PID, source, "10.0.0.99:80")),
        None,
        (source, destination),
        Some(destination),
    );
    let attributes = json!({
        "client.address": "10.0.0.1",
        "client.port": 5555,
        "server.address": "10.0.0.99",
        "server.port": 80,
        "network.peer.address": "10.0.0.99",
        "network.peer.port": 80,
        "network.transport": "tcp",
    });
    let connection = |state: &str, sent: u64, received: u64| {
        json!({
            "state": state,
            "bytes_sent": sent,
            "bytes_received": received,
            "retransmits": 0,
        })
    };
    let record = told(&scene, Verdict::Bypassed);
    assert_eq!(record["attributes"], attributes);
    assert_eq!(record["connection"], connection("open", 0, 0));
    assert_eq!(record["duration"], json!(null));
    assert_eq!(scene.records.len(), 3, "the start, the bypass, the finding");
    scene.pass(Duration::from_secs(2));
    scene.close(&bypass, 100, 200);
    let record = told(&scene, Verdict::Bypassed);
    assert_eq!(record["attributes"], attributes);
    assert_eq!(record["connection"], connection("closed", 100, 200));
    assert_eq!(record["duration"], 2.0);
    assert_eq!(
        (&record["kind"], &record["side"]),
        (&json!("connection"), &json!("client"))
    );
    assert_eq!(record["workload"], workload("c1", "app", APP_PID));
    // What the proxy accepted from the network: it sent what the server sent.
    let accepted = scene.connect(
        None,
        Some(end(PROXY_CGROUP, PROXY_PID, destination, "10.0.0.7:3")),
        (source, destination),
        None,
    );
    assert_eq!(
        scene.records.len(),
        4,
        "only a bypass is told when it opens"
    );
    scene.close(&accepted, 100, 200);
    let record = told(&scene, Verdict::Outside);
    assert_eq!(record["side"], "proxy");
    assert_eq!(record["connection"], connection("closed", 200, 100));
    assert_eq!(record["workload"], workload("c2", "istio-proxy", PROXY_PID));
}

#[test]
fn a_connection_whose_exchanges_are_the_units_speaks_http() {
    for exchanges in [0, 1] {
        let mut scene = Scene::new();
        // Between two of a pod's apps: nobody logs, all the same exchanges are looked at.
        let (source, destination) = (address("10.0.0.1", 5555), address("10.0.0.1", 9090));
        let leg = scene.connect(
            Some(end(APP_CGROUP, APP_PID, source, "10.0.0.1:9090")),
            Some(end(
                super::OTHER_APP_CGROUP,
                1,
                destination,
                "10.0.0.1:5555",
            )),
            (source, destination),
            None,
        );
        for number in 0..exchanges {
            scene.exchange(&leg, number, &get("/"));
        }
        scene.close(&leg, 10, 10);
        let record = told(&scene, Verdict::Outside);
        let protocol = match exchanges {
            0 => json!(null),
            _ => json!("http"),
        };
        assert_eq!(record["kind"], "connection");
        assert_eq!(record["attributes"]["network.protocol.name"], protocol);
        scene.stop();
    }
}

#[test]
fn a_call_of_grpc_is_told_as_one_with_its_status() {
    use crate::ledger::Input;
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let mut exchange = scene.exchange(&leg, 0, &get("/first"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/first"));
    scene.read(line.clone());
    scene.begin(&leg, 1);
    scene.pass(Duration::from_millis(3));
    (exchange.exchange, exchange.end) = (1, scene.now);
    exchange.response.as_mut().unwrap().grpc_status = Some(5);
    Arc::make_mut(&mut exchange.shown).grpc = true;
    scene.feed(Input::Ended(Box::new(exchange)));
    let mut of_call = line;
    let fields = entry(&mut of_call);
    (fields.grpc_status, fields.whole) = (Some(5), None);
    Arc::make_mut(&mut fields.shown).grpc = true;
    let mut alone = of_call.clone();
    scene.read(of_call);
    let fields = entry(&mut alone);
    (fields.grpc_status, fields.path) = (Some(12), Some(super::path("/alone")));
    scene.read(alone);
    scene.settle();
    for (verdict, status) in [(Verdict::Matched, 5), (Verdict::Unseen, 12)] {
        let attributes = &told(&scene, verdict)["attributes"];
        assert_eq!(attributes["rpc.system"], "grpc");
        assert_eq!(attributes["rpc.grpc.status_code"], status);
    }
    scene.stop();
}
