//! Verdicts on what bears the address of X-Forwarded-For.

use super::{
    CAPTURE_DELAY, Ledger,
    compare::compare,
    forwarded::Waiting,
    input::{Entry, Exchange, Line},
    interim::{has_not_ended, is_interim, may_go_on},
    lines::answers_the_network,
    pod::{PodBook, started},
    tracked::Tracked,
};
use crate::{
    http::ConnectionId,
    number_map::NumberMap,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// Pairs the lines stamped by `due`, and judges those of them that wait no longer.
    pub(super) fn judge_forwarded(&mut self, uid: &str, due: Timestamp) {
        let connections = &self.connections;
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let taken = pod.forwarded.take_due(
            due,
            |waiting| {
                find(connections, waiting)
                    .or_else(|| find_accused(connections, waiting))
                    .is_some()
            },
            |waiting, entry| !is_interim(entry) && agrees(find(connections, waiting), entry),
        );
        let mut begins = None;
        for (line, partner) in taken {
            let compared = partner.and_then(|waiting| {
                let (side, exchange) = find(&self.connections, &waiting)?;
                Some((waiting, compare(side, exchange, line.entry()?)))
            });
            match compared {
                Some((waiting, comparison)) => {
                    self.pair_forwarded(waiting.connection, waiting.exchange, line, comparison);
                }
                None => {
                    let begins = &*begins.get_or_insert_with(|| self.begins_of_open_requests(uid));
                    self.judge_forwarded_line(uid, line, due, begins);
                }
            }
        }
    }

    /// A line without a partner, where requests go on that began at `begins`.
    fn judge_forwarded_line(
        &mut self,
        uid: &str,
        line: Box<Line>,
        due: Timestamp,
        begins: &[Timestamp],
    ) {
        let (Some(entry), Some(pod)) = (line.entry(), self.pods.get_mut(uid)) else {
            return;
        };
        // An inbound line whose connection was told late.
        if let Some(id) = pod.find(&line, entry) {
            self.place_on(id, line);
            return;
        }
        let connections = &self.connections;
        // An exchange in its time that misses its line will decide, or goes on, or one that is alike
        // and not far from that, unless the agent stops.
        let waits = |waiting: &Waiting| find(connections, waiting).is_some();
        let is_alike = |waiting: &Waiting| agrees(find(connections, waiting), entry);
        let is_young = line.time > self.captured_until - CAPTURE_DELAY;
        let may_decide = || {
            pod.forwarded.find(entry, waits).is_some()
                || pod.forwarded.find_near(entry, is_alike).is_some()
        };
        let goes_on = may_go_on(begins, entry);
        if due < Timestamp::MAX && (is_young || goes_on || may_decide()) {
            pod.forwarded.add_line(line);
            return;
        }
        if pod.forwarded.long_pairs.know(entry, Side::Client) {
            self.judge_interim(None, line);
            return;
        }
        let acquits = |waiting: &Waiting| agrees(find_accused(connections, waiting), entry);
        if let Some(late) = pod.forwarded.find(entry, acquits) {
            self.acquit_forwarded(late.connection, late.exchange, &line);
            return;
        }
        let answered = answers_the_network(&line) && pod.held_network_connection(&line, entry);
        let start = started(&line, entry);
        if answered && (is_interim(entry) || has_not_ended(entry)) {
            // It has no connection to its app yet.
            self.judge_interim(None, line);
        } else if answered {
            self.judge_proxy_answer(&line);
        } else if goes_on {
            let reasons = vec![Reason::AgentDown];
            self.judge_line(&line, Verdict::Unverifiable, reasons, Some(Side::Client));
        } else if let Some(missed) = pod.missed.excuse(start) {
            self.judge_line(&line, Verdict::Unverifiable, vec![missed], None);
        } else if is_young {
            // The agent stops before all that was sent by then was told.
            let reasons = vec![Reason::AgentDown];
            self.judge_line(&line, Verdict::Unverifiable, reasons, None);
        } else {
            self.judge_unseen(&line, None);
        }
    }

    /// The only line left in the time of an exchange which otherwise has none, or any that agrees
    /// with what is known of it: the others have had their choice.
    pub(super) fn take_forwarded_line(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
    ) -> Option<Box<Line>> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let asked = mesh.connection.asked;
        let pod = self.pods.get_mut(&mesh.place.pod_uid)?;
        let fits = |entry: &Entry| {
            let original = entry.downstream_local_address;
            original.is_none() || original == asked
        };
        let only = pod.forwarded.take_only(exchange, fits);
        if only.is_some() {
            return only;
        }
        let agrees = |entry: &Entry| fits(entry) && agrees(Some((Side::Client, exchange)), entry);
        if exchange.undecoded {
            return pod.forwarded.take_first(exchange, agrees);
        }
        // Its own line may have been taken for one that is alike. Then the line of that is left,
        // and nothing else explains it.
        let PodBook {
            forwarded, missed, ..
        } = pod;
        forwarded.take_near(exchange, |line, entry| {
            agrees(entry) && !missed.may_excuse(started(line, entry))
        })
    }
}

/// Whether a line may be that of an exchange.
fn agrees(exchange: Option<(Side, &Exchange)>, entry: &Entry) -> bool {
    exchange.is_some_and(|(side, exchange)| {
        let ids = exchange.request_id.zip(entry.request_id);
        let same_id = ids.is_none_or(|(kernel, log)| kernel == log);
        same_id && compare(side, exchange, entry).agrees()
    })
}

/// An exchange that was accused, and at which side.
fn find_accused<'a>(
    connections: &'a NumberMap<ConnectionId, Tracked>,
    waiting: &Waiting,
) -> Option<(Side, &'a Exchange)> {
    match connections.get(&waiting.connection) {
        Some(Tracked::Mesh(mesh)) => Some((mesh.side, mesh.leg.accused(waiting.exchange)?)),
        _ => None,
    }
}

/// An exchange that still waits for its line, and at which side.
fn find<'a>(
    connections: &'a NumberMap<ConnectionId, Tracked>,
    waiting: &Waiting,
) -> Option<(Side, &'a Exchange)> {
    match connections.get(&waiting.connection) {
        Some(Tracked::Mesh(mesh)) => Some((mesh.side, mesh.leg.waiting(waiting.exchange)?)),
        _ => None,
    }
}
