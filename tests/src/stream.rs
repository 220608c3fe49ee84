//! What one sink got of the ids of a start: received, held back by its filter, told as lost.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::records::{Record, Records};

/// The ids of one start, from the first that this sink received to the last that is in the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// How many ids there were.
    pub ids: u64,
    /// Records that came, each counted once.
    pub received: u64,
    /// Records that the ledger records say the filter held back.
    pub filtered: u64,
    /// Records that the `gap` records of this sink say were lost.
    pub lost: u64,
}

impl Stream {
    /// Every id is accounted for, and none twice.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.received + self.filtered + self.lost == self.ids
    }
}

impl Records {
    /// What the sink, known by its endpoint, got of each start, by start id.
    ///
    /// # Errors
    ///
    /// If an id or a `gap` record has an unexpected form.
    pub fn streams(&self, sink: &str) -> Result<BTreeMap<String, Stream>> {
        let mut starts: BTreeMap<String, Vec<(u64, &Record)>> = BTreeMap::new();
        for record in self.all() {
            let (start, number) = record.number()?;
            let records = starts.entry(start.to_owned()).or_default();
            records.push((number, record));
        }
        starts
            .into_iter()
            .map(|(start, records)| Ok((start, stream(&records, sink)?)))
            .collect()
    }
}

fn stream(records: &[(u64, &Record)], sink: &str) -> Result<Stream> {
    let gaps: Vec<Value> = records
        .iter()
        .map(|(_, record)| record.value()["lifecycle"].clone())
        .filter(|told| told["event"] == "gap" && told["sink"] == sink)
        .collect();
    // The first of them may be lost.
    let lost = gaps.iter().filter_map(|gap| number(&gap["ids"][0]));
    let first = records.iter().map(|(number, _)| *number).chain(lost).min();
    let ledgers = records
        .iter()
        .filter(|(_, record)| record.kind() == "ledger")
        .map(|(_, record)| record.value());
    let ledgers: Vec<Value> = ledgers.collect();
    let last = ledgers
        .iter()
        .filter_map(|ledger| ledger["ids"][1].as_u64());
    let (Some(first), Some(last)) = (first, last.max()) else {
        return Ok(Stream::default());
    };
    let mut stream = Stream {
        ids: (last + 1).saturating_sub(first),
        ..Stream::default()
    };
    let in_books = records
        .iter()
        .filter(|(number, _)| (first..=last).contains(number));
    stream.received = in_books.count() as u64;
    for gap in &gaps {
        stream.lost += gap["records"].as_u64().context("in a gap record")?;
    }
    let filtered = ledgers
        .iter()
        .filter_map(|ledger| ledger["filtered"][sink].as_u64());
    stream.filtered = filtered.sum();
    Ok(stream)
}

/// The sequence number in an id.
fn number(id: &Value) -> Option<u64> {
    id.as_str()?.rsplit_once('-')?.1.parse().ok()
}
