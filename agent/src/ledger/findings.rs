//! The book of open findings.

use std::{collections::BTreeMap, sync::Arc};

use super::{Ledger, tracked::Tracked};
use crate::{
    record::{Finding, FindingBody, FindingKind, FindingState, Workload},
    timestamp::Timestamp,
};

/// Records that a finding names.
const NAMED_RECORDS: usize = 100;

/// Findings that are open at once, of all pods and kinds; what is found beyond is in the records.
const MOST_OPEN: usize = 16_384;

/// Findings that are open, by pod and kind.
#[derive(Debug, Default)]
pub(super) struct Findings {
    open: BTreeMap<(String, FindingKind), OpenFinding>,
}

#[derive(Debug)]
struct OpenFinding {
    count: u64,
    /// `count` when it was told last.
    told: u64,
    first: Timestamp,
    last: Timestamp,
    records: Vec<Arc<str>>,
}

impl Ledger {
    /// Something was found in a pod at `time`, in a record or without one.
    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        uid: &str,
        time: Timestamp,
        record: Option<Arc<str>>,
    ) {
        let open = &mut self.findings.open;
        let key = (uid.to_owned(), kind);
        if open.len() >= MOST_OPEN && !open.contains_key(&key) {
            return;
        }
        let finding = open.entry(key).or_insert_with(|| OpenFinding {
            count: 0,
            told: 0,
            first: time,
            last: time,
            records: Vec::new(),
        });
        finding.count += 1;
        finding.first = finding.first.min(time);
        finding.last = finding.last.max(time);
        let room = NAMED_RECORDS.saturating_sub(finding.records.len());
        finding.records.extend(record.into_iter().take(room));
        if finding.count == 1 {
            self.tell_finding(uid, kind, FindingState::Open, self.captured_until);
        }
    }

    /// An interval ended: tells what grew, and closes what has stopped.
    pub(super) fn tell_findings(&mut self, now: Timestamp) {
        let keys: Vec<_> = self.findings.open.keys().cloned().collect();
        for (uid, kind) in keys {
            if !self.stands(&uid, kind) {
                self.close_finding(&uid, kind, now);
            } else if self.has_grown(&uid, kind) {
                self.tell_finding(&uid, kind, FindingState::Open, now);
            }
        }
    }

    /// The agent ends.
    pub(super) fn close_findings(&mut self, now: Timestamp) {
        let keys: Vec<_> = self.findings.open.keys().cloned().collect();
        for (uid, kind) in keys {
            self.close_finding(&uid, kind, now);
        }
    }

    fn close_finding(&mut self, uid: &str, kind: FindingKind, now: Timestamp) {
        self.tell_finding(uid, kind, FindingState::Closed, now);
        self.findings.open.remove(&(uid.to_owned(), kind));
    }

    fn has_grown(&self, uid: &str, kind: FindingKind) -> bool {
        let finding = self.findings.open.get(&(uid.to_owned(), kind));
        finding.is_some_and(|finding| finding.count > finding.told)
    }

    /// Whether what was found goes on.
    fn stands(&self, uid: &str, kind: FindingKind) -> bool {
        let Some(pod) = self.pods.get(uid).filter(|_| !self.roles.is_gone(uid)) else {
            return false;
        };
        match kind {
            FindingKind::LoggingOff => !pod.lines_ever,
            FindingKind::NoHttpLine => pod.all_connections().any(|id| {
                matches!(self.connections.get(&id), Some(Tracked::Mesh(mesh))
                    if mesh.waits_for_http && mesh.entered < mesh.begun && !mesh.finished)
            }),
        }
    }

    fn tell_finding(&mut self, uid: &str, kind: FindingKind, state: FindingState, now: Timestamp) {
        let state = if self.settings.observe {
            FindingState::Observed
        } else {
            state
        };
        let names = self.roles.pod(uid);
        let workload = Workload {
            namespace: names.map(|names| names.namespace.clone()),
            pod: names.map(|names| names.name.clone()),
            pod_uid: Some(uid.into()),
            ..Workload::default()
        };
        if let Some(finding) = self.findings.open.get_mut(&(uid.to_owned(), kind)) {
            finding.told = finding.count;
            let body = FindingBody {
                id: kind.id(),
                title: kind.title(),
                severity: kind.severity(),
                state,
                count: finding.count,
                first: finding.first,
                last: finding.last,
                records: finding.records.iter().map(ToString::to_string).collect(),
            };
            let finding = body;
            self.writer.finding(now, Finding { workload, finding });
        }
    }
}
