//! Lines that cannot be read for sure, and the exchanges that miss theirs.
//!
//! A client can shift the fields of a text line as it likes. What such a line says in every reading
//! still holds it to its own exchange: it excuses no other that misses its line.

use std::sync::Arc;

use super::{
    Ledger,
    compare::{compare, fits_in_time},
    input::{Exchange, Line, LineContent},
    pod::PodBook,
    tracked::Tracked,
};
use crate::{
    http::ConnectionId,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

/// Connections that are asked whether a line is of one of their exchanges.
const MOST_ASKED: usize = 256;

/// How well what a line says for sure fits an exchange, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// In everything.
    Whole,
    /// But for what a proxy may rewrite.
    Rewritten,
    /// It says nothing.
    Silent,
}

impl Ledger {
    /// A line that cannot be read for sure waits for an exchange that misses one.
    pub(super) fn doubt(&mut self, line: Box<Line>) {
        let pod = self.pods.entry(Arc::clone(&line.pod_uid)).or_default();
        if pod.has_room_for_a_line() {
            pod.doubtful.push_back(line);
        } else {
            self.judge_line(&line, Verdict::Unverifiable, vec![Reason::Evicted], None);
        }
    }

    /// Whether one of the doubtful lines fits an exchange in all that it says.
    pub(super) fn fits_a_doubtful_line(&self, id: ConnectionId, exchange: &Exchange) -> bool {
        self.find_doubtful_line(id, exchange)
            .is_some_and(|(fit, ..)| fit == Fit::Whole)
    }

    /// Takes the doubtful line that may be the one that an exchange misses.
    pub(super) fn take_doubtful_line(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
    ) -> Option<Box<Line>> {
        let (_, at, uid) = self.find_doubtful_line(id, exchange)?;
        self.pods.get_mut(&uid)?.doubtful.remove(at)
    }

    fn find_doubtful_line(
        &self,
        id: ConnectionId,
        exchange: &Exchange,
    ) -> Option<(Fit, usize, Arc<str>)> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let (side, uid) = (mesh.side, &mesh.place.pod_uid);
        let pod = self.pods.get(uid)?;
        let in_time = exchange.time..=exchange.end + self.grace();
        let mut best: Option<(Fit, usize)> = None;
        for (at, line) in pod.doubtful.iter().enumerate() {
            let Some(fit) = fit(side, exchange, line).filter(|_| in_time.contains(&line.time))
            else {
                continue;
            };
            let better = best.is_none_or(|(best, _)| fit < best);
            if better && !(fit == Fit::Rewritten && self.is_claimed(pod, line)) {
                best = Some((fit, at));
            }
            if fit == Fit::Whole {
                break;
            }
        }
        best.map(|(fit, at)| (fit, at, Arc::clone(uid)))
    }

    /// Whether a line fits an exchange that waits for its line in all that it says.
    fn is_claimed(&self, pod: &PodBook, line: &Line) -> bool {
        let mut asked = pod.agenda.iter().take(MOST_ASKED);
        asked.any(|(_, id)| match self.connections.get(id) {
            Some(Tracked::Mesh(mesh)) => mesh
                .leg
                .ended_by(Timestamp::MAX)
                .any(|exchange| fit(mesh.side, exchange, line) == Some(Fit::Whole)),
            _ => false,
        })
    }

    /// Doubtful lines that no exchange misses are judged.
    pub(super) fn judge_doubtful(&mut self, uid: &str) {
        let grace = self.grace();
        loop {
            let Some(pod) = self.pods.get_mut(uid) else {
                return;
            };
            let Some(read_until) = pod.read_until else {
                return;
            };
            if pod
                .doubtful
                .front()
                .is_none_or(|line| line.time + grace > read_until)
            {
                return;
            }
            let Some(line) = pod.doubtful.pop_front() else {
                return;
            };
            let reason = doubt_of(&line);
            self.judge_line(&line, Verdict::Unverifiable, vec![reason], None);
        }
    }
}

/// How well a line fits; none if it contradicts.
fn fit(side: Side, exchange: &Exchange, line: &Line) -> Option<Fit> {
    let Some(entry) = line.entry() else {
        return Some(Fit::Silent);
    };
    if !fits_in_time(side, exchange.time, exchange.end, entry) {
        return None;
    }
    let same_id = match (entry.request_id, exchange.request_id) {
        (Some(log), Some(kernel)) if log != kernel => return None,
        (log, kernel) => log.is_some() && log == kernel,
    };
    let comparison = compare(side, exchange, entry);
    let whole = same_id || !comparison.reasons.contains(&Reason::Rewritten);
    comparison
        .agrees()
        .then_some(if whole { Fit::Whole } else { Fit::Rewritten })
}

/// The reason for which a doubtful line proves nothing.
pub(super) fn doubt_of(line: &Line) -> Reason {
    match line.content {
        LineContent::Ambiguous(_) => Reason::LineAmbiguous,
        _ => Reason::LogFormatUnknown,
    }
}
