//! The books of each pod at a glance, for metrics.

use std::{collections::BTreeMap, time::Duration};

use super::Ledger;
use crate::{
    record::{Units, Verdict},
    timestamp::Timestamp,
};

/// The books of one pod, since its books were opened.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSummary<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Namespace and name, if its log directory was seen.
    pub names: Option<(&'a str, &'a str)>,
    /// What was judged; it only grows: a verdict that was taken back stays counted.
    pub judged: BTreeMap<Verdict, Units>,
    /// What waits for its verdict.
    pub pending: Units,
    /// How far the reader of its log is behind; none where no log is read, or nothing more can come.
    pub lag: Option<Duration>,
}

impl Ledger {
    /// All pods whose books are open.
    pub fn pods(&self) -> impl Iterator<Item = PodSummary<'_>> {
        self.pods.iter().map(|(uid, pod)| PodSummary {
            uid,
            names: self
                .roles
                .pod(uid)
                .map(|names| (&names.namespace[..], &names.name[..])),
            judged: pod.account.judged(),
            pending: pod.account.pending(),
            lag: pod
                .read_until
                .filter(|until| *until < Timestamp::MAX)
                .map(|until| self.captured_until.since(until)),
        })
    }
}
