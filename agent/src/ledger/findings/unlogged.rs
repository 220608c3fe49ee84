//! Units without a line: a log that has fallen silent, or one from which lines are missing.
//!
//! Which of the two it is shows later: by a line that comes after. And a line may come late. So
//! what has no line is held for a while before it is a finding; its record is out already.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{FindingKind, Found, Ledger};
use crate::{ledger::Line, timestamp::Timestamp};

/// How long after its accusation a unit may still get its line: a runtime in need.
pub(in crate::ledger) const LATE_LINES: Duration = Duration::from_secs(10);

/// How long it is waited for more units, or for a line, to tell silence from missing lines.
const PATIENCE: Duration = Duration::from_secs(60);

/// As many units in a row without any line are silence.
const SILENCE: u64 = 5;

/// Records that are held of one pod; more are found at once.
const KEPT: usize = 4096;

/// The units of one pod that have no line and are no finding yet, in the order of accusation.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Held {
    units: VecDeque<(Timestamp, Unlogged)>,
    silence: Option<Silence>,
}

/// When a log was silent.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// The last line before it.
    from: Timestamp,
    /// The first line after it; [`Timestamp::MAX`] while it lasts.
    to: Timestamp,
}

/// A record that says `unlogged`.
#[derive(Debug)]
pub(super) struct Unlogged {
    pub(super) record: Arc<str>,
    pub(super) time: Timestamp,
    /// When the unit ended, after which its line was due.
    pub(super) ended: Timestamp,
    /// The proxy's end explains it.
    pub(super) killed: bool,
    /// What had gone through the sidecar before.
    pub(super) carried_before: u64,
    pub(super) count: u64,
}

impl Ledger {
    /// A unit has no line.
    pub(super) fn hold(&mut self, uid: &Arc<str>, unlogged: Unlogged) {
        let now = self.captured_until;
        let held = self.findings.held.entry(Arc::clone(uid)).or_default();
        held.units.push_back((now, unlogged));
        if held.units.len() > KEPT {
            self.release(uid, 1);
        }
    }

    /// Lines came after all.
    pub(super) fn take_back_held(&mut self, uid: &Arc<str>, revised: &[Arc<str>]) {
        let is_revised = |record: &Arc<str>| revised.contains(record);
        if revised.is_empty() {
            return;
        }
        if let Some(held) = self.findings.held.get_mut(uid) {
            held.units.retain(|(_, unit)| !is_revised(&unit.record));
        }
        let key = (Some(Arc::clone(uid)), FindingKind::UnloggedRequests);
        if let Some(finding) = self.findings.open.get_mut(&key) {
            let before = finding.records.len();
            finding.records.retain(|record| !is_revised(record));
            let taken_back = (before - finding.records.len()) as u64;
            finding.count = finding.count.saturating_sub(taken_back);
            finding.told = finding.told.min(finding.count);
        }
    }

    /// A line of a pod's log was read: if the log was silent, it is no more.
    pub(in crate::ledger) fn log_speaks(&mut self, line: &Line) {
        let Some(pod) = self.pods.get_mut(&line.pod_uid) else {
            return;
        };
        let ended = end_of_what_it_tells(line);
        pod.last_line = pod.last_line.max(Some(ended));
        if let Some(held) = self.findings.held.get_mut(&line.pod_uid)
            && let Some(silence) = &mut held.silence
            && silence.from < ended
        {
            silence.to = silence.to.min(ended);
        }
    }

    /// Time passes: what was held long enough is found.
    pub(in crate::ledger) fn release_held(&mut self) {
        for uid in self.findings.held.keys().cloned().collect::<Vec<_>>() {
            let due = self.due_of_held(&uid);
            self.release(&uid, due);
        }
        self.findings.held.retain(|_, held| {
            let is_silent = |silence: Silence| silence.to == Timestamp::MAX;
            !held.units.is_empty() || held.silence.is_some_and(is_silent)
        });
    }

    /// The agent ends.
    pub(super) fn release_all_held(&mut self) {
        for uid in self.findings.held.keys().cloned().collect::<Vec<_>>() {
            self.release(&uid, usize::MAX);
        }
        self.findings.held.clear();
    }

    /// How many of the oldest are due.
    fn due_of_held(&self, uid: &str) -> usize {
        let Some(held) = self.findings.held.get(uid) else {
            return 0;
        };
        let last_line = self.last_line(uid);
        let silence = held.silence(last_line);
        let is_due = |(accused, unit): &&(Timestamp, Unlogged)| {
            let is_told = unit.killed || unit.ended <= last_line || unit.is_of(silence);
            let age = self.captured_until.since(*accused);
            age >= if is_told { LATE_LINES } else { PATIENCE }
        };
        held.units.iter().take_while(is_due).count()
    }

    /// Makes findings of the oldest.
    fn release(&mut self, uid: &Arc<str>, count: usize) {
        let last_line = self.last_line(uid);
        let Some(held) = self.findings.held.get_mut(uid).filter(|_| count > 0) else {
            return;
        };
        let before = held.silence;
        held.silence = held.silence(last_line);
        let count = count.min(held.units.len());
        for (_, unit) in held.units.drain(..count) {
            let kind = match unit.is_of(before) || unit.is_of(held.silence) {
                true => FindingKind::LogSilence,
                false => FindingKind::UnloggedRequests,
            };
            self.findings.found.push(Found {
                count: unit.count,
                carried_before: unit.carried_before,
                ..Found::new(kind, Some(uid), unit.time, Some(unit.record))
            });
        }
    }

    /// When the last ended of what has a line.
    fn last_line(&self, uid: &str) -> Timestamp {
        let pod = self.pods.get(uid);
        pod.and_then(|pod| pod.last_line).unwrap_or_default()
    }
}

/// Proxies write lines in the order of this, and any time after.
fn end_of_what_it_tells(line: &Line) -> Timestamp {
    let entry = line.entry();
    let began = entry.and_then(|entry| entry.start_time);
    let lasted = entry.and_then(|entry| entry.duration_milliseconds);
    began.map_or(line.time, |began| {
        began + Duration::from_millis(lasted.unwrap_or_default())
    })
}

impl Held {
    /// The silence that is known, or that begins with the last line because so many had none since.
    fn silence(&self, last_line: Timestamp) -> Option<Silence> {
        let since = Silence {
            from: last_line,
            to: Timestamp::MAX,
        };
        let silent = self.units.iter().map(|(_, unit)| unit);
        let silent = silent.filter(|unit| unit.is_of(Some(since)));
        let is_new = silent.map(|unit| unit.count).sum::<u64>() >= SILENCE;
        match self.silence {
            Some(silence) if silence.to == Timestamp::MAX || !is_new => Some(silence),
            _ => is_new.then_some(since),
        }
    }
}

impl Unlogged {
    fn is_of(&self, silence: Option<Silence>) -> bool {
        let covers = |silence: Silence| silence.from < self.ended && self.ended <= silence.to;
        !self.killed && silence.is_some_and(covers)
    }
}
