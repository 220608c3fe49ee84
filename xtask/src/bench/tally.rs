//! What the collector stored, added up while it comes: a run has more records than fit in memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use lab::books::Units;
use serde_json::Value;

/// Where in a record its kind stands: behind an id and a time of known lengths.
const HEAD_BYTES: usize = 128;

/// Reads the records of one agent as they are stored. Files that are read and closed are removed.
pub(super) struct Tally {
    directory: PathBuf,
    /// How far each file was read.
    positions: BTreeMap<PathBuf, u64>,
    pub(super) totals: Totals,
}

impl Tally {
    /// Begins behind everything that is there.
    pub(super) fn after_what_is_in(directory: PathBuf) -> Result<Self> {
        let mut positions = BTreeMap::new();
        for file in files_below(&directory)? {
            let length = fs::metadata(&file)?.len();
            positions.insert(file, length);
        }
        Ok(Self {
            directory,
            positions,
            totals: Totals::default(),
        })
    }

    /// Takes in what came since.
    pub(super) fn read_on(&mut self) -> Result<()> {
        let files = files_below(&self.directory)?;
        for (number, file) in files.iter().enumerate() {
            let position = self.positions.entry(file.clone()).or_default();
            *position += self
                .totals
                .read(file, *position)
                .with_context(|| format!("reading {}", file.display()))?;
            // Names begin with a time: the last file is the one that grows.
            if number + 1 < files.len() && *position == fs::metadata(file)?.len() {
                fs::remove_file(file)?;
                self.positions.remove(file);
            }
        }
        Ok(())
    }
}

/// What the ledger records say, added up, and how many records came.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Units of each verdict.
    pub(super) verdicts: BTreeMap<String, Units>,
    /// Units that nobody could verify, by reason.
    pub(super) lost: BTreeMap<String, Units>,
    /// Records that came, up to the last ledger record.
    pub(super) received: u64,
    /// Records that were sent, up to the last ledger record.
    pub(super) sent: u64,
    /// Records that came since the last ledger record.
    unaccounted: u64,
    pending: Units,
    interval_began: Option<Timestamp>,
}

impl Totals {
    /// Whether nothing was pending at the end of an interval that began after `time`.
    pub(super) fn are_settled_since(&self, time: Timestamp) -> bool {
        self.interval_began.is_some_and(|began| began >= time) && self.pending == Units::default()
    }

    /// What came after `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            verdicts: difference(&self.verdicts, &earlier.verdicts),
            lost: difference(&self.lost, &earlier.lost),
            received: self.received - earlier.received,
            sent: self.sent - earlier.sent,
            ..self.clone()
        }
    }

    /// Why figures of a run with these records do not count; `all_match`: nothing but `matched`
    /// will do.
    pub(super) fn objections(&self, all_match: bool) -> Vec<String> {
        let mut objections = Vec::new();
        for (reason, units) in &self.lost {
            objections.push(format!(
                "lost ({reason}): {} exchanges, {} lines",
                units.observed, units.logged
            ));
        }
        for (verdict, units) in &self.verdicts {
            let is_expected = match verdict.as_str() {
                "matched" => true,
                "outside" => !all_match,
                // Told above, by reason.
                "unverifiable" => true,
                _ => false,
            };
            if !is_expected {
                objections.push(format!(
                    "{verdict}: {} exchanges, {} lines",
                    units.observed, units.logged
                ));
            }
        }
        if self.received < self.sent {
            objections.push(format!(
                "{} of {} records did not come to the collector",
                self.sent - self.received,
                self.sent
            ));
        }
        objections
    }

    /// Reads whole lines from a place on, and returns how many bytes they were.
    fn read(&mut self, file: &Path, position: u64) -> Result<u64> {
        let mut file = File::open(file)?;
        file.seek(SeekFrom::Start(position))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let (mut line, mut length) = (Vec::new(), 0);
        while file.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            length += line.len() as u64;
            self.unaccounted += 1;
            let head = &line[..line.len().min(HEAD_BYTES)];
            if head.windows(15).any(|part| part == br#""kind":"ledger""#) {
                self.add(&serde_json::from_slice(&line)?);
            }
            line.clear();
        }
        Ok(length)
    }

    fn add(&mut self, ledger: &Value) {
        add(&mut self.verdicts, &ledger["verdicts"]);
        add(&mut self.lost, &ledger["lost"]);
        let mut withdrawn = BTreeMap::new();
        add(&mut withdrawn, &ledger["withdrawn"]);
        self.verdicts = difference(&self.verdicts, &withdrawn);
        if let (Some(first), Some(last)) = (ledger["ids"][0].as_u64(), ledger["ids"][1].as_u64()) {
            self.sent += last + 1 - first;
        }
        self.received += std::mem::take(&mut self.unaccounted);
        self.pending = Units::read(&ledger["closing"]);
        let began = ledger["from"].as_str();
        self.interval_began = began.and_then(|began| began.parse().ok());
    }
}

fn add(sums: &mut BTreeMap<String, Units>, object: &Value) {
    for (name, units) in object.as_object().into_iter().flatten() {
        *sums.entry(name.clone()).or_default() += Units::read(units);
    }
}

/// `later` without `earlier`, and without what is 0 then.
fn difference(
    later: &BTreeMap<String, Units>,
    earlier: &BTreeMap<String, Units>,
) -> BTreeMap<String, Units> {
    let less = |(name, units): (&String, &Units)| {
        let before = earlier.get(name).copied().unwrap_or_default();
        let units = Units {
            observed: units.observed - before.observed,
            logged: units.logged - before.logged,
        };
        (units != Units::default()).then(|| (name.clone(), units))
    };
    later.iter().filter_map(less).collect()
}

/// All records' files, in the order in which they were begun.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension().is_some_and(|end| end == "ndjson") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use lab::books::Units;
    use serde_json::json;

    use super::Totals;

    fn units(observed: i64, logged: i64) -> Units {
        Units { observed, logged }
    }

    #[test]
    fn ledgers_are_added_and_earlier_ones_taken_off() {
        let mut totals = Totals::default();
        let ledger = json!({
            "from": "2026-11-22T07:25:10.806123Z",
            "verdicts": { "matched": { "observed": 3, "logged": 3 } },
            "withdrawn": { "matched": { "observed": 1, "logged": 1 } },
            "lost": { "ring_lost": { "observed": 2, "logged": 0 } },
            "closing": { "observed": 1, "logged": 0 },
            "ids": [0, 7],
        });
        totals.unaccounted = 8;
        totals.add(&ledger);
        let first = totals.clone();
        assert_eq!(first.verdicts["matched"], units(2, 2));
        assert_eq!((first.received, first.sent), (8, 8));
        assert!(!first.are_settled_since("2026-11-22T07:25:10Z".parse().unwrap()));

        totals.unaccounted = 4;
        totals.add(&json!({
            "from": "2026-11-22T07:25:12.806123Z",
            "verdicts": { "matched": { "observed": 5, "logged": 5 } },
            "closing": { "observed": 0, "logged": 0 },
            "ids": [8, 12],
        }));
        assert!(totals.are_settled_since("2026-11-22T07:25:12Z".parse().unwrap()));
        assert!(!totals.are_settled_since("2026-11-22T07:25:13Z".parse().unwrap()));
        let since = totals.since(&first);
        assert_eq!(since.verdicts["matched"], units(5, 5));
        assert_eq!((since.received, since.sent), (4, 5));
        assert!(since.lost.is_empty());
    }
}
