//! The evidence of the last records that are not `matched`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::wire::{Absence, RecordId};
use crate::{
    ledger::evidence::{Candidate, Evidence, Misfit, Subject},
    record::Verdict,
};

/// Records of each kind of verdict that are kept.
const MOST_RECORDS: usize = 10_000;

/// And no more bytes than this for each: a record and its evidence have some 1.2 KB.
const MOST_BYTES: usize = 16 << 20;

/// What is kept of a record.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The record as it was sent, with the newline that ends it.
    pub record: Arc<[u8]>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why it got it.
    pub evidence: Evidence,
}

/// The evidence of one start of the agent. Looking something up holds the lock for as long as a
/// binary search takes, whatever the one who asks does then.
#[derive(Debug)]
pub struct Store {
    start_id: String,
    state: Mutex<State>,
}

/// The proxies' own legs are a record each and would push out what somebody wants to know: what
/// is expected is kept apart from what accuses or is in doubt.
#[derive(Debug)]
struct State {
    /// The newest record of the agent.
    newest: u64,
    expected: Ring,
    accusing: Ring,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<(u64, Arc<Kept>)>,
    bytes: usize,
    most_bytes: usize,
    /// The newest that was dropped; 0: none.
    dropped: u64,
}

impl Store {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(start_id: String) -> Self {
        Self::with_bytes(start_id, MOST_BYTES)
    }

    fn with_bytes(start_id: String, most_bytes: usize) -> Self {
        let ring = || Ring {
            kept: VecDeque::new(),
            bytes: 0,
            most_bytes,
            dropped: 0,
        };
        Self {
            start_id,
            state: Mutex::new(State {
                newest: 0,
                expected: ring(),
                accusing: ring(),
            }),
        }
    }

    /// Keeps what came with some records, in their order; `newest` is the last of all records.
    pub fn keep(&self, newest: u64, batch: impl IntoIterator<Item = Kept>) {
        let mut state = self.state();
        state.newest = newest;
        for kept in batch {
            state.ring(kept.verdict).push(kept);
        }
    }

    /// What is kept of a record.
    ///
    /// # Errors
    /// Why nothing is.
    pub fn find(&self, id: &RecordId) -> Result<Arc<Kept>, Absence> {
        if id.start != self.start_id {
            let start_id = self.start_id.clone();
            return Err(Absence::AnotherStart { start_id });
        }
        let state = self.state();
        let newest = state.newest;
        if id.sequence > newest {
            return Err(Absence::NotYet { newest });
        }
        let found = state.accusing.find(id.sequence);
        if let Some(found) = found.or_else(|| state.expected.find(id.sequence)) {
            return Ok(found);
        }
        let (accusing, expected) = (state.accusing.dropped, state.expected.dropped);
        Err(match id.sequence > accusing.max(expected) {
            true => Absence::NothingToExplain,
            false => Absence::TooOld { accusing, expected },
        })
    }

    /// No update leaves the state half done, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ring(&mut self, verdict: Verdict) -> &mut Ring {
        match verdict {
            Verdict::Outside | Verdict::ProxyAnswered | Verdict::Matched => &mut self.expected,
            _ => &mut self.accusing,
        }
    }
}

impl Ring {
    fn push(&mut self, kept: Kept) {
        self.bytes += weight(&kept);
        self.kept
            .push_back((kept.evidence.sequence, Arc::new(kept)));
        while self.kept.len() > MOST_RECORDS || self.bytes > self.most_bytes {
            let Some((sequence, dropped)) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= weight(&dropped);
            self.dropped = sequence;
        }
    }

    fn find(&self, sequence: u64) -> Option<Arc<Kept>> {
        let at = self
            .kept
            .binary_search_by_key(&sequence, |(other, _)| *other)
            .ok()?;
        Some(Arc::clone(&self.kept[at].1))
    }
}

/// Roughly the bytes of memory that something takes.
fn weight(kept: &Kept) -> usize {
    let evidence = &kept.evidence;
    let log = evidence.log.as_ref();
    let places = log.into_iter().flat_map(|log| [&log.begin, &log.end]);
    let files: usize = places.flatten().map(|place| place.file.len()).sum();
    let ends = evidence.connection.as_ref().map_or(0, |_| 64);
    let candidates: usize = evidence.candidates.iter().map(weight_of_candidate).sum();
    size_of::<Kept>() + kept.record.len() + files + ends + candidates
}

fn weight_of_candidate(candidate: &Candidate) -> usize {
    let subject = match &candidate.subject {
        Subject::Line { place, what, .. } => {
            place.file.len() + what.as_ref().map_or(0, String::len)
        }
        Subject::Exchange { what, .. } => what.as_ref().map_or(0, String::len),
        Subject::Pair { .. } | Subject::Connection { .. } => 0,
    };
    let of_misfit = |misfit: &Misfit| match misfit {
        Misfit::Differs { field, kernel, log } => {
            let text = |value: &serde_json::Value| value.as_str().map_or(0, str::len);
            field.len() + text(kernel) + text(log)
        }
        _ => 32,
    };
    let misfits: usize = candidate.misfits.iter().map(of_misfit).sum();
    size_of::<Candidate>() + candidate.misfits.len() * size_of::<Misfit>() + subject + misfits
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Absence, Evidence, Kept, MOST_RECORDS, RecordId, Store, Verdict};

    pub(in crate::explain) fn kept(sequence: u64, verdict: Verdict) -> Kept {
        let text = format!(
            "{{\"id\":\"s-{sequence}\",\"verdict\":\"{}\",\"reasons\":[]}}\n",
            verdict.as_str()
        );
        Kept {
            record: text.into_bytes().into(),
            verdict,
            evidence: Evidence {
                sequence,
                ..Evidence::default()
            },
        }
    }

    fn id(sequence: u64) -> RecordId {
        RecordId {
            start: "s".into(),
            sequence,
        }
    }

    #[test]
    fn what_is_there_and_why_the_rest_is_not() {
        let store = Store::new("s".into());
        assert_eq!(
            store.find(&id(1)).unwrap_err(),
            Absence::NotYet { newest: 0 }
        );
        store.keep(9, [kept(3, Verdict::Unlogged), kept(5, Verdict::Outside)]);
        assert_eq!(store.find(&id(3)).unwrap().verdict, Verdict::Unlogged);
        assert_eq!(store.find(&id(5)).unwrap().evidence.sequence, 5);
        assert_eq!(store.find(&id(4)).unwrap_err(), Absence::NothingToExplain);
        assert_eq!(
            store.find(&id(10)).unwrap_err(),
            Absence::NotYet { newest: 9 }
        );
        let other = RecordId {
            start: "t".into(),
            sequence: 3,
        };
        let start_id = "s".to_owned();
        assert_eq!(
            store.find(&other).unwrap_err(),
            Absence::AnotherStart { start_id }
        );
    }

    #[test]
    fn what_is_expected_does_not_push_out_what_accuses() {
        let store = Store::new("s".into());
        store.keep(1, [kept(1, Verdict::Unlogged)]);
        let most = MOST_RECORDS as u64;
        store.keep(
            most + 2,
            (2..=most + 2).map(|sequence| kept(sequence, Verdict::Outside)),
        );
        assert!(store.find(&id(1)).is_ok() && store.find(&id(3)).is_ok());
        let absence = store.find(&id(2)).unwrap_err();
        assert_eq!(
            absence,
            Absence::TooOld {
                accusing: 0,
                expected: 2
            }
        );
        store.keep(
            2 * most + 3,
            (most + 3..=2 * most + 3).map(|sequence| kept(sequence, Verdict::Unseen)),
        );
        assert!(store.find(&id(1)).is_err() && store.find(&id(most + 4)).is_ok());
    }

    #[test]
    fn bytes_are_bounded() {
        let store = Store::with_bytes("s".into(), 64 << 10);
        for sequence in 1..=1000 {
            let mut kept = kept(sequence, Verdict::Unseen);
            kept.record = vec![b' '; 1000].into();
            store.keep(sequence, [kept]);
        }
        let state = store.state();
        assert!(state.accusing.bytes <= 64 << 10 && state.accusing.kept.len() > 20);
        assert!(state.accusing.kept.len() < 66);
        let rest: usize = state
            .accusing
            .kept
            .iter()
            .map(|(_, kept)| super::weight(kept))
            .sum();
        assert_eq!(rest, state.accusing.bytes);
    }
}
