//! Exchanges that were attempts behind a line which names another.

use super::{
    Ledger,
    attempts::{Attempt, LONGEST_BACK_OFF, PATIENCE_WITH_ATTEMPTS, Retried, failed},
    input::{Entry, Exchange, Line},
    tracked::Tracked,
    write::Judgement,
};
use crate::{
    http::ConnectionId,
    record::{Reason, Side, Units, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// Keeps an inbound line for the other attempts behind it, which names one, or none if that
    /// never came to a connection. They are judged when no line of their own can come any more: a
    /// request beside this one that has all in common with it, its shadow say, looks like an
    /// attempt until then. True if the proxy tried more than once.
    pub(super) fn keep_for_attempts(
        &mut self,
        uid: &str,
        line: &Line,
        named: Option<&Exchange>,
    ) -> bool {
        let counted = line.entry().is_some_and(Entry::counts_retries);
        let (Some(pod), Some(retried)) = (self.pods.get(uid), Retried::of(line, named)) else {
            return counted;
        };
        let waiting = pod.attempts.waiting(retried.request_id).iter();
        let waiting =
            waiting.filter_map(|attempt| match self.connections.get(&attempt.connection) {
                Some(Tracked::Mesh(mesh)) => mesh.leg.waiting(attempt.exchange),
                _ => None,
            });
        // What has its own line among those that seem to be copies needs this one as little.
        let covered: Vec<&Exchange> = waiting
            .filter(|it| retried.covers(it) && self.find_copy(it.connection, it).is_none())
            .collect();
        let tried_again = covered.iter().any(|it| retried.tells_of(it));
        let any_covered = !covered.is_empty();
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.attempts.keep(retried, any_covered);
        }
        counted || tried_again
    }

    /// Whether a line that was paired before is also that of an exchange which has none.
    pub(super) fn count_in_attempt(&mut self, id: ConnectionId, exchange: &Exchange) -> bool {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return false;
        };
        let pod = self.pods.get_mut(&mesh.place.pod_uid);
        mesh.side == Side::Server && pod.is_some_and(|pod| pod.attempts.count_in(exchange))
    }

    pub(super) fn put_attempt(&mut self, id: ConnectionId, exchange: &Exchange) {
        self.enter_exchanges(id);
        let (verdict, reasons) = match exchange.undecoded {
            true => (
                Verdict::Unverifiable,
                vec![Reason::HpackUnknownEntry, Reason::Retried],
            ),
            false => (Verdict::Matched, vec![Reason::Retried]),
        };
        let judgement = Judgement {
            verdict,
            reasons,
            units: Units::new(1, 0),
        };
        self.put_exchange(id, exchange, None, judgement, None);
    }

    /// Exchanges of a connection which ended by `due` without a line, and whose line may be
    /// written when a later attempt has ended.
    pub(super) fn held_attempts(&self, id: ConnectionId, due: Timestamp) -> Vec<u32> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return Vec::new();
        };
        let uid = &*mesh.place.pod_uid;
        if mesh.side != Side::Server {
            return Vec::new();
        }
        let held = mesh.leg.ended_by(due).filter(|it| self.may_go_on(uid, it));
        held.map(|exchange| exchange.exchange).collect()
    }

    /// Whether a later attempt may be on, or wait for its line.
    fn may_go_on(&self, uid: &str, exchange: &Exchange) -> bool {
        let (Some(pod), Some(_)) = (self.pods.get(uid), Attempt::of(exchange)) else {
            return false;
        };
        if pod.attempts.has_later(exchange) {
            return true;
        }
        // What goes on has not told its x-request-id yet.
        let patient = self.captured_until < exchange.end + PATIENCE_WITH_ATTEMPTS;
        let next = |began: Timestamp| {
            (exchange.time..=exchange.end + LONGEST_BACK_OFF).contains(&began)
                && failed(exchange, began)
        };
        let goes_on = |id| match self.connections.get(&id) {
            Some(Tracked::Mesh(mesh)) => mesh.leg.goes_on(next),
            _ => false,
        };
        patient && pod.connections(Side::Server).any(goes_on)
    }
}
