//! What the hellos of a connection come to in its record.

use serde_json::{Value, json};

use super::{PROXY_CGROUP, PROXY_PID, Scene, address, end, entry, exchange, get};
use crate::{
    http::{
        Connection, Greeting,
        hello::{ClientHello, ServerHello},
    },
    ledger::{Input, Line},
    record::{Kind, Side, Verdict},
};

fn client(name: &str) -> Greeting {
    Greeting::Client(ClientHello {
        server_name: Some(name.to_owned()),
        protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
    })
}

fn server(version: &'static str, protocol: Option<&str>) -> Greeting {
    Greeting::Server(ServerHello {
        version: Some(version.into()),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        protocol: protocol.map(str::to_owned),
    })
}

fn greet(scene: &mut Scene, leg: &Connection, greeting: Greeting) {
    let (connection, time) = (leg.id, scene.now);
    scene.feed(Input::Greeted {
        connection,
        time,
        greeting,
    });
}

/// The `tls.…` of the last record of a connection.
fn told(scene: &Scene) -> Value {
    let mut records = scene.records.iter();
    let last = records.rfind(|record| record.kind == Kind::Connection);
    let mut value = serde_json::to_value(last.unwrap()).unwrap();
    let attributes = value["attributes"].as_object_mut().unwrap();
    attributes.retain(|name, _| name.starts_with("tls."));
    value["attributes"].take()
}

/// A connection that the app's sidecar carries as bytes, and its line.
fn carried(scene: &mut Scene, side: Side) -> (Connection, Line) {
    let leg = match side {
        Side::Client => scene.client_leg(),
        _ => scene.server_leg(),
    };
    let whole = exchange(leg.id, 0, scene.now, scene.now, &get("/"));
    let mut line = scene.line(side, &leg, &whole, &get("/"));
    let fields = entry(&mut line);
    (fields.method, fields.path, fields.protocol) = (None, None, None);
    (fields.response_code, fields.response_code_details) = (Some(0), None);
    (fields.bytes_received, fields.bytes_sent) = (Some(10), Some(20));
    (leg, line)
}

#[test]
fn both_hellos_stand_in_the_record_of_a_proxys_leg() {
    let mut scene = Scene::new();
    let tuple = (address("10.0.0.1", 45678), address("10.0.0.9", 8080));
    let own = end(PROXY_CGROUP, PROXY_PID, tuple.0, "10.0.0.9:8080");
    let leg = scene.connect(Some(own), None, tuple, Some(tuple.1));
    greet(&mut scene, &leg, client("outbound_.8080_._.b.shop"));
    greet(&mut scene, &leg, server("1.3", None));
    scene.close(&leg, 10, 10);
    let expected = json!({
        "tls.cipher": "TLS_AES_128_GCM_SHA256",
        "tls.client.next_protocols": ["h2", "http/1.1"],
        "tls.client.server_name": "outbound_.8080_._.b.shop",
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
    });
    assert_eq!(told(&scene), expected);
    scene.stop();
}

#[test]
fn half_of_it_is_told_where_only_that_was_seen() {
    let mut scene = Scene::new();
    let (leg, line) = carried(&mut scene, Side::Client);
    greet(&mut scene, &leg, server("3", Some("h2")));
    scene.close(&leg, 10, 20);
    scene.read(line);
    scene.settle();
    let expected = json!({
        "tls.cipher": "TLS_AES_128_GCM_SHA256",
        "tls.next_protocol": "h2",
        "tls.protocol.name": "ssl",
        "tls.protocol.version": "3",
    });
    assert_eq!(told(&scene), expected);
    scene.stop();
}

#[test]
fn a_server_name_that_was_edited_accuses() {
    let name = "A.example";
    for (side, log, expected) in [
        (Side::Client, Some("a.example"), (Verdict::Matched, 0)),
        (Side::Client, None, (Verdict::Matched, 0)),
        (Side::Client, Some("b.example"), (Verdict::Mismatched, 1)),
        (
            Side::Server,
            Some("outbound_.8080_._.b"),
            (Verdict::Matched, 0),
        ),
    ] {
        let mut scene = Scene::new();
        let (leg, mut line) = carried(&mut scene, side);
        entry(&mut line).requested_server_name = log.map(str::to_owned);
        greet(&mut scene, &leg, client(name));
        scene.close(&leg, 10, 20);
        scene.read(line);
        scene.settle();
        let (verdict, differences) = expected;
        assert_eq!(scene.verdicts(), [(verdict, (1, 1), vec![])], "{log:?}");
        assert_eq!(told(&scene)["tls.client.server_name"], name);
        let record = serde_json::to_value(&scene.records[1]).unwrap();
        let told = record["differences"].as_array().unwrap();
        assert_eq!(told.len(), differences, "{told:?}");
        if let [difference] = &told[..] {
            let field = "tls.client.server_name";
            let expected = json!({"field": field, "kernel": name, "log": log});
            assert_eq!(*difference, expected);
        }
        scene.stop();
    }
}
