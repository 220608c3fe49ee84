//! The books as those who ask see them: each interval, and at any moment.

use std::{collections::BTreeMap, time::Duration};

use super::{Scene, UID, get};
use crate::{
    ledger::{Input, LineContent, PodSummary},
    record::{Body, LedgerBody, Side, Units, Verdict},
    timestamp::Timestamp,
};

fn end_interval(scene: &mut Scene) -> &LedgerBody {
    scene.pass(Duration::from_secs(3600));
    scene.feed(Input::Tick(scene.now));
    let books = scene.records.iter().rev().find_map(|it| match &it.body {
        Body::Ledger(books) => Some(books),
        _ => None,
    });
    books.unwrap()
}

#[test]
fn each_interval_has_an_account_of_each_workload() {
    let mut scene = Scene::new();
    scene.clean("/logged");
    let leg = scene.client_leg();
    let exchange = scene.exchange(&leg, 0, &get("/unlogged yet"));
    for _ in 0..2 {
        let mut line = scene.line(Side::Client, &leg, &exchange, &get("/"));
        line.content = LineContent::Other;
        scene.read(line);
    }
    let began = scene.ledger.started;
    let books = end_interval(&mut scene).clone();
    assert_eq!(books.from, began);
    assert_eq!(books.to, scene.now);
    let [workload] = &books.workloads[..] else {
        panic!("one workload: {:?}", books.workloads)
    };
    let names = &workload.workload;
    assert_eq!(names.namespace.as_deref(), Some("shop"));
    assert_eq!(names.pod.as_deref(), Some("a"));
    assert_eq!(names.pod_uid.as_deref(), Some(UID));
    assert_eq!(workload.account, books.account);
    assert_eq!(books.account.new, Units::new(2, 1));
    assert_eq!(books.account.closing, Units::new(1, 0));
    assert_eq!(books.account.verdicts[&Verdict::Matched], Units::new(1, 1));
    assert_eq!(books.account.other_lines, 2);
    // What waits goes over into the next, after which the pod is quiet.
    scene.settle();
    scene.close(&leg, 1, 1);
    scene.settle();
    let next = end_interval(&mut scene).clone();
    assert_eq!(
        (next.from, next.account.opening),
        (books.to, books.account.closing)
    );
    assert_eq!(next.account.verdicts[&Verdict::Unlogged], Units::new(1, 0));
    assert_eq!(end_interval(&mut scene).workloads, []);
    scene.stop();
}

#[test]
fn a_log_of_which_nothing_is_a_unit_is_still_accounted_for() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let nothing = super::exchange(leg.id, 0, scene.now, scene.now, &get("/"));
    let mut line = scene.line(Side::Client, &leg, &nothing, &get("/"));
    line.content = LineContent::Other;
    scene.read(line);
    let books = end_interval(&mut scene);
    assert_eq!(books.workloads.len(), 1);
    assert_eq!(books.workloads[0].account.other_lines, 1);
    scene.stop();
}

#[test]
fn the_books_can_be_looked_at_between_records() {
    let mut scene = Scene::new();
    scene.clean("/logged");
    let leg = scene.client_leg();
    scene.exchange(&leg, 0, &get("/unlogged yet"));
    let read_until = scene.now;
    scene.read_log_until(read_until);
    scene.capture_until(read_until + Duration::from_secs(1));
    let summary = |lag, pending, judged: &[(Verdict, Units)]| PodSummary {
        uid: UID,
        names: Some(("shop", "a")),
        judged: judged.iter().copied().collect::<BTreeMap<_, _>>(),
        pending,
        lag,
    };
    let matched = (Verdict::Matched, Units::new(1, 1));
    let waiting = Units::new(1, 0);
    let lag = Some(Duration::from_secs(1));
    let expected = summary(lag, waiting, &[matched]);
    assert!(scene.ledger.pods().eq([expected]));
    assert_eq!(scene.ledger.pending(), waiting);
    // Nothing more can come of this log.
    scene.read_log_until(Timestamp::MAX);
    scene.settle();
    let unlogged = (Verdict::Unlogged, Units::new(1, 0));
    let expected = summary(None, Units::default(), &[matched, unlogged]);
    assert!(scene.ledger.pods().eq([expected]));
    assert_eq!(scene.ledger.pending(), Units::default());
    scene.stop();
}
