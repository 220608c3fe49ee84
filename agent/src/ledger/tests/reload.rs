//! What a reload of the configuration changes.

use std::{collections::BTreeMap, time::Duration};

use super::{Scene, get, policy::any};
use crate::{
    config::Expectation,
    ledger::{Input, Reconfiguration},
    record::{Body, Include, Kind, Lifecycle, Reason, Verdict},
};

fn filtered(scene: &Scene) -> Vec<BTreeMap<String, u64>> {
    let ledgers = scene
        .records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Ledger(ledger) => Some(ledger.filtered.clone()),
            _ => None,
        });
    ledgers.collect()
}

#[test]
fn policy_intervals_and_filters_are_in_force_from_the_config_record_on() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let everything_unlogged = any(Expectation::Unlogged);
    let accusations = Include {
        kinds: None,
        verdicts: Some(vec![Verdict::Unlogged]),
    };
    let nothing = Include {
        kinds: Some(Vec::new()),
        verdicts: None,
    };
    let settings = Reconfiguration {
        flush: Duration::from_secs(1),
        interval: Duration::from_secs(10),
        policy: vec![everything_unlogged],
        sinks: vec![("one".into(), accusations.clone()), ("two".into(), nothing)],
        changed: vec!["forward".into()],
        at_next_start: Vec::new(),
    };
    scene.feed(Input::Reconfigured {
        time: scene.now,
        settings: Box::new(settings.clone()),
    });
    let told = scene.records.last().unwrap();
    assert_eq!(told.kind, Kind::Lifecycle);
    assert!(matches!(
        &told.body,
        Body::Lifecycle { lifecycle: Lifecycle::Config { changed, .. } } if *changed == ["forward"]
    ));
    let since = scene.records.len();

    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/expected"));
    scene.close(&leg, 1, 1);
    scene.settle();
    let verdicts = scene.verdicts();
    assert!(verdicts[1..].iter().all(|(verdict, _, reasons)| {
        *verdict == Verdict::Outside && reasons.contains(&Reason::Policy)
    }));
    let traffic = scene.records[since..]
        .iter()
        .filter(|record| record.verdict.is_some())
        .count() as u64;
    assert!(traffic > 0);
    let counts = BTreeMap::from([("one".into(), traffic), ("two".into(), traffic)]);
    assert_eq!(filtered(&scene), [counts], "closed by the new interval");

    // One that stays keeps its count, one that goes is no longer told.
    let settings = Reconfiguration {
        sinks: vec![("one".into(), accusations)],
        ..settings
    };
    scene.feed(Input::Reconfigured {
        time: scene.now,
        settings: Box::new(settings),
    });
    scene.stop();
    let last = filtered(&scene).pop().unwrap();
    assert_eq!(last.keys().collect::<Vec<_>>(), ["one"]);
}
