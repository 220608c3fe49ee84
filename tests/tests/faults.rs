//! Each fault is found, named for what it is, and nothing beside it is accused.
//!
//! All faults happen in one run, among requests that are as they should be. The tests ask each for
//! one promise of that run.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use lab::{
    Outcome, Session,
    cri::{Fault, Sprung},
    nginx,
    pod::{APP, PROXY, Pod, PodSpec},
    process::User,
    records::{Record, Records},
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(10);

/// How often the keep-alive connection asks for the same, and which of its lines is removed.
const SAME: usize = 9;
const REMOVED: usize = 4;

struct Run {
    outcome: Outcome,
    exchanges: Vec<nginx::Exchange>,
}

static RUN: LazyLock<Run> = LazyLock::new(run);

fn run() -> Run {
    let session = Session::start([
        PodSpec::new("a").excluding_outbound(9001),
        PodSpec::new("b").excluding_inbound(9100),
    ])
    .unwrap();
    let lab = &session.lab;
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let server = format!("{}:8080", b.addresses().v4);
    let outside = lab.outside().addresses().v4;
    let curl = |user: User, url: String| {
        let output = a.run(APP, user, ["curl", "-sS", &url]).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let get = |path: &str| curl(User::APP, format!("http://{server}{path}"));
    let control = |part: &str| {
        for number in 0..10 {
            get(&format!("/control/{part}/{number}"));
        }
    };
    control("before");

    // Traffic that its sidecar never touched.
    curl(User::PROXY, format!("http://{outside}/bypass-user"));
    curl(User::APP, format!("http://{outside}:9001/bypass-port"));
    let inbound = format!("http://{}:9100/bypass-inbound", b.addresses().v4);
    lab.outside().run(["curl", "-sS", &inbound]).unwrap();

    // Lines that were removed.
    let mut faults = vec![
        trap(a, 0, "/removed-client", Fault::Drop),
        trap(b, 0, "/removed-server", Fault::Drop),
        trap(b, REMOVED, "/same", Fault::Drop),
        trap(b, 0, "/keep/4", Fault::Drop),
    ];
    get("/removed-client");
    get("/removed-server");
    let script: Vec<_> = (0..SAME).map(|_| json!({ "path": "/same" })).collect();
    a.client(&["requests", &server, &json!(script).to_string()])
        .unwrap();
    let script: Vec<_> = (0..SAME)
        .map(|number| json!({ "path": format!("/keep/{number}") }))
        .collect();
    a.client(&["requests", &server, &json!(script).to_string()])
        .unwrap();

    // Lines that were changed.
    faults.extend([
        edit(a, "/edited-status-client", " 200 ", " 204 "),
        edit(b, "/edited-status-server", " 200 ", " 503 "),
        edit(a, "/edited-path", "/edited-path ", "/other-path "),
    ]);
    get("/edited-status-client");
    get("/edited-status-server");
    get("/edited-path");

    // Lines that nobody wrote.
    faults.push(trap(b, 0, "/repeated", Fault::Repeat));
    get("/repeated");
    get("/pattern");
    let log = &a.container(PROXY).log;
    let pattern = log
        .wait_for(PATIENCE, |line| line.contains("/pattern "))
        .unwrap();
    log.invent(&pattern.replace("/pattern ", "/invented "))
        .unwrap();

    control("after");
    let exchanges = b.nginx_log().unwrap();
    session.settle().unwrap();
    for fault in faults {
        fault.line().expect("the fault met its line");
    }
    let outcome = session.finish().unwrap();
    Run { outcome, exchanges }
}

/// A fault for the `nth` line that speaks of `path`.
fn trap(pod: &Pod, nth: usize, path: &str, fault: Fault) -> Sprung {
    let word = format!("{path} HTTP");
    let log = &pod.container(PROXY).log;
    log.inject(nth, move |line| line.contains(&word), fault)
}

fn edit(pod: &Pod, path: &str, from: &'static str, to: &'static str) -> Sprung {
    let change = move |line: &str| line.replacen(from, to, 1);
    trap(pod, 0, path, Fault::Edit(Box::new(change)))
}

fn records() -> &'static Records {
    &RUN.outcome.records
}

/// The record of a path at one side; there is exactly one that is not `matched`.
fn fault(pod: &str, side: &str, path: &str) -> &'static Record {
    let mut found = records().http(pod, side, path);
    found.retain(|record| record.verdict() != "matched");
    match found[..] {
        [record] => record,
        _ => panic!("{pod} {side} {path}: {:?}", briefs(&found)),
    }
}

fn briefs(records: &[&Record]) -> Vec<String> {
    records.iter().map(|record| record.brief()).collect()
}

fn assert_units(record: &Record, observed: i64, logged: i64) {
    let units = record.units();
    assert_eq!(
        (units.observed, units.logged),
        (observed, logged),
        "{}",
        record.line()
    );
}

fn assert_matched(pod: &str, side: &str, path: &str, count: usize) {
    let mut found = records().http(pod, side, path);
    found.retain(|record| record.verdict() == "matched");
    assert_eq!(found.len(), count, "{pod} {side} {path}");
}

#[test]
fn bypass_by_the_proxys_own_user_is_found() {
    let bypassed = records().find(|record| {
        record.verdict() == "bypassed" && record.server() == Some(("10.77.0.99", 80))
    });
    assert!(!bypassed.is_empty());
    for record in &bypassed {
        assert_eq!(
            (record.pod(), record.side()),
            ("a", "client"),
            "{}",
            record.line()
        );
        assert_eq!(
            record.value()["workload"]["user.id"],
            1337,
            "{}",
            record.line()
        );
    }
    assert_eq!(observed(&bypassed), 1, "{:?}", briefs(&bypassed));
}

#[test]
fn bypass_by_an_excluded_outbound_port_is_found() {
    let bypassed = records().find(|record| {
        record.verdict() == "bypassed" && record.server() == Some(("10.77.0.99", 9001))
    });
    assert!(!bypassed.is_empty());
    for record in &bypassed {
        assert_eq!(
            (record.pod(), record.side()),
            ("a", "client"),
            "{}",
            record.line()
        );
    }
    assert_eq!(observed(&bypassed), 1, "{:?}", briefs(&bypassed));
}

#[test]
fn bypass_by_an_excluded_inbound_port_is_found() {
    let bypassed = records().find(|record| {
        record.verdict() == "bypassed" && record.server().is_some_and(|(_, port)| port == 9100)
    });
    assert!(!bypassed.is_empty());
    for record in &bypassed {
        assert_eq!(
            (record.pod(), record.side()),
            ("b", "server"),
            "{}",
            record.line()
        );
    }
    assert_eq!(observed(&bypassed), 1, "{:?}", briefs(&bypassed));
}

fn observed(records: &[&Record]) -> i64 {
    records.iter().map(|record| record.units().observed).sum()
}

#[test]
fn a_removed_line_is_found_at_its_side_alone() {
    for (pod, side, path, other) in [
        ("a", "client", "/removed-client", ("b", "server")),
        ("b", "server", "/removed-server", ("a", "client")),
    ] {
        let record = fault(pod, side, path);
        assert_eq!(record.verdict(), "unlogged", "{}", record.line());
        assert_units(record, 1, 0);
        assert_matched(other.0, other.1, path, 1);
    }
}

#[test]
fn a_line_removed_amid_a_connection_leaves_its_neighbours_matched() {
    let record = fault("b", "server", "/keep/4");
    assert_eq!(record.verdict(), "unlogged", "{}", record.line());
    assert_units(record, 1, 0);
    for number in (0..SAME).filter(|number| *number != 4) {
        assert_matched("b", "server", &format!("/keep/{number}"), 1);
    }
    // Where all are alike, the count is what must be right.
    let record = fault("b", "server", "/same");
    assert_eq!(record.verdict(), "unlogged", "{}", record.line());
    assert_matched("b", "server", "/same", SAME - 1);
    assert_matched("a", "client", "/same", SAME);
}

#[test]
fn a_changed_line_is_found_and_the_field_named() {
    for (pod, side, path, field, log) in [
        (
            "a",
            "client",
            "/edited-status-client",
            "http.response.status_code",
            json!(204),
        ),
        (
            "b",
            "server",
            "/edited-status-server",
            "http.response.status_code",
            json!(503),
        ),
        (
            "a",
            "client",
            "/edited-path",
            "url.path",
            json!("/other-path"),
        ),
    ] {
        let record = fault(pod, side, path);
        assert_eq!(record.verdict(), "mismatched", "{}", record.line());
        assert_units(record, 1, 1);
        assert_eq!(record.differing_fields(), [field], "{}", record.line());
        assert_eq!(record.value()["differences"][0]["log"], log);
    }
}

#[test]
fn an_invented_and_a_repeated_line_are_found() {
    let invented = fault("a", "client", "/invented");
    assert_eq!(invented.verdict(), "unseen", "{}", invented.line());
    assert_units(invented, 0, 1);
    assert_matched("a", "client", "/pattern", 1);

    let repeated = fault("b", "server", "/repeated");
    assert_eq!(repeated.verdict(), "unseen", "{}", repeated.line());
    assert!(repeated.has_reason("repeated"), "{}", repeated.line());
    assert_units(repeated, 0, 1);
    assert_matched("b", "server", "/repeated", 1);
}

#[test]
fn nothing_else_is_accused() {
    let mut accused: BTreeMap<(String, String), i64> = BTreeMap::new();
    for record in records().accusing() {
        let units = record.units();
        let key = (record.verdict().to_owned(), record.pod().to_owned());
        *accused.entry(key).or_default() += units.observed.max(units.logged);
    }
    let expected = [
        (("bypassed", "a"), 2),
        (("bypassed", "b"), 1),
        (("mismatched", "a"), 2),
        (("mismatched", "b"), 1),
        (("unlogged", "a"), 1),
        (("unlogged", "b"), 3),
        (("unseen", "a"), 1),
        (("unseen", "b"), 1),
    ]
    .map(|((verdict, pod), count)| ((verdict.to_owned(), pod.to_owned()), count));
    assert_eq!(
        accused,
        BTreeMap::from(expected),
        "{:#?}",
        briefs(&records().accusing())
    );

    for exchange in RUN
        .exchanges
        .iter()
        .filter(|found| found.path().starts_with("/control"))
    {
        assert_matched("a", "client", exchange.path(), 1);
        assert_matched("b", "server", exchange.path(), 1);
    }
}

#[test]
fn the_books_add_up() {
    let books = records().audit().unwrap();
    assert_eq!(books.units("bypassed").observed, 3);
    assert_eq!(books.units("unlogged").observed, 4);
    assert_eq!(books.units("unseen").logged, 2);
    assert_eq!(books.units("mismatched").observed, 3);
    assert!(books.lost.is_empty(), "{books:?}");
    assert!(RUN.outcome.ended.status.success());
}
