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
    /// Judges the other attempts behind an inbound line, which names one, or none if that never
    /// came to a connection. True if the proxy tried more than once.
    pub(super) fn conclude_attempts(
        &mut self,
        uid: &str,
        line: &Line,
        named: Option<&Exchange>,
    ) -> bool {
        let counted = line.entry().is_some_and(Entry::counts_retries);
        let (Some(pod), Some(mut retried)) = (self.pods.get(uid), Retried::of(line, named)) else {
            return counted;
        };
        let mut found = Vec::new();
        for Attempt {
            connection,
            exchange,
            ..
        } in pod.attempts.waiting(retried.request_id)
        {
            let Some(Tracked::Mesh(mesh)) = self.connections.get(&connection) else {
                continue;
            };
            // Its own line may come in the same flush, or seem to be a copy. If it has none this one
            // is asked for once more.
            let is_one = mesh.leg.waiting(exchange).is_some_and(|exchange| {
                let may_be_last = retried.says_so && !retried.is_of_another_line(exchange);
                retried.covers(exchange, may_be_last)
                    && self.find_copy(connection, exchange).is_none()
                    && retried.count_in(exchange)
            });
            if is_one {
                found.push((connection, exchange));
            }
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.attempts.keep(retried);
        }
        let any = !found.is_empty();
        for (connection, exchange) in found {
            if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&connection)
                && let Some(exchange) = mesh.leg.take(exchange)
            {
                self.put_attempt(connection, &exchange);
                self.finish(connection);
            }
        }
        any || counted
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
