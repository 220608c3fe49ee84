//! Rules that are suggested for what was missed expect just that the next time.

use std::path::Path;

use super::{APP_CGROUP, APP_PID, Scene, address, end, get};
use crate::{
    config::{Config, PolicyRule},
    record::{Body, Reason, Record, Verdict},
    suggest::{StoredRecord, Suggestions},
};

/// A request that is not logged, connections with bytes that are not, and two past the sidecar.
fn play(policy: Vec<PolicyRule>) -> Scene {
    let mut scene = Scene::with_policy(policy);
    scene.clean("/first");
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/orders/4711"));
    scene.close(&leg, 1, 1);
    for leg in [scene.client_leg(), scene.server_leg()] {
        scene.close(&leg, 100, 200);
    }
    for port in [80, 81] {
        let (source, destination) = (address("10.0.0.1", 5000 + port), address("10.0.0.99", port));
        let direct = scene.connect(
            Some(end(APP_CGROUP, APP_PID, source, &destination.to_string())),
            None,
            (source, destination),
            Some(destination),
        );
        scene.close(&direct, 1, 1);
    }
    scene.settle();
    scene.stop();
    scene
}

fn proposal(records: &[Record]) -> String {
    let stored: Vec<StoredRecord> = records
        .iter()
        .map(|record| {
            let sealed = record.seal(&mut Vec::new()).unwrap();
            serde_json::from_slice(&sealed.line).unwrap()
        })
        .collect();
    let mut suggestions = Suggestions::default();
    stored
        .iter()
        .for_each(|record| suggestions.note_revised(record));
    stored.iter().for_each(|record| suggestions.add(record));
    suggestions.to_yaml()
}

fn verdicts(scene: &Scene) -> Vec<(Verdict, Vec<Reason>)> {
    let judged = scene.verdicts().into_iter();
    let others = judged.filter(|(verdict, _, _)| *verdict != Verdict::Matched);
    others
        .map(|(verdict, _, reasons)| (verdict, reasons))
        .collect()
}

#[test]
fn what_is_suggested_is_expected_the_next_time() {
    let scene = play(Vec::new());
    let mut found = verdicts(&scene);
    found.sort();
    let unlogged = vec![(Verdict::Unlogged, Vec::new()); 3];
    let mut expected = [unlogged, vec![(Verdict::Bypassed, Vec::new()); 2]].concat();
    expected.sort();
    assert_eq!(found, expected);
    let text = proposal(&scene.records);
    let config = Config::parse(Path::new("proposal.yaml"), &text, &|_| None).unwrap();
    let mut policy = config.mesh.policy;
    assert_eq!(policy.len(), 5, "{text}");
    for rule in &mut policy {
        rule.reason = Some("the old registry".to_owned());
    }
    let again = play(policy);
    assert_eq!(
        verdicts(&again),
        vec![(Verdict::Outside, vec![Reason::Policy]); 5]
    );
    // The reason travels with each of them.
    let reasons = again
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Traffic(traffic) => traffic.attributes.policy.as_deref(),
            _ => None,
        });
    let reasons: Vec<&str> = reasons.collect();
    assert!(reasons.len() >= 5 && reasons.iter().all(|reason| *reason == "the old registry"));
    let text = proposal(&again.records);
    assert!(text.contains("policy: []"), "{text}");
}
