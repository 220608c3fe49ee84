//! Exchanges that were attempts behind a line which names another.

use super::{
    Ledger,
    attempts::{Attempt, LONGEST_BACK_OFF, PATIENCE_WITH_ATTEMPTS, Retried, failed},
    compare::compare,
    input::{Exchange, Line},
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
        let counted = line.entry().and_then(|entry| entry.attempts);
        let counted = counted.is_some_and(|attempts| attempts > 1);
        let Some(pod) = self.pods.get_mut(uid) else {
            return counted;
        };
        let Some(mut retried) = Retried::of(line, named) else {
            return counted;
        };
        let tracked = named.and_then(|named| self.connections.get(&named.connection));
        let of_many = matches!(tracked, Some(Tracked::Mesh(mesh)) if mesh.leg.is_multiplexed());
        retried.may_have_later |= of_many;
        let mut found = Vec::new();
        for attempt in pod.attempts.waiting(retried.request_id) {
            let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&attempt.connection) else {
                continue;
            };
            let is_one = mesh.leg.waiting(attempt.exchange).is_some_and(|exchange| {
                let agrees = |entry| compare(Side::Server, exchange, entry).agrees();
                // If its own line does not come, this one will be asked for once more. That of one
                // among many may come in the same flush.
                let fits = !of_many
                    && !retried.is_of_another_line(exchange)
                    && line.entry().is_some_and(agrees);
                retried.covers(exchange, fits) && retried.count_in(exchange)
            });
            if is_one {
                let exchange = mesh.leg.take(attempt.exchange);
                found.extend(exchange.map(|exchange| (attempt.connection, exchange)));
            }
        }
        pod.attempts.keep(retried);
        let any = !found.is_empty();
        for (connection, exchange) in found {
            self.put_attempt(connection, &exchange);
            self.finish(connection);
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
