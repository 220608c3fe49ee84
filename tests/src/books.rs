//! The double-entry books, added up again from the received records alone.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::{Add, AddAssign},
};

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::records::{Record, Records};

/// The reasons of `unverifiable`: those that the ledger's `lost` counts.
const LOSSES: [&str; 14] = [
    "ring_lost",
    "stream_gap",
    "stream_mismatch",
    "preexisting",
    "before_start",
    "agent_down",
    "no_bytes",
    "no_log",
    "log_format_unknown",
    "line_ambiguous",
    "line_lost",
    "evicted",
    "mptcp",
    "hpack_unknown_entry",
];

/// Both sides of the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Units {
    /// What the kernel saw.
    pub observed: i64,
    /// What the proxy logged.
    pub logged: i64,
}

impl Units {
    /// Reads `{"observed":n,"logged":n}`; what is absent is 0.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        Self {
            observed: value["observed"].as_i64().unwrap_or(0),
            logged: value["logged"].as_i64().unwrap_or(0),
        }
    }

    fn negative(self) -> Self {
        Self {
            observed: -self.observed,
            logged: -self.logged,
        }
    }
}

impl Add for Units {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            observed: self.observed + other.observed,
            logged: self.logged + other.logged,
        }
    }
}

impl AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What the books say, once they add up.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Units of each verdict.
    pub verdicts: BTreeMap<String, Units>,
    /// Units of each reason of `unverifiable`.
    pub lost: BTreeMap<String, Units>,
    /// Lines of the proxies' containers that are no access log.
    pub other_lines: u64,
    /// How many ledger records there were.
    pub ledgers: usize,
}

impl Books {
    /// The units of a verdict.
    #[must_use]
    pub fn units(&self, verdict: &str) -> Units {
        self.verdicts.get(verdict).copied().unwrap_or_default()
    }
}

pub(crate) fn audit(records: &Records) -> Result<Books> {
    let mut by_start: BTreeMap<&str, BTreeMap<u64, &Record>> = BTreeMap::new();
    for record in records.all() {
        let (start, number) = record.number()?;
        by_start.entry(start).or_default().insert(number, record);
    }
    let mut auditor = Auditor::default();
    for (start, records) in &by_start {
        auditor.audit_start(start, records);
    }
    if auditor.books.ledgers == 0 {
        auditor.complain("expected at least one ledger record, got none");
    }
    if !auditor.complaints.is_empty() {
        bail!(
            "the books do not add up:\n{}",
            auditor.complaints.join("\n")
        );
    }
    Ok(auditor.books)
}

#[derive(Default)]
struct Auditor {
    books: Books,
    complaints: Vec<String>,
}

impl Auditor {
    fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// One start of the agent: a chain of ledger records from its first to its last.
    fn audit_start(&mut self, start: &str, records: &BTreeMap<u64, &Record>) {
        self.check_numbers(start, records);
        let ledgers: Vec<&Record> = records
            .values()
            .copied()
            .filter(|record| record.kind() == "ledger")
            .collect();
        let Some(last) = ledgers.last() else { return };
        // What came after the last ledger record is not in the books yet.
        let end = last.value()["ids"][1].as_u64().unwrap_or(0);

        let mut told = BTreeMap::new();
        let mut told_lost = BTreeMap::new();
        let mut opening = Units::default();
        let mut next_id = None;
        for record in &ledgers {
            let (id, ledger) = (record.id(), record.value());
            self.check_equation(id, &ledger);
            for workload in ledger["workloads"].as_array().into_iter().flatten() {
                self.check_equation(&format!("{id} {workload}"), workload);
            }
            if Units::read(&ledger["opening"]) != opening {
                self.complain(format!("{}: opening is not {opening:?}", id));
            }
            opening = Units::read(&ledger["closing"]);
            let (first, last) = (ledger["ids"][0].as_u64(), ledger["ids"][1].as_u64());
            if next_id.is_some() && next_id != first {
                self.complain(format!("{}: ids begin at {first:?}, not {next_id:?}", id));
            }
            next_id = last.map(|last| last + 1);
            add_object(&mut told, &ledger["verdicts"], 1);
            add_object(&mut told, &ledger["withdrawn"], -1);
            add_object(&mut told_lost, &ledger["lost"], 1);
            self.books.other_lines += ledger["other_lines"].as_u64().unwrap_or(0);
        }
        self.books.ledgers += ledgers.len();

        let booked: Vec<&Record> = records.range(..=end).map(|(_, record)| *record).collect();
        let (found, found_lost) = add_up(&booked);
        self.compare(start, "verdict", &told, &found);
        self.compare(start, "loss", &told_lost, &found_lost);
        add_map(&mut self.books.verdicts, found);
        add_map(&mut self.books.lost, found_lost);
    }

    /// Sequence numbers have no holes, unless a `gap` record tells of one.
    fn check_numbers(&mut self, start: &str, records: &BTreeMap<u64, &Record>) {
        let told: Vec<(u64, u64)> = records
            .values()
            .filter(|record| record.kind() == "lifecycle")
            .filter_map(|record| gap(&record.value()))
            .collect();
        let numbers: Vec<u64> = records.keys().copied().collect();
        for pair in numbers.windows(2) {
            let mut missing = (pair[0] + 1)..pair[1];
            if !missing.all(|number| {
                told.iter()
                    .any(|(first, last)| (*first..=*last).contains(&number))
            }) {
                self.complain(format!(
                    "{start}: no record between {} and {}",
                    pair[0], pair[1]
                ));
            }
        }
    }

    /// opening + new + withdrawn = Σ verdicts + closing
    fn check_equation(&mut self, place: &str, ledger: &Value) {
        if ledger["verdicts"].is_null() {
            return;
        }
        let sum = |key: &str| {
            let units = ledger[key].as_object().into_iter().flatten();
            units.fold(Units::default(), |sum, (_, value)| sum + Units::read(value))
        };
        let left = Units::read(&ledger["opening"]) + Units::read(&ledger["new"]) + sum("withdrawn");
        let right = sum("verdicts") + Units::read(&ledger["closing"]);
        if left != right {
            self.complain(format!("{place}: {left:?} came in, {right:?} went out"));
        }
    }

    fn compare(
        &mut self,
        start: &str,
        what: &str,
        told: &BTreeMap<String, Units>,
        found: &BTreeMap<String, Units>,
    ) {
        let names: BTreeSet<&String> = told.keys().chain(found.keys()).collect();
        for name in names {
            let told = told.get(name).copied().unwrap_or_default();
            let found = found.get(name).copied().unwrap_or_default();
            if told != found {
                self.complain(format!(
                    "{start}: {what} {name}: the ledger says {told:?}, the records {found:?}"
                ));
            }
        }
    }
}

type Sums = BTreeMap<String, Units>;

/// Units of the standing records by verdict, and of the unverifiable ones by reason.
fn add_up(records: &[&Record]) -> (Sums, Sums) {
    let revised: HashSet<&str> = records.iter().flat_map(|record| record.revises()).collect();
    let (mut verdicts, mut lost) = (Sums::new(), Sums::new());
    for record in records {
        if revised.contains(record.id()) || record.verdict().is_empty() {
            continue;
        }
        *verdicts.entry(record.verdict().to_owned()).or_default() += record.units();
        if record.verdict() == "unverifiable" {
            let reasons = record.reasons();
            let reason = reasons.iter().find(|reason| LOSSES.contains(reason));
            let reason = reason.copied().unwrap_or("no reason");
            *lost.entry(reason.to_owned()).or_default() += record.units();
        }
    }
    (verdicts, lost)
}

fn add_object(sums: &mut Sums, object: &Value, sign: i64) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let units = Units::read(value);
        let units = if sign < 0 { units.negative() } else { units };
        *sums.entry(name.clone()).or_default() += units;
    }
}

fn add_map(sums: &mut Sums, more: Sums) {
    for (name, units) in more {
        *sums.entry(name).or_default() += units;
    }
}

/// The range of sequence numbers that a `gap` record tells.
fn gap(record: &Value) -> Option<(u64, u64)> {
    let told = &record["lifecycle"];
    let number = |index: usize| {
        let id = told["ids"][index].as_str()?;
        id.rsplit_once('-')?.1.parse().ok()
    };
    (told["event"] == "gap").then_some((number(0)?, number(1)?))
}
