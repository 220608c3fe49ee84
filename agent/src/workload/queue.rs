//! Work that waits.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

/// Jobs in order, each at most once at a time.
#[derive(Debug)]
pub(super) struct JobQueue<T> {
    order: VecDeque<T>,
    queued: HashSet<T>,
}

/// More than all bounds of what is kept in mind: what does not fit is found by a rescan.
const MOST_JOBS: usize = 64 * 1024;

impl<T: Clone + Eq + Hash> JobQueue<T> {
    /// False if the queue is full.
    pub(super) fn push(&mut self, job: T) -> bool {
        if self.order.len() >= MOST_JOBS {
            return self.queued.contains(&job);
        }
        if self.queued.insert(job.clone()) {
            self.order.push_back(job);
        }
        true
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let job = self.order.pop_front()?;
        self.queued.remove(&job);
        Some(job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl<T> Default for JobQueue<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queued: HashSet::new(),
        }
    }
}
