//! Lines that were written twice.
//!
//! A log with two sinks writes every line twice, perhaps in two formats; there a second line is
//! as good as the first. In any other log it was repeated by somebody. Which of both a log is,
//! a sample of its lines tells: of those whose time for a second one has passed, almost all or
//! almost none have it. While that is open, a copy waits.

use std::{collections::VecDeque, time::Duration};

use super::{
    input::{Entry, Line},
    told::{Fields, Told},
};
use crate::{http::ConnectionId, record::Side, timestamp::Timestamp};

/// Lines in a sample.
const SAMPLED: usize = 64;

/// A log that doubles its lines leaves one of so many single: a hole, a late one.
const DOUBLES_TO_A_SINGLE: usize = 8;

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
    offset: u64,
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
        // One that waited for its connection comes again.
        let is_this = |last: &Sampled| (last.time, last.offset) == (line.time, line.offset);
        if self.sample.iter().any(is_this) {
            return;
        }
        let mut told = Told::default();
        told.is_copy(entry);
        let sampled = Sampled {
            time: line.time,
            offset: line.offset,
            told,
            doubled: false,
            may_be_half,
        };
        self.sample.push_back(sampled);
        if self.sample.len() > SAMPLED {
            self.sample.pop_front();
        }
    }

    /// A line was read that is a copy.
    pub(super) fn copy(&mut self, entry: &Entry) {
        let fields = Fields::of(entry);
        // Lines of shadows of one request are alike in these fields; each has a copy of its own.
        let of_it =
            |sampled: &&mut Sampled| !sampled.doubled && sampled.told.knows(entry, fields.as_ref());
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
