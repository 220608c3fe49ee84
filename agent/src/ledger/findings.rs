//! The book of open findings.

pub(super) mod bypass;
mod proof;
mod unlogged;

use std::{collections::BTreeMap, sync::Arc};

use unlogged::Held;
pub(super) use unlogged::LATE_LINES;

use super::{Ledger, input::Line, tracked::Tracked};
use crate::{
    envoy::Sensitive,
    record::{Finding, FindingBody, FindingKind, FindingState, SensitivePlace, Workload},
    timestamp::Timestamp,
};

/// Records that a finding names.
const NAMED_RECORDS: usize = 100;

/// Findings that are open at once, of all pods and kinds; what is found beyond is in the records.
pub(super) const MOST_OPEN: usize = 16_384;

/// Findings that are open, by pod and kind; without a pod: of the node.
#[derive(Debug, Default)]
pub(super) struct Findings {
    open: BTreeMap<Key, OpenFinding>,
    /// What was found since the last input. It is told after the records that prove it.
    found: Vec<Found>,
    /// Pods with units without a line that are no finding yet.
    held: BTreeMap<Arc<str>, Held>,
}

type Key = (Option<Arc<str>>, FindingKind);

/// Something that was found.
#[derive(Debug)]
struct Found {
    key: Key,
    time: Timestamp,
    /// How much of it: units, connections, lines.
    count: u64,
    /// What proves it.
    record: Option<Arc<str>>,
    /// What had gone through the pod's sidecar before.
    carried_before: u64,
    /// Whether it goes on until [`Ledger::no_longer`].
    lasts: bool,
    /// Where a log holds what it must not.
    sensitive: Vec<SensitivePlace>,
}

/// One finding.
///
/// ```text
/// open ──(found again: told once an interval)──▶ open
///   └──(nothing new for an interval, and nothing that goes on)──▶ closed
/// ```
#[derive(Debug)]
struct OpenFinding {
    count: u64,
    /// `count` when it was told last.
    told: u64,
    first: Timestamp,
    last: Timestamp,
    /// When it was found last, by the capture's time.
    heard: Timestamp,
    /// How many of what was found go on: connections that are open.
    lasting: u64,
    /// What had gone through the pod's sidecar before.
    carried_before: u64,
    records: Vec<Arc<str>>,
    sensitive: Vec<SensitivePlace>,
}

impl Found {
    /// One thing that does not last.
    fn new(
        kind: FindingKind,
        uid: Option<&Arc<str>>,
        time: Timestamp,
        record: Option<Arc<str>>,
    ) -> Self {
        Self {
            key: (uid.cloned(), kind),
            time,
            count: 1,
            record,
            carried_before: 0,
            lasts: false,
            sensitive: Vec::new(),
        }
    }
}

impl Ledger {
    /// A line that `record` speaks of may hold what an access log must not.
    pub(super) fn find_sensitive(&mut self, line: &Line, record: &Arc<str>) {
        if line.sensitive.is_empty() {
            return;
        }
        let place = |found: &Sensitive| SensitivePlace {
            file: Arc::clone(&line.file),
            offset: line.offset,
            field: found.field.clone(),
            kind: found.kind,
        };
        let (uid, record) = (Some(&line.pod_uid), Some(Arc::clone(record)));
        self.findings.found.push(Found {
            sensitive: line.sensitive.iter().map(place).collect(),
            ..Found::new(FindingKind::SensitiveData, uid, line.time, record)
        });
    }

    /// How many findings of each kind are open; who observes has none.
    pub fn open_findings(&self) -> impl Iterator<Item = (FindingKind, u64)> {
        let count = |kind| {
            let of_kind = self.findings.open.keys().filter(|(_, open)| *open == kind);
            of_kind.count() as u64
        };
        let counts = FindingKind::ALL.map(|kind| (kind, count(kind)));
        counts.into_iter().filter(|_| !self.settings.observe)
    }

    /// Something was found in a pod (or on the node) at `time`, in a record or without one.
    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        uid: Option<&Arc<str>>,
        time: Timestamp,
        record: Option<Arc<str>>,
    ) {
        self.findings
            .found
            .push(Found::new(kind, uid, time, record));
    }

    /// What was found and goes on has ended, which `record` says.
    pub(super) fn no_longer(
        &mut self,
        kind: FindingKind,
        uid: Option<&Arc<str>>,
        record: Arc<str>,
    ) {
        self.open_what_was_found();
        if let Some(finding) = self.findings.open.get_mut(&(uid.cloned(), kind)) {
            finding.lasting = finding.lasting.saturating_sub(1);
            finding.heard = self.captured_until;
            finding.name(record);
        }
    }

    /// Puts what was found into the book, and tells what is new in it.
    pub(super) fn open_what_was_found(&mut self) {
        for found in std::mem::take(&mut self.findings.found) {
            self.open_or_add(found);
        }
    }

    fn open_or_add(&mut self, found: Found) {
        let now = self.captured_until;
        let open = &mut self.findings.open;
        let key = found.key;
        if open.len() >= MOST_OPEN && !open.contains_key(&key) {
            return;
        }
        let finding = open.entry(key.clone()).or_insert_with(|| OpenFinding {
            count: 0,
            told: 0,
            first: found.time,
            last: found.time,
            heard: now,
            lasting: 0,
            carried_before: found.carried_before,
            records: Vec::new(),
            sensitive: Vec::new(),
        });
        finding.count += found.count;
        finding.first = finding.first.min(found.time);
        finding.last = finding.last.max(found.time);
        finding.heard = now;
        finding.lasting += u64::from(found.lasts);
        if let Some(record) = found.record {
            finding.name(record);
        }
        let room = NAMED_RECORDS - finding.sensitive.len();
        let places = found.sensitive.into_iter().take(room);
        finding.sensitive.extend(places);
        if finding.told == 0 {
            self.tell_finding(&key, FindingState::Open, now);
        }
    }

    /// An interval ended: tells what grew, and closes what has stopped.
    pub(super) fn tell_findings(&mut self, now: Timestamp) {
        self.open_what_was_found();
        let keys: Vec<_> = self.findings.open.keys().cloned().collect();
        for key in keys {
            if !self.stands(&key, now) {
                self.close_finding(&key, now);
            } else if self.has_grown(&key) {
                self.tell_finding(&key, FindingState::Open, now);
            }
        }
    }

    /// The agent ends.
    pub(super) fn close_findings(&mut self, now: Timestamp) {
        self.release_all_held();
        self.open_what_was_found();
        let keys: Vec<_> = self.findings.open.keys().cloned().collect();
        for key in keys {
            self.close_finding(&key, now);
        }
    }

    fn close_finding(&mut self, key: &Key, now: Timestamp) {
        self.tell_finding(key, FindingState::Closed, now);
        self.findings.open.remove(key);
    }

    fn has_grown(&self, key: &Key) -> bool {
        let finding = self.findings.open.get(key);
        finding.is_some_and(|finding| finding.count > finding.told)
    }

    /// Whether what was found goes on.
    fn stands(&self, key: &Key, now: Timestamp) -> bool {
        let (Some(finding), (uid, kind)) = (self.findings.open.get(key), key) else {
            return false;
        };
        let pod = match uid {
            Some(uid) if self.roles.is_gone(uid) => return false,
            Some(uid) => self.pods.get(uid),
            None => None,
        };
        match kind {
            FindingKind::LoggingOff => pod.is_some_and(|pod| !pod.lines_ever),
            FindingKind::NoHttpLine => pod.is_some_and(|pod| {
                pod.all_connections().any(|id| {
                    matches!(self.connections.get(&id), Some(Tracked::Mesh(mesh))
                        if mesh.waits_for_http && mesh.entered < mesh.begun && !mesh.finished)
                })
            }),
            _ => {
                let quiet = now.since(finding.heard);
                finding.lasting > 0 || quiet < self.settings.interval
            }
        }
    }

    fn tell_finding(&mut self, key: &Key, state: FindingState, now: Timestamp) {
        let state = if self.settings.observe {
            FindingState::Observed
        } else {
            state
        };
        let (uid, kind) = key;
        let names = uid.as_ref().and_then(|uid| self.roles.pod(uid));
        let workload = Workload {
            namespace: names.map(|names| names.namespace.clone()),
            pod: names.map(|names| names.name.clone()),
            pod_uid: uid.clone(),
            ..Workload::default()
        };
        let pod = uid.as_ref().and_then(|uid| self.pods.get(uid));
        let carried = pod.map_or(0, |pod| pod.carried);
        if let Some(finding) = self.findings.open.get_mut(key) {
            finding.told = finding.count;
            let carried = carried.saturating_sub(finding.carried_before);
            let share =
                (*kind == FindingKind::UnloggedRequests).then(|| share(finding.count, carried));
            let finding = FindingBody {
                id: kind.id(),
                title: kind.title(),
                severity: kind.severity(),
                state,
                count: finding.count,
                share,
                first: finding.first,
                last: finding.last,
                records: finding.records.iter().map(ToString::to_string).collect(),
                sensitive: finding.sensitive.clone(),
            };
            self.writer.finding(now, Finding { workload, finding });
        }
    }
}

impl OpenFinding {
    fn name(&mut self, record: Arc<str>) {
        if self.records.len() < NAMED_RECORDS {
            self.records.push(record);
        }
    }
}

/// Part of a whole, in thousandths.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share is told, not computed with"
)]
fn share(part: u64, whole: u64) -> f64 {
    let thousandths = part * 1000 / whole.max(part).max(1);
    thousandths as f64 / 1000.0
}
