//! The highest sequence number stored of each start: what a resend is told apart by.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// For each start id the highest sequence number that is stored.
///
/// Numbers of one start come in order, so that one at or below the highest has come before; holes
/// are the filter's.
#[derive(Debug, Default)]
pub(super) struct Highest {
    starts: HashMap<Arc<str>, Start>,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    sequence: u64,
    /// When it was last raised, in raises.
    raised: u64,
}

/// The numbers as they were when a segment was begun; of that segment nothing is in them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The file name of the segment.
    pub(super) segment: String,
    /// Start ids, least recently raised first.
    highest: Vec<(String, u64)>,
}

impl Highest {
    pub(super) fn contains(&self, start: &str, sequence: u64) -> bool {
        self.starts
            .get(start)
            .is_some_and(|known| known.sequence >= sequence)
    }

    pub(super) fn raise(&mut self, start: &Arc<str>, sequence: u64) {
        self.clock += 1;
        let raised = self.clock;
        if let Some(known) = self.starts.get_mut(start) {
            known.sequence = known.sequence.max(sequence);
            known.raised = raised;
            return;
        }
        if self.starts.len() >= MOST_STARTS {
            let oldest = self
                .starts
                .iter()
                .min_by_key(|(_, start)| start.raised)
                .map(|(start, _)| Arc::clone(start));
            if let Some(oldest) = oldest {
                self.starts.remove(&oldest);
            }
        }
        self.starts
            .insert(Arc::clone(start), Start { sequence, raised });
    }

    pub(super) fn snapshot(&self, segment: &str) -> Snapshot {
        let mut starts: Vec<_> = self.starts.iter().collect();
        starts.sort_by_key(|(_, start)| start.raised);
        Snapshot {
            segment: segment.to_owned(),
            highest: starts
                .into_iter()
                .map(|(id, start)| (id.to_string(), start.sequence))
                .collect(),
        }
    }

    pub(super) fn restore(snapshot: &Snapshot) -> Self {
        let mut highest = Self::default();
        for (start, sequence) in &snapshot.highest {
            highest.raise(&Arc::from(start.as_str()), *sequence);
        }
        highest
    }
}

/// A sender has a new start id with each start. Only the last ones can still resend; one that was
/// forgotten and does would be stored twice, never lost.
const MOST_STARTS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Highest, MOST_STARTS};

    #[test]
    fn remembers_the_starts_that_were_last_heard() {
        let mut highest = Highest::default();
        let kept: Arc<str> = Arc::from("kept");
        for number in 0..2 * MOST_STARTS as u64 {
            highest.raise(&kept, number);
            highest.raise(&Arc::from(format!("start{number}")), 7);
        }
        let highest = Highest::restore(&highest.snapshot("segment"));
        assert_eq!(highest.starts.len(), MOST_STARTS);
        assert!(highest.contains("kept", 2 * MOST_STARTS as u64 - 1));
        assert!(!highest.contains("kept", 2 * MOST_STARTS as u64));
        assert!(!highest.contains("start0", 7));
    }
}
