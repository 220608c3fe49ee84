//! The books, added up by somebody who has nothing but the records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use meshwitness::record::{AccountBody, Body, Reason, Record, Traffic, Units, Verdict};

/// What an account came to, over all intervals.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    verdicts: BTreeMap<Verdict, Units>,
    lost: BTreeMap<Reason, Units>,
}

/// Adds up the records and holds them against the ledger records among them.
pub(crate) fn check(records: &[Record]) -> Result<(), String> {
    check_ids(records)?;
    let (mut node, mut workloads) = (Chain::default(), BTreeMap::<Arc<str>, Chain>::new());
    for record in records {
        let Body::Ledger(ledger) = &record.body else {
            continue;
        };
        node.add("the node", &ledger.account)?;
        let mut present = BTreeSet::new();
        for workload in &ledger.workloads {
            let uid = workload.workload.pod_uid.clone().unwrap_or_default();
            let chain = workloads.entry(uid.clone()).or_default();
            chain.add(&uid, &workload.account)?;
            present.insert(uid);
        }
        for (uid, chain) in &workloads {
            let left_out = !present.contains(uid) && chain.closing != Units::default();
            ensure(!left_out, || format!("{uid} is left out with open units"))?;
        }
    }
    let (of_all, by_workload) = add_up(records);
    node.close("the node", &of_all)?;
    for (uid, chain) in workloads {
        let totals = by_workload.get(&uid);
        chain.close(&uid, totals.unwrap_or(&Totals::default()))?;
    }
    Ok(())
}

/// Ids have no holes, and each ledger record names those of its interval.
fn check_ids(records: &[Record]) -> Result<(), String> {
    let mut first = 1;
    for (at, record) in records.iter().enumerate() {
        let expected = at as u64 + 1;
        ensure(
            record.sequence == expected && *record.id == format!("s-{expected}"),
            || format!("expected id s-{expected}, got {}", record.id),
        )?;
        if let Body::Ledger(ledger) = &record.body {
            ensure(ledger.ids == (first, expected), || {
                format!("expected ids {:?}, got {:?}", (first, expected), ledger.ids)
            })?;
            first = expected + 1;
        }
    }
    Ok(())
}

/// The accounts of one workload, one an interval.
#[derive(Default)]
struct Chain {
    closing: Units,
    totals: Totals,
}

impl Chain {
    fn add(&mut self, whose: &str, account: &AccountBody) -> Result<(), String> {
        ensure(account.opening == self.closing, || {
            let (opening, closing) = (account.opening, self.closing);
            format!("{whose} opens at {opening:?} after closing at {closing:?}")
        })?;
        let sum = |map: &BTreeMap<Verdict, Units>| {
            map.values()
                .fold(Units::default(), |sum, units| sum.plus(*units))
        };
        let entered = account
            .opening
            .plus(account.new)
            .plus(sum(&account.withdrawn));
        let left = sum(&account.verdicts).plus(account.closing);
        ensure(entered == left, || {
            format!("{whose}: {entered:?} came in, {left:?} went out or stayed")
        })?;
        self.closing = account.closing;
        add_each(&mut self.totals.verdicts, &account.verdicts);
        for (verdict, withdrawn) in &account.withdrawn {
            let total = self.totals.verdicts.entry(*verdict).or_default();
            total.observed -= withdrawn.observed;
            total.logged -= withdrawn.logged;
        }
        add_each(&mut self.totals.lost, &account.lost);
        Ok(())
    }

    fn close(mut self, whose: &str, records: &Totals) -> Result<(), String> {
        ensure(self.closing == Units::default(), || {
            format!("{whose} closes at {:?} at the end", self.closing)
        })?;
        self.totals
            .verdicts
            .retain(|_, units| *units != Units::default());
        ensure(self.totals == *records, || {
            format!(
                "{whose} has books of {:?} and records of {records:?}",
                self.totals
            )
        })
    }
}

/// The units of all records that stand, and by workload.
fn add_up(records: &[Record]) -> (Totals, BTreeMap<Arc<str>, Totals>) {
    let (mut of_all, mut by_workload) = (Totals::default(), BTreeMap::<Arc<str>, Totals>::new());
    for (record, verdict, units, traffic) in standing(records) {
        let uid = traffic.workload.pod_uid.clone();
        let of_workload = uid.map(|uid| by_workload.entry(uid).or_default());
        for totals in std::iter::once(&mut of_all).chain(of_workload) {
            let one = BTreeMap::from([(verdict, units)]);
            add_each(&mut totals.verdicts, &one);
            if verdict == Verdict::Unverifiable {
                let reasons = record.reasons.iter().flatten();
                let lost = reasons.filter(|reason| is_loss(**reason));
                add_each(
                    &mut totals.lost,
                    &lost.map(|reason| (*reason, units)).collect(),
                );
            }
        }
    }
    (of_all, by_workload)
}

/// The records that no other replaces and that have units, with what they say of these.
pub(crate) fn standing(
    records: &[Record],
) -> impl Iterator<Item = (&Record, Verdict, Units, &Traffic)> {
    let revised = revised(records);
    records.iter().filter_map(move |record| {
        let Body::Traffic(traffic) = &record.body else {
            return None;
        };
        let (verdict, units) = (record.verdict?, record.units?);
        let stands = !revised.contains(&*record.id) && units != Units::default();
        stands.then_some((record, verdict, units, &**traffic))
    })
}

/// The ids of records that another one replaces.
fn revised(records: &[Record]) -> BTreeSet<&str> {
    let traffic = records.iter().filter_map(|record| match &record.body {
        Body::Traffic(traffic) => Some(traffic),
        _ => None,
    });
    traffic
        .flat_map(|traffic| &traffic.revises)
        .map(|id| &**id)
        .collect()
}

/// The reasons of `unverifiable`, each of which has a counter.
fn is_loss(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RingLost
            | Reason::StreamGap
            | Reason::StreamMismatch
            | Reason::Preexisting
            | Reason::BeforeStart
            | Reason::AgentDown
            | Reason::NoBytes
            | Reason::NoLog
            | Reason::LogFormatUnknown
            | Reason::LineAmbiguous
            | Reason::LineLost
            | Reason::Evicted
            | Reason::Mptcp
            | Reason::HpackUnknownEntry
    )
}

fn add_each<K: Ord + Copy>(sums: &mut BTreeMap<K, Units>, others: &BTreeMap<K, Units>) {
    for (key, units) in others {
        let sum = sums.entry(*key).or_default();
        *sum = sum.plus(*units);
    }
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}
