//! Received records, read without any code of the agent's.

mod record;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    str,
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

pub use record::{ACCUSING, Record};

use crate::books::{self, Books, Units};

/// The records of a stream, each id once, in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub struct Records {
    all: Vec<Record>,
    places: HashMap<String, usize>,
    /// The ids that another record replaces.
    revised: HashSet<String>,
    repeated: usize,
}

impl Records {
    /// Reads newline-delimited JSON.
    ///
    /// # Errors
    ///
    /// If a line is no record, or one id came with two contents.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        records.extend(bytes)?;
        Ok(records)
    }

    /// Adds what came later.
    ///
    /// # Errors
    ///
    /// If a line is no record, or one id came with two contents.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        for line in str::from_utf8(bytes)?.lines() {
            let record = Record::parse(line).with_context(|| format!("in {line}"))?;
            match self.places.get(record.id()) {
                None => self.add(record),
                Some(place) => {
                    let before = self.all[*place].line();
                    ensure!(before == line, "one id, two contents: {before} and {line}");
                    self.repeated += 1;
                }
            }
        }
        Ok(())
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Record] {
        &self.all
    }

    /// How many lines came again, as after a broken connection.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// Those of which `holds` is true, and the others.
    #[must_use]
    pub fn partition(self, holds: impl Fn(&Record) -> bool) -> (Self, Self) {
        let (those, others) = self.all.into_iter().partition(holds);
        (Self::of(those), Self::of(others))
    }

    fn of(all: Vec<Record>) -> Self {
        let mut records = Self::default();
        for record in all {
            records.add(record);
        }
        records
    }

    fn add(&mut self, record: Record) {
        self.places.insert(record.id().to_owned(), self.all.len());
        self.revised.extend(record.revises().map(str::to_owned));
        self.all.push(record);
    }

    /// Those that no other record replaces.
    #[must_use]
    pub fn standing(&self) -> Vec<&Record> {
        self.find(|_| true)
    }

    /// Those that stand and of which `holds` is true.
    #[must_use]
    pub fn find(&self, holds: impl Fn(&Record) -> bool) -> Vec<&Record> {
        let all = self.all.iter();
        all.filter(|record| holds(record) && !self.revised.contains(record.id()))
            .collect()
    }

    /// The standing `http` records of a path at one side of a pod.
    #[must_use]
    pub fn http(&self, pod: &str, side: &str, path: &str) -> Vec<&Record> {
        self.find(|record| {
            record.kind() == "http"
                && record.pod() == pod
                && record.side() == side
                && record.path() == path
        })
    }

    /// The standing records that accuse somebody.
    #[must_use]
    pub fn accusing(&self) -> Vec<&Record> {
        self.find(Record::accuses)
    }

    /// Whether the books closed without anything pending in an interval that began after `time`.
    #[must_use]
    pub fn are_settled_since(&self, time: Timestamp) -> bool {
        let Some(ledger) = self.last_ledger() else {
            return false;
        };
        let from = ledger.text("/from").parse::<Timestamp>();
        from.is_ok_and(|from| from >= time)
            && Units::read(&ledger.value()["closing"]) == Units::default()
    }

    fn last_ledger(&self) -> Option<&Record> {
        let mut latest = self.all.iter().rev();
        latest.find(|record| record.kind() == "ledger")
    }

    /// Whether an agent told its end.
    #[must_use]
    pub fn have_stopped(&self) -> bool {
        self.all
            .iter()
            .any(|record| record.kind() == "lifecycle" && record.line().contains("\"stop\""))
    }

    /// Adds the books up again and compares with what the agent says.
    ///
    /// # Errors
    ///
    /// If there is no ledger, or anything does not add up; the message has all that does not.
    pub fn audit(&self) -> Result<Books> {
        books::audit(self)
    }

    /// How many there are of each kind, verdict, side and pod, and what the books closed with last.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in &self.all {
            let words = [record.kind(), record.verdict(), record.side(), record.pod()];
            *counts.entry(words.join(" ")).or_default() += 1;
        }
        let books = self.last_ledger().map_or("never closed", Record::line);
        format!(
            "{} records: {counts:#?}\nthe books: {books}",
            self.all.len()
        )
    }
}
