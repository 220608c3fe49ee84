//! How often each exchange occurred, by nginx and by the records.

use std::collections::{BTreeMap, BTreeSet};

use crate::{nginx::Exchange, records::Records};

/// What one side of the books says, or nginx: how often a method, path and status occurred.
pub type Counts = BTreeMap<(String, String, u64), usize>;

/// What nginx says of what came through the sidecar: of all but the probes.
#[must_use]
pub fn truth(exchanges: &[Exchange]) -> Counts {
    let mut counts = Counts::new();
    for exchange in exchanges.iter().filter(|found| found.path() != "/healthz") {
        let key = (
            exchange.method().to_owned(),
            exchange.path().to_owned(),
            u64::from(exchange.status),
        );
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// What the matched records of one side say.
///
/// # Panics
///
/// If one of them is not one exchange and one line.
#[must_use]
pub fn matched(records: &Records, pod: &str, side: &str) -> Counts {
    let mut counts = Counts::new();
    for record in records.find(|record| {
        record.kind() == "http"
            && record.verdict() == "matched"
            && record.pod() == pod
            && record.side() == side
            && !record.path().is_empty()
    }) {
        let units = record.units();
        assert_eq!((units.observed, units.logged), (1, 1), "{}", record.line());
        let status = record.status().unwrap_or(0);
        let key = (record.method().to_owned(), record.path().to_owned(), status);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// Where two counts differ.
#[must_use]
pub fn difference(expected: &Counts, got: &Counts) -> Vec<String> {
    let keys: BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    keys.into_iter()
        .filter(|key| expected.get(key) != got.get(key))
        .map(|key| {
            format!(
                "{key:?}: expected {:?}, got {:?}",
                expected.get(key),
                got.get(key)
            )
        })
        .collect()
}
