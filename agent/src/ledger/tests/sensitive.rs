//! Lines that hold what they must not, into one finding.

use std::time::Duration;

use super::{Scene, get};
use crate::{
    envoy::{Sensitive, SensitiveKind},
    ledger::{Input, Line, LineContent},
    record::{Body, FindingBody, FindingState, Side, Verdict},
};

fn findings(scene: &Scene) -> Vec<&FindingBody> {
    let bodies = scene.records.iter().map(|record| &record.body);
    let found = bodies.filter_map(|body| match body {
        Body::Finding(found) if found.finding.id == "MW-011" => Some(&found.finding),
        _ => None,
    });
    found.collect()
}

fn holding(mut line: Line, offset: u64) -> Line {
    line.offset = offset;
    line.sensitive = vec![
        Sensitive {
            field: Some("path".into()),
            kind: SensitiveKind::QueryValue,
        },
        Sensitive {
            field: None,
            kind: SensitiveKind::Jwt,
        },
    ];
    line
}

/// An exchange whose line holds secrets.
fn matched(scene: &mut Scene, offset: u64) {
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.read(holding(line, offset));
    scene.close(&leg, 100, 200);
}

#[test]
fn whatever_becomes_of_its_line_a_secret_is_found() {
    let mut scene = Scene::new();
    matched(&mut scene, 10);
    // One that nobody sent, and one that no format reads.
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/a"));
    let mut forged = scene.line(Side::Client, &leg, &exchange, &get("/b"));
    let line = scene.line(Side::Client, &leg, &exchange, &get("/a"));
    scene.read(line);
    scene.close(&leg, 100, 200);
    let LineContent::Entry(entry) = &mut forged.content else {
        panic!("an entry")
    };
    entry.downstream_remote_address = "10.0.0.1:1".parse().ok();
    scene.read(holding(forged.clone(), 20));
    forged.content = LineContent::Unknown;
    scene.read(holding(forged, 30));
    scene.settle();
    scene.stop();
    let told = findings(&scene);
    let states: Vec<_> = told.iter().map(|it| (it.state, it.count)).collect();
    assert_eq!(states, [(FindingState::Open, 1), (FindingState::Closed, 3)]);
    let first = serde_json::to_value(&told[0].sensitive).unwrap();
    let file = "pods/shop_a/istio-proxy/0.log";
    let expected = serde_json::json!([
        { "log.file": file, "log.offset": 10, "field": "path", "kind": "query_value" },
        { "log.file": file, "log.offset": 10, "field": null, "kind": "jwt" },
    ]);
    assert_eq!(first, expected);
    let offsets = |of: &FindingBody| of.sensitive.iter().map(|it| it.offset).collect::<Vec<_>>();
    let mut all = offsets(told[1]);
    all.sort_unstable();
    assert_eq!(all, [10, 10, 20, 20, 30, 30]);
    let verdict = |id: &String| {
        let record = scene.records.iter().find(|record| *record.id == **id);
        record.and_then(|record| record.verdict).unwrap()
    };
    let mut verdicts: Vec<_> = told[1].records.iter().map(verdict).collect();
    verdicts.sort_unstable();
    let mut expected = [Verdict::Matched, Verdict::Unseen, Verdict::Unverifiable];
    expected.sort_unstable();
    assert_eq!(verdicts, expected);
}

#[test]
fn places_are_bounded_and_forgotten_with_their_finding() {
    let mut scene = Scene::new();
    for offset in 0..120 {
        matched(&mut scene, offset);
    }
    scene.settle();
    for _ in 0..2 {
        scene.pass(Duration::from_secs(3600));
        let now = scene.now;
        scene.feed(Input::Tick(now));
    }
    let closed = *findings(&scene).last().unwrap();
    assert_eq!((closed.state, closed.count), (FindingState::Closed, 120));
    assert_eq!((closed.records.len(), closed.sensitive.len()), (100, 100));
    matched(&mut scene, 500);
    scene.settle();
    let again = *findings(&scene).last().unwrap();
    assert_eq!(
        (again.state, again.sensitive.len()),
        (FindingState::Open, 2)
    );
    scene.stop();
}
