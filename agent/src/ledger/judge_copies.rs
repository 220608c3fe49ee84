//! Copies of lines into verdicts.

use std::sync::Arc;

use super::{
    CAPTURE_DELAY, Ledger,
    compare::{compare, fits_in_time},
    copies::Copy,
    input::{Exchange, Line},
    tracked::Tracked,
};
use crate::{
    http::ConnectionId,
    record::{Reason, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// A line that says what another said before. In a log that writes all lines twice it is
    /// judged at once, if its connection was told.
    pub(super) fn copy(&mut self, copy: Copy) {
        let line = &copy.line;
        let Some(pod) = self.pods.get_mut(&line.pod_uid) else {
            return;
        };
        if let Some(entry) = line.entry() {
            pod.copies.copy(entry);
        }
        match self.copies_are_usual(line) {
            Some(true) if copy.of.is_some() => self.judge_copy(&copy, Verdict::Matched),
            _ => match self.pods.get_mut(&line.pod_uid) {
                Some(pod) if pod.has_room_for_a_line() => pod.copies.waiting.push(copy),
                _ => {
                    let (verdict, reasons) = (Verdict::Unverifiable, vec![Reason::Evicted]);
                    self.judge_line(line, verdict, reasons, copy.side());
                }
            },
        }
    }

    /// Judges the copies for which it is known what they are. At the end those, too, that wait for
    /// nothing but their time.
    pub(super) fn judge_copies(&mut self, uid: &str, at_end: bool) {
        let due = if at_end {
            Timestamp::MAX
        } else {
            self.captured_until - CAPTURE_DELAY
        };
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let mut still_waiting = Vec::new();
        for copy in std::mem::take(&mut pod.copies.waiting) {
            let line = &copy.line;
            let is_due = line.time <= due;
            match self.copies_are_usual(line) {
                Some(true) if is_due || copy.of.is_some() => {
                    self.judge_copy(&copy, Verdict::Matched);
                }
                Some(false) if is_due && (at_end || !self.may_be_missed(&copy)) => {
                    self.judge_copy(&copy, Verdict::Unseen);
                }
                _ if at_end => {
                    let (verdict, reasons) = (Verdict::Unverifiable, vec![Reason::AgentDown]);
                    self.judge_line(line, verdict, reasons, copy.side());
                }
                _ => still_waiting.push(copy),
            }
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.copies.waiting = still_waiting;
        }
    }

    /// A line that seems to be a copy, but is that of an exchange which has none. Requests that
    /// are alike in all that a line says have lines that are alike.
    pub(super) fn take_copy(&mut self, id: ConnectionId, exchange: &Exchange) -> Option<Box<Line>> {
        let (uid, at) = self.find_copy(id, exchange)?;
        let pod = self.pods.get_mut(&uid)?;
        Some(pod.copies.waiting.remove(at).line)
    }

    /// The pod of that line, and its place among the copies that wait there.
    pub(super) fn find_copy(
        &self,
        id: ConnectionId,
        exchange: &Exchange,
    ) -> Option<(Arc<str>, usize)> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let side = mesh.side;
        let waiting = &self.pods.get(&mesh.place.pod_uid)?.copies.waiting;
        let fits = |line: &Line| {
            line.entry().is_some_and(|entry| {
                fits_in_time(side, exchange.time, exchange.end, entry)
                    && entry
                        .request_id
                        .is_none_or(|_| entry.request_id == exchange.request_id)
                    && compare(side, exchange, entry).agrees()
            })
        };
        let at = waiting
            .iter()
            .position(|copy| copy.of == Some((id, side)) && fits(&copy.line))?;
        let is_copy = self.copies_are_usual(&waiting[at].line) == Some(true);
        (!is_copy).then(|| (mesh.place.pod_uid.clone(), at))
    }

    /// Whether an exchange which has no line yet lies in the time of a copy.
    fn may_be_missed(&self, copy: &Copy) -> bool {
        let tracked = copy.of.and_then(|(id, _)| self.connections.get(&id));
        match (tracked, copy.line.entry()) {
            (Some(Tracked::Mesh(mesh)), Some(entry)) => mesh
                .leg
                .has_open(|from, to| fits_in_time(mesh.side, from, to, entry)),
            _ => false,
        }
    }

    pub(super) fn copies_are_usual(&self, line: &Line) -> Option<bool> {
        let read_until = self.read_until(&line.pod_uid);
        let pod = self.pods.get(&line.pod_uid)?;
        pod.copies.are_usual(line.time, read_until, self.grace())
    }

    pub(super) fn judge_copy(&mut self, copy: &Copy, verdict: Verdict) {
        let Copy { of, line } = copy;
        let reasons = vec![Reason::Repeated];
        let side = copy.side();
        if let Some(Tracked::Mesh(mesh)) = of.and_then(|(id, _)| self.connections.get_mut(&id)) {
            mesh.note(verdict, &reasons);
        }
        if verdict == Verdict::Unseen && self.is_of_before(line) {
            self.judge_unseen(line, side);
        } else {
            self.judge_line(line, verdict, reasons, side);
        }
    }
}
