//! What stands between both accounts of a connection, into verdicts.

use std::{sync::Arc, time::Duration};

use super::{
    CAPTURE_DELAY, HttpPort, KEPT_HTTP_PORTS, Ledger, PATIENCE_WITH_SILENT_LOGS,
    compare::{Comparison, compare, fits_in_time},
    forwarded::is_forwarded,
    input::{Entry, Exchange, Line, LineContent},
    interim,
    leg::{Horizon, Settled},
    tracked::{MeshConnection, Tracked, reason_of},
    write::Judgement,
};
use crate::{
    http::{Connection, ConnectionId, Gap},
    record::{FindingKind, Reason, Side, Units, Verdict},
    timestamp::Timestamp,
};

/// Exchanges that wait for the first HTTP line of their port this long are told of.
const PATIENCE_WITH_TCP: Duration = Duration::from_secs(300);

impl Ledger {
    /// Pairs what agrees on a connection, at once.
    pub(super) fn pair(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let mut settled = Vec::new();
        mesh.leg.pair(self.captured_until, &mut settled);
        for item in settled {
            self.conclude(id, item);
        }
        self.finish(id);
    }

    /// Judges what both accounts of a connection are known of.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        self.pair(id);
        let grace = self.grace();
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let read_until = self.read_until(&mesh.place.pod_uid);
        let Some(pod) = self.pods.get(&mesh.place.pod_uid) else {
            return;
        };
        let proved_http = pod.http_matched.contains(&(mesh.side, mesh.port()));
        let never_logged = !pod.lines_ever;
        let past_close = mesh
            .closed
            .as_ref()
            .is_some_and(|closed| closed.time + grace <= read_until);
        let horizon = Horizon {
            exchanges: read_until - grace,
            lines: self.captured_until - CAPTURE_DELAY,
            captured: self.captured_until,
            grace,
        };
        if mesh.has_exchanges() {
            // While it is open the proxy may be carrying it as TCP; for sure what does not read as
            // HTTP.
            let as_http = (proved_http || past_close) && !mesh.is_carried_as_tcp();
            let held = self.held_attempts(id, horizon.exchanges);
            // A proxy that never logs says nothing at the close either.
            let silent_since = horizon.exchanges - PATIENCE_WITH_SILENT_LOGS;
            let may_judge = |exchange: &Exchange| {
                (never_logged && exchange.end <= silent_since)
                    || as_http
                        && (past_close || exchange.method.is_some() || exchange.stream.is_some())
                        && !held.contains(&exchange.exchange)
            };
            let long_ago = read_until - PATIENCE_WITH_TCP;
            let waits = |mesh: &MeshConnection| {
                let earliest = mesh.leg.earliest_end();
                !as_http && !mesh.waits_for_http && earliest.is_some_and(|end| end <= long_ago)
            };
            let mut settled = Vec::new();
            let mut waiting = None;
            if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
                if waits(mesh) {
                    mesh.waits_for_http = true;
                    waiting = Some(mesh.place.pod_uid.clone());
                }
                mesh.leg.settle(horizon, &may_judge, &mut settled);
            }
            if let Some(uid) = waiting {
                self.find(
                    FindingKind::NoHttpLine,
                    Some(&uid),
                    self.captured_until,
                    None,
                );
            }
            // A line that names one attempt speaks for the others, too; and a doubtful line is of
            // the exchange that it fits, if there is one.
            settled.sort_by_cached_key(|item| match item {
                Settled::Pair { .. } => 0,
                Settled::Exchange(exchange) if self.fits_a_doubtful_line(id, exchange) => 1,
                _ => 2,
            });
            for item in settled {
                self.conclude(id, item);
            }
        } else {
            self.excuse_lines_of_unseen_heads(id);
        }
        self.finish(id);
    }

    fn conclude(&mut self, id: ConnectionId, settled: Settled) {
        match settled {
            Settled::Pair {
                exchange,
                line,
                comparison,
            } if !comparison.agrees() && self.is_older_than(id, &line, &exchange) => {
                self.conclude_exchange(id, exchange);
                self.conclude_line(id, &line);
            }
            Settled::Pair {
                exchange,
                line,
                comparison,
            } => {
                self.conclude_pair(id, &exchange, &line, comparison, None);
            }
            Settled::Late {
                exchange,
                line,
                comparison,
                record,
            } => {
                self.conclude_pair(id, &exchange, &line, comparison, Some(record));
            }
            Settled::Exchange(exchange) => self.conclude_exchange(id, exchange),
            Settled::Line(line) => self.conclude_line(id, &line),
        }
    }

    /// Whether a line that differs from an exchange is of another: of one before the agent's time.
    fn is_older_than(&self, id: ConnectionId, line: &Line, exchange: &Exchange) -> bool {
        let side = self.side(id);
        // Without its DURATION nothing tells how long the request waited for this.
        let is_of_it = |entry: &Entry| {
            entry.duration_milliseconds.is_some()
                && fits_in_time(side, exchange.time, exchange.end, entry)
        };
        self.is_of_before(line) && !line.entry().is_some_and(is_of_it)
    }

    /// Pairs an exchange with a line that was found by other means than the tuple.
    pub(super) fn pair_forwarded(
        &mut self,
        id: ConnectionId,
        number: u32,
        line: Box<Line>,
        comparison: Comparison,
    ) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some(exchange) = mesh.leg.take(number) {
            self.conclude_pair(id, &exchange, &line, comparison, None);
            self.finish(id);
        }
    }

    /// The same for an exchange that was accused before.
    pub(super) fn acquit_forwarded(&mut self, id: ConnectionId, number: u32, line: &Line) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some((exchange, record)) = mesh.leg.acquit(number)
            && let Some(entry) = line.entry()
        {
            let comparison = compare(mesh.side, &exchange, entry);
            self.conclude_pair(id, &exchange, line, comparison, Some(record));
        }
    }

    /// An exchange and the line that belongs to it get their verdict, which `revises` a record.
    pub(super) fn conclude_pair(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        line: &Line,
        mut comparison: Comparison,
        revises: Option<Arc<str>>,
    ) {
        self.enter_exchanges(id);
        let entry = line.entry();
        if entry.is_some_and(|it| self.is_host_edited(self.side(id), exchange, it, &comparison)) {
            comparison.accuse_of_authority();
        }
        // Where something is missing, others may have taken its place.
        let ids = exchange
            .request_id
            .zip(line.entry().and_then(|entry| entry.request_id));
        let is_sure = ids.is_some_and(|(kernel, log)| kernel == log);
        let lost = (!is_sure && !comparison.agrees())
            .then(|| self.lost_around(id, (exchange.time, exchange.end)))
            .flatten();
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some(entry) = line.entry() {
            mesh.long_pairs.note(entry, interim::KEPT);
            if is_forwarded(entry)
                && let Some(pod) = self.pods.get_mut(&mesh.place.pod_uid)
            {
                let long_pairs = &mut pod.forwarded.long_pairs;
                long_pairs.note(entry, interim::KEPT_OF_POD);
            }
        }
        let mut reasons = comparison.reasons.clone();
        let cut_off = lost_its_answer(mesh, exchange, &comparison);
        reasons.extend(cut_off.then_some(Reason::Aborted));
        let agrees = comparison.agrees() || cut_off;
        // What an ambiguous line says in every reading can accuse; it cannot acquit.
        let verdict = if agrees && matches!(line.content, LineContent::Ambiguous(_)) {
            reasons.insert(0, Reason::LineAmbiguous);
            Verdict::Unverifiable
        } else if let Some(gap) = exchange.gap
            && !(agrees && both_call_it_no_http(exchange, line))
        {
            reasons.insert(0, reason_of(gap));
            Verdict::Unverifiable
        } else if agrees && exchange.undecoded {
            reasons.insert(0, Reason::HpackUnknownEntry);
            Verdict::Unverifiable
        } else if agrees {
            mesh.leg.ever_matched = true;
            Verdict::Matched
        } else if mesh.withholds_accusations() {
            reasons.insert(0, Reason::Preexisting);
            Verdict::Unverifiable
        } else if let Some(lost) = lost {
            reasons.insert(0, lost);
            Verdict::Unverifiable
        } else {
            Verdict::Mismatched
        };
        let (side, port, uid) = (mesh.side, mesh.port(), mesh.place.pod_uid.clone());
        if side == Side::Server {
            let pid = client_pid(&mesh.connection);
            if verdict == Verdict::Matched {
                self.roles.prove_proxy(&uid, pid);
                self.learn_announced_peers(&uid, line);
            }
            if self.keep_for_attempts(&uid, line, Some(exchange)) {
                reasons.push(Reason::Retried);
            }
        }
        self.learn_http_port(&uid, side, port);
        let units = Units::new(1, 1);
        let judgement = Judgement {
            verdict,
            reasons,
            units,
        };
        self.put_exchange(id, exchange, Some((line, comparison)), judgement, revises);
    }

    /// A port speaks HTTP: from now on exchanges are units, those under way included.
    fn learn_http_port(&mut self, uid: &Arc<str>, side: Side, port: u16) {
        let pod = self.pods.entry(Arc::clone(uid)).or_default();
        if !pod.http_matched.insert((side, port)) {
            return;
        }
        let mut connections: Vec<ConnectionId> = pod.connections(side).collect();
        connections.sort_unstable();
        for id in connections {
            let of_port =
                |tracked: &Tracked| matches!(tracked, Tracked::Mesh(mesh) if mesh.port() == port);
            if self.connections.get(&id).is_some_and(of_port) {
                self.enter_exchanges(id);
            }
        }
        if self.http_ports.len() < KEPT_HTTP_PORTS {
            self.http_ports.push(HttpPort {
                pod_uid: uid.to_string(),
                side,
                port,
            });
        }
    }

    /// Why order does not tell what belongs together on a connection: something was lost there, or
    /// in its pod, around this time.
    pub(super) fn lost_around(
        &self,
        id: ConnectionId,
        time: (Timestamp, Timestamp),
    ) -> Option<Reason> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let of_pod = || self.refused(&mesh.place.pod_uid, time);
        mesh.lost_around(time).or_else(of_pod)
    }

    /// The same, at any time of a connection's life.
    pub(super) fn lost_in_life(&self, id: ConnectionId) -> Option<Reason> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let closed = mesh.closed.as_ref().map(|closed| closed.time);
        let life = (mesh.connection.time, closed.unwrap_or(self.captured_until));
        self.lost_around(id, life)
    }

    /// The side of a connection between app and sidecar.
    pub(super) fn side(&self, id: ConnectionId) -> Side {
        match self.connections.get(&id) {
            Some(Tracked::Mesh(mesh)) => mesh.side,
            _ => Side::Client,
        }
    }
}

/// The proxy logged an answer that it could not send any more, since the app had left, or the
/// connection or the stream was reset: nothing but the status differs, and no answer was sent.
fn lost_its_answer(mesh: &MeshConnection, exchange: &Exchange, comparison: &Comparison) -> bool {
    let mut fields = comparison.differences.iter().map(|it| it.field.as_str());
    let closed = mesh.closed.as_ref();
    let was_left = closed.is_some_and(|closed| closed.client_closed_first || !closed.both_fin);
    let was_left = was_left || exchange.stream.is_some();
    mesh.side == Side::Client
        && exchange.response.is_none()
        && was_left
        && comparison.accusing == 1
        && fields.any(|field| field == "http.response.status_code")
}

pub(super) fn client_pid(connection: &Connection) -> Option<u32> {
    let process = connection
        .client
        .as_ref()
        .and_then(|end| end.process.as_ref());
    process.map(|process| process.pid)
}

/// The app answered what is no HTTP, or was sent what is no header block, and the proxy says so, too
/// (`UPE`, `DPE`).
fn both_call_it_no_http(exchange: &Exchange, line: &Line) -> bool {
    let says = |entry: &Entry| match exchange.method {
        Some(_) => entry.has_flag("UPE"),
        None => entry.method.is_none() && entry.has_flag("DPE"),
    };
    exchange.gap == Some(Gap::StreamMismatch) && line.entry().is_some_and(says)
}
