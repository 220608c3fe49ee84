//! The books, added up from the records.

use std::{collections::BTreeMap, sync::Arc};

use crate::record::{Body, Record, Units, Verdict};

/// Adds up the records as an auditor would.
pub(super) fn check_books(records: &[Record]) {
    let revised: Vec<&Arc<str>> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Traffic(traffic) => Some(&traffic.revises),
            _ => None,
        })
        .flatten()
        .collect();
    let mut sums = BTreeMap::<Verdict, Units>::new();
    let mut booked = BTreeMap::<Verdict, Units>::new();
    let mut opening = Units::default();
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record.sequence, at as u64 + 1, "ids have no holes");
        match &record.body {
            Body::Ledger(ledger) => {
                let account = &ledger.account;
                assert_eq!(account.opening, opening);
                let sum = |map: &BTreeMap<Verdict, Units>| {
                    map.values().fold(Units::default(), |a, b| a.plus(*b))
                };
                let entered = account
                    .opening
                    .plus(account.new)
                    .plus(sum(&account.withdrawn));
                assert_eq!(entered, sum(&account.verdicts).plus(account.closing));
                opening = account.closing;
                for (verdict, units) in &account.verdicts {
                    let booked = booked.entry(*verdict).or_default();
                    *booked = booked.plus(*units);
                }
                for (verdict, units) in &account.withdrawn {
                    let booked = booked.entry(*verdict).or_default();
                    *booked = Units::new(
                        booked.observed - units.observed,
                        booked.logged - units.logged,
                    );
                }
            }
            _ if !revised.contains(&&record.id) => {
                if let (Some(verdict), Some(units)) = (record.verdict, record.units) {
                    let sum = sums.entry(verdict).or_default();
                    *sum = sum.plus(units);
                }
            }
            _ => {}
        }
    }
    sums.retain(|_, units| *units != Units::default());
    booked.retain(|_, units| *units != Units::default());
    assert_eq!(sums, booked);
    assert_eq!(
        opening,
        Units::default(),
        "the last ledger record closes at zero"
    );
}
