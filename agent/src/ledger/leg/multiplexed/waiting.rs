//! What waits for its other half, to be found by what both halves say.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{
    ledger::input::{Exchange, Line},
    record::Fingerprint,
    timestamp::Timestamp,
};

/// An exchange or a line.
pub(super) trait Half {
    /// When it was there: where the other half is looked for in time.
    fn moment(&self) -> Timestamp;
    /// The normalised path without its query, if it is known.
    fn path(&self) -> Option<Fingerprint>;
    /// The request's id, if it is known.
    fn request_id(&self) -> Option<Fingerprint>;
}

/// An exchange ended at its moment.
impl Half for Exchange {
    fn moment(&self) -> Timestamp {
        self.end
    }

    fn path(&self) -> Option<Fingerprint> {
        self.path.map(|path| path.bare_normalized)
    }

    fn request_id(&self) -> Option<Fingerprint> {
        self.request_id
    }
}

/// A line was stamped at its moment.
impl Half for Line {
    fn moment(&self) -> Timestamp {
        self.time
    }

    fn path(&self) -> Option<Fingerprint> {
        Some(self.entry()?.path?.bare_normalized)
    }

    fn request_id(&self) -> Option<Fingerprint> {
        self.entry()?.request_id
    }
}

/// Halves of one kind, by their number.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    halves: BTreeMap<u64, Box<T>>,
    by_moment: BTreeSet<(Timestamp, u64)>,
    by_path: BTreeSet<(Option<Fingerprint>, Timestamp, u64)>,
    by_request_id: BTreeSet<(Fingerprint, Timestamp, u64)>,
}

impl<T: Half> Waiting<T> {
    pub(super) fn new() -> Self {
        Self {
            halves: BTreeMap::new(),
            by_moment: BTreeSet::new(),
            by_path: BTreeSet::new(),
            by_request_id: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, number: u64, half: Box<T>) {
        let moment = half.moment();
        self.by_moment.insert((moment, number));
        self.by_path.insert((half.path(), moment, number));
        if let Some(id) = half.request_id() {
            self.by_request_id.insert((id, moment, number));
        }
        self.halves.insert(number, half);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Box<T>> {
        let half = self.halves.remove(&number)?;
        let moment = half.moment();
        self.by_moment.remove(&(moment, number));
        self.by_path.remove(&(half.path(), moment, number));
        if let Some(id) = half.request_id() {
            self.by_request_id.remove(&(id, moment, number));
        }
        Some(half)
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.halves.get(&number).map(|half| &**half)
    }

    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }

    /// In the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.halves.iter().map(|(number, half)| (*number, &**half))
    }

    pub(super) fn drain(&mut self) -> Vec<Box<T>> {
        let halves = std::mem::replace(self, Self::new()).halves;
        halves.into_values().collect()
    }

    /// The earliest moment of any.
    pub(super) fn first_moment(&self) -> Option<Timestamp> {
        self.by_moment.first().map(|(moment, _)| *moment)
    }

    /// Those of this time, in its order.
    pub(super) fn in_time(
        &self,
        time: RangeInclusive<Timestamp>,
    ) -> impl Iterator<Item = (u64, &T)> {
        let range = |(from, to)| (from, 0)..=(to, u64::MAX);
        let found = ends(&time).map(|ends| self.by_moment.range(range(ends)));
        self.of(found.into_iter().flatten().map(|(_, number)| *number))
    }

    /// Those with this path, or whose path is not known, of this time and in its order.
    pub(super) fn with_path(
        &self,
        path: Option<Fingerprint>,
        time: RangeInclusive<Timestamp>,
    ) -> impl Iterator<Item = (u64, &T)> {
        let range = |(from, to)| (path, from, 0)..=(path, to, u64::MAX);
        let found = ends(&time).map(|ends| self.by_path.range(range(ends)));
        self.of(found.into_iter().flatten().map(|(_, _, number)| *number))
    }

    /// Those with this id of the request, of this time and in its order.
    pub(super) fn with_request_id(
        &self,
        id: Fingerprint,
        time: RangeInclusive<Timestamp>,
    ) -> impl Iterator<Item = (u64, &T)> {
        let range = |(from, to)| (id, from, 0)..=(id, to, u64::MAX);
        let found = ends(&time).map(|ends| self.by_request_id.range(range(ends)));
        self.of(found.into_iter().flatten().map(|(_, _, number)| *number))
    }

    fn of(&self, numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = (u64, &T)> {
        numbers.filter_map(|number| Some((number, self.get(number)?)))
    }
}

/// The ends of a time; none if it ends before it begins, which the sets would not take.
fn ends(time: &RangeInclusive<Timestamp>) -> Option<(Timestamp, Timestamp)> {
    (time.start() <= time.end()).then(|| (*time.start(), *time.end()))
}
