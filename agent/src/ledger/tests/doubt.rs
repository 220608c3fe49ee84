//! Lines that cannot be read for sure, and which of the exchanges that miss theirs gets them.

use std::time::Duration;

use super::{Scene, entry, fingerprint, get};
use crate::{
    http::Connection,
    ledger::{Exchange, Line, LineContent},
    record::{Reason, Record, Side, Verdict},
};

/// A scene whose server side is known to be HTTP, and a connection there.
fn scene() -> (Scene, Connection) {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let first = scene.exchange(&leg, 0, &get("/first"));
    scene.read(scene.line(Side::Server, &leg, &first, &get("/first")));
    (scene, leg)
}

/// The line of a request, whose addresses stand in several readings.
fn doubtful(scene: &Scene, leg: &Connection, exchange: &Exchange, path: &str) -> Line {
    let mut line = scene.line(Side::Server, leg, exchange, &get(path));
    let fields = entry(&mut line);
    (
        fields.upstream_local_address,
        fields.downstream_local_address,
    ) = (None, None);
    fields.downstream_remote_address = None;
    line.content = LineContent::Ambiguous(fields.clone());
    line
}

/// The paths of the exchanges with a verdict.
fn paths(scene: &Scene, verdict: Verdict) -> Vec<String> {
    let of_it = |record: &&Record| record.verdict == Some(verdict) && record.units.is_some();
    let paths = scene.records.iter().filter(of_it).map(|record| {
        let record = serde_json::to_value(record).unwrap();
        record["attributes"]["url.path"].as_str().map(str::to_owned)
    });
    paths.flatten().collect()
}

#[test]
fn of_one_connection_the_exchange_that_it_fits_best_gets_it() {
    let (mut scene, leg) = scene();
    scene.exchange(&leg, 1, &get("/removed"));
    let other = scene.exchange(&leg, 2, &get("/other"));
    scene.read(doubtful(&scene, &leg, &other, "/other"));
    scene.settle();
    assert_eq!(paths(&scene, Verdict::Unlogged), ["/removed"]);
    assert_eq!(paths(&scene, Verdict::Unverifiable), ["/other"]);
    scene.stop();
}

#[test]
fn what_an_exchange_of_another_connection_claims_is_not_taken_for_a_rewritten_line() {
    for claimed in [true, false] {
        let (mut scene, leg) = scene();
        let removed = scene.exchange(&leg, 1, &get("/removed"));
        let line = doubtful(&scene, &leg, &removed, "/other");
        if claimed {
            let other = scene.server_leg();
            scene.begin(&other, 0);
            scene.pass(Duration::from_millis(100));
            let exchange = super::exchange(other.id, 0, removed.time, scene.now, &get("/other"));
            scene.tell_ended(&[exchange]);
        }
        scene.read(line);
        scene.capture_until(removed.end + Duration::from_secs(3));
        scene.read_log_until(removed.end + Duration::from_secs(3));
        let unlogged = paths(&scene, Verdict::Unlogged);
        let expected = if claimed {
            vec!["/removed"]
        } else {
            Vec::new()
        };
        assert_eq!(unlogged, expected);
        scene.settle();
        let unverifiable = if claimed { "/other" } else { "/removed" };
        assert_eq!(paths(&scene, Verdict::Unverifiable), [unverifiable]);
        scene.stop();
    }
}

#[test]
fn an_exchange_gets_the_line_that_fits_it_best() {
    // In whichever order they came.
    for offsets in [[1, 2], [2, 1]] {
        let (mut scene, leg) = scene();
        let exchange = scene.exchange(&leg, 1, &get("/a"));
        for offset in offsets {
            let path = if offset == 1 { "/a" } else { "/rewritten" };
            let mut line = doubtful(&scene, &leg, &exchange, path);
            line.offset = offset;
            scene.read(line);
        }
        scene.settle();
        let pair = scene.records.iter().find(|record| {
            let reasons = record.reasons.as_deref().unwrap_or_default();
            let both = record
                .units
                .is_some_and(|units| (units.observed, units.logged) == (1, 1));
            both && reasons == [Reason::LineAmbiguous]
        });
        let pair = serde_json::to_value(pair.unwrap()).unwrap();
        assert_eq!(pair["envoy"]["log.offset"], 1, "{offsets:?}");
        scene.stop();
    }
}

#[test]
fn the_requests_id_decides() {
    for (id, unlogged) in [("r1", 0), ("r2", 1)] {
        let (mut scene, leg) = scene();
        let mut sent = get("/a");
        sent.request_id = Some("r1".into());
        let exchange = scene.exchange(&leg, 1, &sent);
        let mut line = doubtful(&scene, &leg, &exchange, "/rewritten");
        if let LineContent::Ambiguous(fields) = &mut line.content {
            fields.request_id = Some(fingerprint(id));
        }
        scene.read(line);
        scene.settle();
        assert_eq!(paths(&scene, Verdict::Unlogged).len(), unlogged, "{id}");
        scene.stop();
    }
}
