//! What a rule of the policy names.

use std::time::Duration;

use serde_json::json;

use super::{Scene, UID, address, get};
use crate::{
    config::{Direction, Expectation, PolicyRule},
    ledger::{
        policy::{Subject, rule as found},
        roles::Place,
    },
    record::{Reason, Side, Verdict},
};

/// A rule that names nothing but what is expected.
pub(super) fn any(expect: Expectation) -> PolicyRule {
    PolicyRule {
        expect,
        direction: None,
        port: None,
        cidr: None,
        workload: None,
        method: None,
        path: None,
        status: None,
        reason: None,
    }
}

/// Whether a rule expects the absence of the line of `GET /health`, which the app of `shop/a` sent
/// to 10.0.0.9:8080 and which was answered with 200.
fn names(rule: &PolicyRule) -> bool {
    expected(rule, true)
}

fn expected(rule: &PolicyRule, known: bool) -> bool {
    let scene = Scene::new();
    let end = scene.now + Duration::from_millis(3);
    let exchange = super::exchange(1, 0, scene.now, end, &get("/health"));
    let place = Place {
        pod_uid: UID.into(),
        container: None,
    };
    let subject = Subject {
        side: Side::Client,
        place: known.then_some(&place),
        server: address("10.0.0.9", 8080),
        remote: address("10.0.0.8", 8080),
        exchange: known.then_some(&exchange),
    };
    let rules = std::slice::from_ref(rule);
    found(rules, &scene.ledger.roles, Expectation::Unlogged, subject).is_some()
}

#[test]
fn a_rule_is_of_what_it_expects() {
    assert!(names(&any(Expectation::Unlogged)));
    assert!(names(&any(Expectation::Outside)));
    assert!(!names(&any(Expectation::Direct)));
}

#[test]
fn a_rule_names_what_fits_each_of_its_conditions() {
    type Set = fn(&mut PolicyRule);
    let table: &[(Set, Set)] = &[
        (
            |rule| rule.direction = Some(Direction::Outbound),
            |rule| rule.direction = Some(Direction::Inbound),
        ),
        (|rule| rule.port = Some(8080), |rule| rule.port = Some(80)),
        (
            |rule| rule.cidr = Some("10.0.0.8/32".parse().unwrap()),
            |rule| rule.cidr = Some("10.0.0.9/32".parse().unwrap()),
        ),
        (
            |rule| rule.workload = Some("shop/*".parse().unwrap()),
            |rule| rule.workload = Some("other/*".parse().unwrap()),
        ),
        (
            |rule| rule.path = Some("/health*".parse().unwrap()),
            |rule| rule.path = Some("/other*".parse().unwrap()),
        ),
        (
            |rule| rule.method = Some("GET".into()),
            |rule| rule.method = Some("PUT".into()),
        ),
        (
            |rule| rule.status = Some("2xx".parse().unwrap()),
            |rule| rule.status = Some("404".parse().unwrap()),
        ),
    ];
    let mut all = any(Expectation::Unlogged);
    for (fits, _) in table {
        fits(&mut all);
    }
    assert!(names(&all));
    for (at, (fits, misfits)) in table.iter().enumerate() {
        let mut rule = any(Expectation::Unlogged);
        fits(&mut rule);
        assert!(names(&rule), "condition {at}");
        misfits(&mut rule);
        assert!(!names(&rule), "condition {at}");
        let mut one_misfits = all.clone();
        misfits(&mut one_misfits);
        assert!(!names(&one_misfits), "condition {at}");
    }
    // What is not known fits no condition on it.
    assert!(expected(&any(Expectation::Unlogged), false));
    assert!(!expected(&all, false));
}

#[test]
fn the_remote_end_of_what_came_in_is_its_sender() {
    for (cidr, expected) in [
        ("127.0.0.6/32", (Verdict::Outside, vec![Reason::Policy])),
        ("10.0.0.1/32", (Verdict::Unlogged, Vec::new())),
    ] {
        let mut rule = any(Expectation::Unlogged);
        rule.cidr = Some(cidr.parse().unwrap());
        let mut scene = Scene::with_policy(vec![rule]);
        scene.clean("/first");
        let leg = scene.server_leg();
        scene.exchange(&leg, 0, &get("/silent"));
        scene.close(&leg, 100, 200);
        scene.settle();
        let (verdict, _, reasons) = scene.verdicts().pop().unwrap();
        assert_eq!((verdict, reasons), expected, "{cidr}");
        scene.stop();
    }
}

#[test]
fn bytes_without_a_line_may_be_expected() {
    for (port, expected) in [
        (8080, (Verdict::Outside, vec![Reason::Policy])),
        (80, (Verdict::Unlogged, Vec::new())),
    ] {
        let mut rule = any(Expectation::Unlogged);
        rule.port = Some(port);
        rule.reason = Some("the old queue".into());
        let mut scene = Scene::with_policy(vec![rule]);
        scene.clean("/first");
        let leg = scene.server_leg();
        scene.close(&leg, 100, 200);
        scene.settle();
        let (verdict, _, reasons) = scene.verdicts().pop().unwrap();
        let is_expected = verdict == Verdict::Outside;
        assert_eq!((verdict, reasons), expected, "{port}");
        let mut records = scene.records.iter();
        let record = records.rfind(|record| record.verdict == Some(verdict));
        let record = serde_json::to_value(record.unwrap()).unwrap();
        let reason = &record["attributes"]["meshwitness.policy.reason"];
        let reason_of_the_rule = is_expected.then_some("the old queue");
        assert_eq!(
            (&record["kind"], reason.as_str()),
            (&json!("connection"), reason_of_the_rule)
        );
        scene.stop();
    }
}
