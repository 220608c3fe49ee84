//! Lines that were written twice.
//!
//! A log with two sinks writes every line twice, perhaps in two formats; there a second line is
//! as good as the first. In any other log it was repeated by somebody. Which of both a log is,
//! a sample of its lines tells: of those whose time for a second one has passed, almost all or
//! almost none have it. While that is open, a copy waits.

use std::{collections::VecDeque, time::Duration};

use super::input::{Entry, Line};
use crate::{
    http::ConnectionId,
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Lines of a connection that are remembered to know them again.
const KEPT_WHOLE: usize = 256;

/// Of these, the ones that are known again in another format.
const KEPT_FIELDS: usize = 32;

/// Lines in a sample.
const SAMPLED: usize = 64;

/// A log that doubles its lines leaves one of so many single: a hole, a late one.
const DOUBLES_TO_A_SINGLE: usize = 8;

/// Lines that were read, to know them again.
#[derive(Debug, Default)]
pub(super) struct Told {
    wholes: VecDeque<Fingerprint>,
    fields: VecDeque<Fields>,
}

/// What two lines of one request have in common, so far as both formats have it.
#[derive(Clone, Copy, Debug)]
struct Fields {
    start: Timestamp,
    path: Option<Fingerprint>,
    status: Option<u16>,
    request_id: Option<Fingerprint>,
    numbers: [Option<u64>; 3],
}

/// Which lines of a pod's log have a copy, and the copies that wait.
#[derive(Debug, Default)]
pub(super) struct Copies {
    sample: VecDeque<Sampled>,
    pub(super) waiting: Vec<Copy>,
}

/// A line that says what another said before.
#[derive(Debug)]
pub(super) struct Copy {
    /// The connection that it names, and which side of the pod that is.
    pub(super) of: Option<(ConnectionId, Side)>,
    pub(super) line: Box<Line>,
}

#[derive(Debug)]
struct Sampled {
    time: Timestamp,
    told: Told,
    doubled: bool,
    may_be_half: bool,
}

impl Copy {
    /// The side of the connection that it names.
    pub(super) fn side(&self) -> Option<Side> {
        self.of.map(|(_, side)| side)
    }
}

impl Told {
    /// Whether a line says what one of these said; if not it is now one of these.
    pub(super) fn is_copy(&mut self, entry: &Entry) -> bool {
        let fields = Fields::of(entry);
        if self.knows(entry, fields.as_ref()) {
            return true;
        }
        if let Some(whole) = entry.whole {
            keep(&mut self.wholes, whole, KEPT_WHOLE);
        }
        if let Some(fields) = fields {
            keep(&mut self.fields, fields, KEPT_FIELDS);
        }
        false
    }

    fn knows(&self, entry: &Entry, fields: Option<&Fields>) -> bool {
        let same_whole = entry
            .whole
            .is_some_and(|whole| self.wholes.contains(&whole));
        let mut known = self.fields.iter().rev();
        same_whole || fields.is_some_and(|fields| known.any(|other| fields.is_of_same(other)))
    }
}

impl Fields {
    fn of(entry: &Entry) -> Option<Self> {
        Some(Self {
            start: entry.start_time?,
            path: entry.path.map(|path| path.bare_normalized),
            status: entry.response_code,
            request_id: entry.request_id,
            numbers: [
                entry.duration_milliseconds,
                entry.bytes_received,
                entry.bytes_sent,
            ],
        })
    }

    /// Whether both tell of one request in two formats: nothing differs, but one says more than the
    /// other, neither path nor status. Where both say alike much they are of one format, and the
    /// same only if they are equal as a whole.
    fn is_of_same(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(ours: &[Option<T>], others: &[Option<T>]) -> bool {
            let mut both = ours.iter().zip(others);
            both.all(|pair| !matches!(pair, (Some(our), Some(other)) if our != other))
        }
        let same = |fields: &Self| (fields.start, fields.path, fields.status);
        same(self) == same(other)
            && self.shape() != other.shape()
            && agree(&[self.request_id], &[other.request_id])
            && agree(&self.numbers, &other.numbers)
    }

    fn shape(&self) -> [bool; 4] {
        let [lasted, received, sent] = self.numbers.map(|number| number.is_some());
        [self.request_id.is_some(), lasted, received, sent]
    }
}

impl Copies {
    /// A line was read that is no copy. `grace`: how long its copy may take. `may_be_half`: it may
    /// be the copy of one that was not read.
    pub(super) fn first(&mut self, line: &Line, grace: Duration, may_be_half: bool) {
        // So far apart that the sample is as old as the time that a copy may take.
        let apart = grace / 16;
        let is_full = self.sample.len() > SAMPLED / 2;
        let soon = |last: &Sampled| line.time < last.time + apart;
        let Some(entry) = line.entry() else { return };
        if is_full && self.sample.back().is_some_and(soon) {
            return;
        }
        let mut told = Told::default();
        told.is_copy(entry);
        let sampled = Sampled {
            time: line.time,
            told,
            doubled: false,
            may_be_half,
        };
        keep(&mut self.sample, sampled, SAMPLED);
    }

    /// A line was read that is a copy.
    pub(super) fn copy(&mut self, entry: &Entry) {
        let fields = Fields::of(entry);
        let of_it = |sampled: &&mut Sampled| sampled.told.knows(entry, fields.as_ref());
        if let Some(sampled) = self.sample.iter_mut().rev().find(of_it) {
            sampled.doubled = true;
        }
    }

    /// Lines are missing: what is single now proves nothing.
    pub(super) fn hole(&mut self) {
        self.sample.clear();
    }

    /// Whether this log writes its lines twice; none while that is open for a copy stamped `time`.
    pub(super) fn are_usual(
        &self,
        time: Timestamp,
        read_until: Timestamp,
        grace: Duration,
    ) -> Option<bool> {
        let (mut doubles, mut singles) = (0, 0);
        let telling = |sampled: &&Sampled| sampled.doubled || !sampled.may_be_half;
        for sampled in self.sample.iter().filter(telling) {
            if sampled.doubled {
                doubles += 1;
            } else if sampled.time + grace <= read_until {
                singles += 1;
            } else if sampled.time <= time {
                return None;
            }
        }
        if singles * DOUBLES_TO_A_SINGLE > doubles {
            return Some(false);
        }
        (doubles >= 2).then_some(true)
    }
}

/// What is written while an exchange goes on, or beside its own line (`ACCESS_LOG_TYPE`).
pub(super) fn is_interim(entry: &Entry) -> bool {
    let kind = entry.access_log_type.as_deref().unwrap_or_default();
    [
        "Start",
        "Periodic",
        "Connected",
        "UpstreamEnd",
        "Established",
    ]
    .iter()
    .any(|end| kind.ends_with(end))
}

fn keep<T>(kept: &mut VecDeque<T>, new: T, most: usize) {
    kept.push_back(new);
    if kept.len() > most {
        kept.pop_front();
    }
}
