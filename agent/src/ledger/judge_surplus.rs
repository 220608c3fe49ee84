//! Lines of a connection that no exchange on it fits.

use std::sync::Arc;

use super::{
    CAPTURE_DELAY, Ledger,
    input::{Entry, Line, LineContent},
    pod::started,
    tracked::{Tracked, reason_of},
};
use crate::{
    http::ConnectionId,
    record::{Reason, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// No exchange of its connection fits a line.
    pub(super) fn conclude_line(&mut self, id: ConnectionId, line: &Line) {
        if self.is_of_a_pair(id, line) {
            self.judge_interim(Some(id), Box::new(line.clone()));
            return;
        }
        // What is older than the agent is none of what that missed.
        let may_be_missed = !self.is_of_before(line);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let side = Some(mesh.side);
        let start = line.entry().and_then(|entry| entry.start_time);
        let in_time = (start.unwrap_or(line.time), line.time);
        if matches!(line.content, LineContent::Ambiguous(_)) {
            self.judge_line(
                line,
                Verdict::Unverifiable,
                vec![Reason::LineAmbiguous],
                side,
            );
        } else if may_be_missed && let Some(cause) = mesh.lost.excuse_line() {
            let reason = reason_of(cause);
            self.judge_line(line, Verdict::Unverifiable, vec![reason], side);
        } else if let Some(reason) = mesh.take_excuse() {
            self.judge_line(line, Verdict::Unverifiable, vec![reason], side);
        } else if mesh.withholds_accusations() {
            self.judge_line(line, Verdict::Unverifiable, vec![Reason::Preexisting], side);
        } else if let Some(reason) = mesh.lost_around(in_time)
            && mesh.leg.open_exchanges() > 0
        {
            // One of these may have missed it because of the loss.
            self.judge_line(line, Verdict::Unverifiable, vec![reason], side);
        } else {
            let (verdict, excuse) = self.judge_unseen(line, side);
            if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
                mesh.note(verdict, excuse.as_slice());
            }
        }
    }

    /// Of an open connection nothing is known but its lines, and the capture missed heads in this
    /// pod when their requests began, or was refused something: it may have missed all of this
    /// connection's, which only its end tells.
    pub(super) fn excuse_lines_of_unseen_heads(&mut self, id: ConnectionId) {
        let due = self.captured_until - CAPTURE_DELAY;
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        if mesh.closed.is_some() {
            return;
        }
        let (side, uid) = (mesh.side, Arc::clone(&mesh.place.pod_uid));
        let lines = std::mem::take(&mut mesh.connection_lines);
        let mut kept = Vec::new();
        for line in lines {
            let is_request = |entry: &&Entry| entry.method.is_some() && entry.start_time.is_some();
            let start = line.entry().filter(is_request);
            let start = start.map(|entry| started(&line, entry));
            let reason = start
                .filter(|_| line.time <= due)
                .and_then(|start| self.why_unseen(&uid, start, line.time));
            match reason {
                Some(reason) => {
                    self.judge_line(&line, Verdict::Unverifiable, vec![reason], Some(side));
                }
                None => kept.push(line),
            }
        }
        if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
            mesh.connection_lines = kept;
        }
    }

    /// Why the head of a request may be unknown that began in the time `start` and had a line at
    /// `end`.
    fn why_unseen(
        &mut self,
        uid: &str,
        start: (Timestamp, Timestamp),
        end: Timestamp,
    ) -> Option<Reason> {
        let missed = self.pods.get_mut(uid)?.missed.excuse(start);
        missed.or_else(|| self.refused(uid, (start.0, end)))
    }
}
