//! When to look at a connection again: after its log was read, or the kernel's account told, far
//! enough.

use std::{sync::Arc, time::Duration};

use super::{CAPTURE_DELAY, Ledger, PATIENCE_WITH_SILENT_LOGS, RUNTIME_DELAY, tracked::Tracked};
use crate::{http::ConnectionId, timestamp::Timestamp};

/// Connections with accused exchanges are kept this long for late lines.
const PATIENCE_WITH_LATE_LINES: Duration = Duration::from_secs(300);

impl Ledger {
    pub(super) fn log_progress(&mut self, uid: &Arc<str>, read_until: Timestamp) {
        let pod = self.pods.entry(Arc::clone(uid)).or_default();
        let early = pod.early.front().map(|line| line.time);
        let read_until = early.map_or(read_until, |early| read_until.min(early));
        pod.read_until = pod.read_until.max(Some(read_until));
        pod.attempts.drop_lines(self.captured_until);
        self.look_at_agenda(uid, read_until);
    }

    pub(super) fn capture_progress(&mut self, time: Timestamp) {
        self.captured_until = self.captured_until.max(time);
        self.place_early_lines(false);
        if std::mem::take(&mut self.workloads_changed) {
            self.reconsider_waiting(self.captured_until);
        }
        let due = self.captured_until - CAPTURE_DELAY;
        while let Some((moment, id)) = self.line_agenda.first().copied() {
            if moment > due {
                break;
            }
            self.line_agenda.pop_first();
            if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
                mesh.line_agenda = None;
            }
            self.settle(id);
            self.put_on_line_agenda(id);
        }
    }

    /// Settles what lies before `read_until` in the log of a pod.
    pub(super) fn look_at_agenda(&mut self, uid: &str, read_until: Timestamp) {
        let grace = self.grace();
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let mut due = Vec::new();
        while let Some((moment, id)) = pod.agenda.first().copied()
            && moment + grace <= read_until
        {
            pod.agenda.pop_first();
            due.push((moment, id));
        }
        if !due.is_empty() {
            // Whoever misses a line may find it among these, which wait for more of their kind.
            self.judge_forwarded(uid, self.captured_until);
        }
        for (moment, id) in due {
            if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
                mesh.agenda = None;
            }
            self.settle(id);
            self.put_on_agenda(id, moment);
        }
    }

    fn put_on_line_agenda(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let strays = mesh.connection_lines.iter().map(|line| line.time);
        if let Some(next) = mesh.leg.earliest_line().into_iter().chain(strays).min() {
            // A line that is due waits for its exchange's horizon; look again a little later.
            let next = next.max(self.captured_until - CAPTURE_DELAY + RUNTIME_DELAY / 4);
            mesh.line_agenda = Some(next);
            self.line_agenda.insert((next, id));
        }
    }

    fn put_on_agenda(&mut self, id: ConnectionId, looked_at: Timestamp) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let closed = mesh.closed.as_ref().map(|closed| closed.time);
        let later = |time: &Timestamp| *time > looked_at;
        let next = match mesh.leg.earliest_end().filter(later) {
            Some(end) => Some(end),
            // Past its end and still open: judged at its close, or when its port proves HTTP.
            None if mesh.leg.earliest_end().is_some() => Some(looked_at + RUNTIME_DELAY / 4),
            None => closed.filter(later),
        };
        let next = next.or_else(|| match closed {
            Some(closed) if mesh.leg.has_accused() => {
                Some(closed + PATIENCE_WITH_LATE_LINES).filter(later)
            }
            Some(_) if !mesh.leg.is_settled() => Some(looked_at + RUNTIME_DELAY),
            _ => None,
        });
        match next {
            Some(next) => {
                mesh.agenda = Some(next);
                let uid = mesh.place.pod_uid.clone();
                self.pods.entry(uid).or_default().agenda.insert((next, id));
            }
            None if mesh.finished => self.drop_mesh(id),
            None => {}
        }
    }

    /// No line can come any more.
    pub(super) fn drop_mesh(&mut self, id: ConnectionId) {
        if let Some(Tracked::Mesh(mesh)) = self.connections.remove(&id)
            && let Some(pod) = self.pods.get_mut(&mesh.place.pod_uid)
        {
            pod.forget(mesh.side, mesh.connection.source, id);
        }
    }

    /// How far a pod's log was read; one that was silent from the beginning is not waited for.
    pub(super) fn read_until(&self, uid: &str) -> Timestamp {
        let told = self.pods.get(uid).and_then(|pod| pod.read_until);
        told.unwrap_or(self.captured_until - PATIENCE_WITH_SILENT_LOGS)
    }
}
