//! What is proposed parses as a policy, names what it was made of and no more.

use std::path::Path;

use serde_json::{Value, json};

use super::{StoredRecord, Suggestions, path::form, stored::workload_pattern};
use crate::config::{Config, PolicyRule};

/// What records together make.
fn suggest(records: &[Value]) -> String {
    let records: Vec<StoredRecord> = records
        .iter()
        .map(|record| serde_json::from_value(record.clone()).unwrap())
        .collect();
    let mut suggestions = Suggestions::default();
    records
        .iter()
        .for_each(|record| suggestions.note_revised(record));
    records.iter().for_each(|record| suggestions.add(record));
    suggestions.to_yaml()
}

fn rules(text: &str) -> Vec<PolicyRule> {
    Config::parse(Path::new("proposal.yaml"), text, &|_| None)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .mesh
        .policy
}

fn expected(text: &str) -> Vec<PolicyRule> {
    rules(&format!("mesh:\n  policy:\n{text}"))
}

fn set(record: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    record.pointer_mut(parent).unwrap()[key] = value;
}

fn bypass(number: u64, server: &str) -> Value {
    json!({
        "id": format!("s-{number}"), "time": "2026-11-22T07:25:10.806123Z", "kind": "connection",
        "verdict": "bypassed", "reasons": [], "units": { "observed": 1, "logged": 0 }, "side": "client",
        "workload": { "k8s.namespace.name": "shop", "k8s.pod.name": "web-7d4b9c6f5d-x2b7k",
            "process.command": "curl", "user.id": 1000 },
        "attributes": { "client.address": "10.0.0.1", "client.port": 40000,
            "server.address": server, "server.port": 9001 },
    })
}

fn unlogged(number: u64, path: &str, status: u16) -> Value {
    let mut record = bypass(number, "10.0.0.9");
    record["kind"] = "http".into();
    record["verdict"] = "unlogged".into();
    set(&mut record, "/attributes/http.request.method", "GET".into());
    set(&mut record, "/attributes/url.path", path.into());
    set(
        &mut record,
        "/attributes/http.response.status_code",
        status.into(),
    );
    record
}

const REASON: &str = "reason: 'TODO: say why this is expected, or leave the rule out'";

#[test]
fn traffic_past_a_sidecar_is_named_by_workload_port_and_network() {
    let mut inbound = bypass(4, "10.0.0.1");
    inbound["side"] = "server".into();
    set(&mut inbound, "/attributes/client.address", "fd00::9".into());
    let records = [
        bypass(1, "192.0.2.1"),
        bypass(2, "192.0.2.2"),
        bypass(3, "192.0.2.2"),
        inbound,
    ];
    let text = suggest(&records);
    assert!(
        text.contains("# 3 times since 2026-11-22T07:25:10.806123Z"),
        "{text}"
    );
    assert!(text.contains("by curl"), "{text}");
    let all = format!(
        "
    - {{expect: direct, workload: 'shop/web-*', direction: inbound, port: 9001, cidr: 'fd00::9/128', {REASON}}}
    - {{expect: direct, workload: 'shop/web-*', direction: outbound, port: 9001, cidr: 192.0.2.0/30, {REASON}}}"
    );
    assert_eq!(rules(&text), expected(&all), "{text}");
}

#[test]
fn requests_without_a_line_are_named_by_their_form() {
    let text = suggest(&[
        unlogged(1, "/healthz", 200),
        unlogged(2, "/orders/4711", 200),
        unlogged(3, "/orders/4712", 201),
        unlogged(4, "/orders/4712", 503),
    ]);
    let rule = |path: &str, status: &str| {
        format!(
            "\n    - {{expect: unlogged, workload: 'shop/web-*', direction: outbound, method: GET, path: '{path}', status: '{status}', {REASON}}}"
        )
    };
    let all = [
        rule("/healthz", "200"),
        rule("/orders/*", "2xx"),
        rule("/orders/4712", "503"),
    ];
    assert_eq!(rules(&text), expected(&all.concat()), "{text}");
}

#[test]
fn connections_without_a_line_are_named_by_port_and_network() {
    let mut silent = bypass(1, "192.0.2.1");
    silent["verdict"] = "unlogged".into();
    let text = suggest(&[silent]);
    let rule = format!(
        "
    - {{expect: unlogged, workload: 'shop/web-*', direction: outbound, port: 9001, cidr: 192.0.2.1/32, {REASON}}}"
    );
    assert_eq!(rules(&text), expected(&rule), "{text}");
    assert!(text.contains("no lines of requests there either"), "{text}");
}

#[test]
fn what_nobody_should_allow_is_no_rule() {
    let mut in_proxy = bypass(1, "192.0.2.1");
    in_proxy["reasons"] = json!(["from_proxy_container"]);
    let mut as_proxy = bypass(2, "192.0.2.1");
    set(&mut as_proxy, "/workload/user.id", 1337.into());
    let mut killed = unlogged(3, "/", 200);
    killed["reasons"] = json!(["proxy_killed"]);
    let mut nowhere = bypass(4, "192.0.2.1");
    nowhere["workload"] = json!({});
    let text = suggest(&[in_proxy, as_proxy, killed, nowhere]);
    assert_eq!(rules(&text), []);
    let warned = text
        .lines()
        .filter(|line| line.starts_with("# No rule: "))
        .count();
    assert_eq!(warned, 4, "{text}");
}

#[test]
fn other_verdicts_revised_records_and_repeats_count_for_nothing() {
    let verdicts = ["matched", "unseen", "mismatched", "outside", "unverifiable"];
    let mut records: Vec<Value> = (1..)
        .zip(verdicts)
        .map(|(number, verdict)| {
            let mut record = bypass(number, "192.0.2.1");
            record["verdict"] = verdict.into();
            record
        })
        .collect();
    records.push(unlogged(6, "/late", 200));
    let mut late = unlogged(7, "/late", 200);
    late["verdict"] = "matched".into();
    late["revises"] = json!(["s-6"]);
    records.push(late);
    let mut open = bypass(8, "192.0.2.9");
    open["units"] = json!({ "observed": 0, "logged": 0 });
    records.extend([open, bypass(9, "192.0.2.1"), bypass(9, "192.0.2.1")]);
    records.push(json!({ "id": "s-10", "time": "2026-11-22T07:25:10Z", "kind": "lifecycle" }));
    let text = suggest(&records);
    assert!(
        text.contains("# 1 times since") && !text.contains("/late"),
        "{text}"
    );
    assert_eq!(rules(&text).len(), 1, "{text}");
}

#[test]
fn many_networks_are_one_rule_that_says_so() {
    let records: Vec<Value> = (1..20)
        .map(|number| bypass(number, &format!("192.0.{number}.1")))
        .collect();
    let text = suggest(&records);
    assert!(text.contains("with 19 addresses, so any"), "{text}");
    let found = rules(&text);
    assert_eq!((found.len(), found[0].cidr), (1, None));
}

#[test]
fn nothing_hostile_comes_out() {
    let mut record = unlogged(1, "/a\u{1b}[2J\u{202e}\n- x: ${HOME}\"", 200);
    set(
        &mut record,
        "/workload/process.command",
        "\u{1b}]0;x\n- y".into(),
    );
    set(
        &mut record,
        "/attributes/http.request.method",
        "G\nT".into(),
    );
    let text = suggest(&[record]);
    assert!(
        text.bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "{text}"
    );
    assert_eq!(rules(&text).len(), 1);
    let path = rules(&text)[0].path.clone().unwrap();
    assert!(
        path.matches("/a*[2J** x: ${HOME}\"") || path.matches("/a*[2J**-*x:*${HOME}\""),
        "{path:?}"
    );
    let mut record = bypass(1, "192.0.2.1");
    set(&mut record, "/workload/k8s.pod.name", "x\n- y".into());
    assert_eq!(rules(&suggest(&[record])), []);
    assert_eq!(rules(&suggest(&[])), []);
}

#[test]
fn names_and_paths_without_what_is_chance() {
    for (pod, pattern) in [
        ("web-7d4b9c6f5d-x2b7k", "web-*"),
        ("agent-x2b7k", "agent-*"),
        ("db-0", "db-0"),
        ("web", "web"),
        ("web-store", "web-store"),
    ] {
        assert_eq!(
            workload_pattern("shop", pod),
            Some(format!("shop/{pattern}")),
            "{pod}"
        );
    }
    assert_eq!(workload_pattern("Shop", "web"), None);
    for (path, expected) in [
        ("/", "/"),
        ("/v1/orders/4711/items", "/v1/orders/*/items"),
        ("/u/3f0c1f4e-4111-4111-8111-111111111111", "/u/*"),
        ("/t/abcdefghijklmnopqrstuvwxyzabcdefghij", "/t/*"),
        ("/deadbeef/cafe", "/deadbeef/cafe"),
        ("/ä", "/*"),
    ] {
        assert_eq!(form(path), expected);
    }
}
