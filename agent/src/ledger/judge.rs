//! What stands between both accounts of a connection, into verdicts.

use super::{
    CAPTURE_DELAY, Ledger, PATIENCE_WITH_SILENT_LOGS, RUNTIME_DELAY,
    compare::{Comparison, compare, compare_connection},
    input::{Exchange, Line, LineContent},
    leg::{Horizon, Settled},
    lines::doubt_of,
    policy,
    tracked::{Tracked, reason_of},
    write::{Judgement, connection_traffic, envoy_body, exchange_traffic, own_end, workload},
};
use crate::{
    config::Expectation,
    http::{Connection, ConnectionId},
    record::{Kind, Reason, Side, Traffic, Units, Verdict},
    timestamp::Timestamp,
};

/// Connections with accused exchanges are kept this long for late lines.
const PATIENCE_WITH_LATE_LINES: std::time::Duration = std::time::Duration::from_secs(300);

impl Ledger {
    pub(super) fn log_progress(&mut self, uid: &str, read_until: Timestamp) {
        let pod = self.pods.entry(uid.to_owned()).or_default();
        if pod.read_until.is_none_or(|until| until < read_until) {
            pod.read_until = Some(read_until);
        }
        self.look_at_agenda(uid, read_until);
    }

    pub(super) fn capture_progress(&mut self, time: Timestamp) {
        self.captured_until = self.captured_until.max(time);
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
            Some(_) if !mesh.leg.is_settled() || !mesh.connection_lines.is_empty() => {
                Some(looked_at + RUNTIME_DELAY)
            }
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

    /// Pairs what agrees on a connection, at once.
    pub(super) fn pair(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let mut settled = Vec::new();
        mesh.leg.pair(&mut settled);
        for item in settled {
            self.conclude(id, item);
        }
        self.finish(id);
    }

    /// Judges what both accounts of a connection are known of.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        self.pair(id);
        let grace = self.grace();
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(pod) = self.pods.get(&mesh.place.pod_uid) else {
            return;
        };
        let read_until = pod
            .read_until
            .unwrap_or(self.captured_until - PATIENCE_WITH_SILENT_LOGS);
        let proved_http = pod.http_matched.contains(&(mesh.side, mesh.port()));
        let past_close = mesh
            .closed
            .as_ref()
            .is_some_and(|closed| closed.time + grace <= read_until);
        let horizon = Horizon {
            exchanges: read_until - grace,
            lines: self.captured_until - CAPTURE_DELAY,
        };
        if mesh.has_exchanges() {
            let judge_exchanges = (proved_http || past_close) && !mesh.is_carried_as_tcp();
            let mut settled = Vec::new();
            mesh.leg.settle(horizon, judge_exchanges, &mut settled);
            for item in settled {
                self.conclude(id, item);
            }
        }
        self.finish(id);
    }

    fn conclude(&mut self, id: ConnectionId, settled: Settled) {
        match settled {
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
            Settled::Line { line, repeated } => self.conclude_line(id, &line, repeated),
        }
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

    fn conclude_pair(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        line: &Line,
        comparison: Comparison,
        revises: Option<String>,
    ) {
        self.enter_exchanges(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let mut reasons = comparison.reasons.clone();
        let agrees = comparison.agrees();
        // What an ambiguous line says in every reading can accuse; it cannot acquit.
        let verdict = if agrees && matches!(line.content, LineContent::Ambiguous(_)) {
            reasons.insert(0, Reason::LineAmbiguous);
            Verdict::Unverifiable
        } else if let Some(gap) = exchange.gap {
            reasons.insert(0, reason_of(gap));
            Verdict::Unverifiable
        } else if agrees {
            mesh.leg.ever_matched = true;
            Verdict::Matched
        } else if mesh.withholds_accusations() {
            reasons.insert(0, Reason::Preexisting);
            Verdict::Unverifiable
        } else {
            Verdict::Mismatched
        };
        reasons.extend(mesh.standing_reasons());
        mesh.note(verdict);
        let (side, port, place) = (mesh.side, mesh.port(), mesh.place.clone());
        let mut traffic = exchange_traffic(
            &self.roles,
            side,
            Some(&place),
            &mesh.connection,
            exchange,
            Some((line, comparison)),
        );
        if verdict == Verdict::Matched && side == Side::Server {
            self.roles
                .prove_proxy(&place.pod_uid, client_pid(&mesh.connection));
        }
        let pod = self.pods.entry(place.pod_uid.clone()).or_default();
        let units = Units::new(1, 1);
        pod.http_matched.insert((side, port));
        match revises {
            Some(record) => {
                reasons.push(Reason::LateLine);
                traffic.revises = vec![record];
                pod.account.withdraw(Verdict::Unlogged, Units::new(1, 0));
                pod.account.judge(verdict, &reasons, units);
            }
            None => pod.account.judge(verdict, &reasons, units),
        }
        self.writer.traffic(
            Kind::Http,
            exchange.time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
    }

    /// No line came for an exchange.
    fn conclude_exchange(&mut self, id: ConnectionId, exchange: Box<Exchange>) {
        if exchange.forwarded
            && let Some(line) = self.take_forwarded_line(id, &exchange)
        {
            let side = self.side(id);
            let comparison = line.entry().map(|entry| compare(side, &exchange, entry));
            self.conclude_pair(id, &exchange, &line, comparison.unwrap_or_default(), None);
            return;
        }
        if let Some(line) = self.take_doubtful_line(id, &exchange) {
            self.conclude_doubt(id, &exchange, &line, doubt_of(&line));
            return;
        }
        self.enter_exchanges(id);
        let (verdict, mut reasons) = self.judge_missing_line(id, &exchange);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        reasons.extend(mesh.standing_reasons());
        mesh.note(verdict);
        let place = mesh.place.clone();
        let traffic = exchange_traffic(
            &self.roles,
            mesh.side,
            Some(&place),
            &mesh.connection,
            &exchange,
            None,
        );
        let units = Units::new(1, 0);
        self.account(Some(&place.pod_uid))
            .judge(verdict, &reasons, units);
        let time = exchange.time;
        let record = self.writer.traffic(
            Kind::Http,
            time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
        if verdict == Verdict::Unlogged
            && let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id)
        {
            mesh.leg.accuse(exchange, record);
        }
    }

    fn conclude_doubt(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        line: &Line,
        reason: Reason,
    ) {
        self.enter_exchanges(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let (verdict, units) = (Verdict::Unverifiable, Units::new(1, 1));
        mesh.note(verdict);
        let place = mesh.place.clone();
        let traffic = exchange_traffic(
            &self.roles,
            mesh.side,
            Some(&place),
            &mesh.connection,
            exchange,
            Some((line, Comparison::default())),
        );
        let reasons = vec![reason];
        self.account(Some(&place.pod_uid))
            .judge(verdict, &reasons, units);
        self.writer.traffic(
            Kind::Http,
            exchange.time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
    }

    /// A line that cannot be read for sure may be the one that an exchange misses.
    fn take_doubtful_line(&mut self, id: ConnectionId, exchange: &Exchange) -> Option<Box<Line>> {
        let grace = self.grace();
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return None;
        };
        let pod = self.pods.get_mut(&mesh.place.pod_uid)?;
        let in_time = exchange.time..=exchange.end + grace;
        let at = pod
            .doubtful
            .iter()
            .position(|line| in_time.contains(&line.time))?;
        pod.doubtful.remove(at)
    }

    fn judge_missing_line(&self, id: ConnectionId, exchange: &Exchange) -> (Verdict, Vec<Reason>) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return (Verdict::Unverifiable, vec![Reason::Evicted]);
        };
        let pod = self.pods.get(&mesh.place.pod_uid);
        let grace = self.grace();
        let fell_into_hole = pod.is_some_and(|pod| {
            pod.holes
                .iter()
                .any(|hole| *hole >= exchange.end && *hole <= exchange.end + grace * 2)
        });
        let unverifiable = |reason| (Verdict::Unverifiable, vec![reason]);
        if let Some(gap) = exchange.gap {
            return unverifiable(reason_of(gap));
        }
        if fell_into_hole {
            return unverifiable(Reason::LineLost);
        }
        let connection = &mesh.connection;
        let server = connection.asked.unwrap_or(connection.destination);
        let remote = if mesh.side == Side::Client {
            server
        } else {
            connection.source
        };
        let subject = policy::Subject {
            side: mesh.side,
            place: Some(&mesh.place),
            server,
            remote,
            exchange: Some(exchange),
        };
        if policy::expects(
            &self.settings.policy,
            &self.roles,
            Expectation::Unlogged,
            subject,
        ) {
            return (Verdict::Outside, vec![Reason::Policy]);
        }
        if !pod.is_some_and(|pod| pod.lines_ever) {
            return unverifiable(Reason::NoLog);
        }
        if mesh.withholds_accusations() {
            return unverifiable(Reason::Preexisting);
        }
        let uid = &mesh.place.pod_uid;
        if mesh.side == Side::Server && !self.roles.is_proxy(uid, client_pid(connection)) {
            // Which thread group is the proxy is not known, and pilot-agent probes the app too.
            return (
                Verdict::Outside,
                vec![Reason::PilotAgent, Reason::RoleByName],
            );
        }
        (Verdict::Unlogged, Vec::new())
    }

    /// No exchange of its connection fits a line.
    fn conclude_line(&mut self, id: ConnectionId, line: &Line, repeated: bool) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let side = Some(mesh.side);
        if matches!(line.content, LineContent::Ambiguous(_)) {
            self.judge_line(
                line,
                Verdict::Unverifiable,
                vec![Reason::LineAmbiguous],
                side,
            );
        } else if repeated {
            mesh.note(Verdict::Unseen);
            self.judge_line(line, Verdict::Unseen, vec![Reason::Repeated], side);
        } else if let Some(lost) = mesh.lost.iter_mut().find(|lost| lost.excuses_a_line()) {
            lost.excused_lines += 1;
            let reason = reason_of(lost.cause);
            self.judge_line(line, Verdict::Unverifiable, vec![reason], side);
        } else if mesh.withholds_accusations() {
            self.judge_line(line, Verdict::Unverifiable, vec![Reason::Preexisting], side);
        } else {
            mesh.note(Verdict::Unseen);
            self.judge_unseen(line, side);
        }
    }

    /// Closes the books of a connection once it is closed and everything on it is judged.
    fn finish(&mut self, id: ConnectionId) {
        let grace = self.grace();
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let Some(closed) = &mesh.closed else { return };
        let read_until = self
            .pods
            .get(&mesh.place.pod_uid)
            .and_then(|pod| pod.read_until)
            .unwrap_or(self.captured_until - PATIENCE_WITH_SILENT_LOGS);
        let past_close = closed.time + grace <= read_until;
        if mesh.finished {
            self.judge_strays(id);
        } else if !mesh.has_exchanges() || mesh.is_carried_as_tcp() {
            if !mesh.connection_lines.is_empty() || past_close {
                self.finish_as_connection(id);
            }
        } else if mesh.leg.open_exchanges() == 0 {
            self.finish_with_exchanges(id);
        }
    }

    /// The connection is the unit: it carried no exchange, or the proxy carried it as TCP.
    fn finish_as_connection(&mut self, id: ConnectionId) {
        let side = self.side(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        mesh.finished = true;
        let lines = std::mem::take(&mut mesh.connection_lines);
        let exchanges = mesh.leg.drain().ended;
        let first = lines
            .iter()
            .position(|line| mesh.begun == 0 || !speaks_of_http(line));
        let line = first.map(|at| &lines[at]);
        let as_tcp = mesh.begun > 0;
        let standing = mesh.standing_reasons();
        let preexisting = mesh.withholds_accusations();
        let comparison = line.and_then(|line| line.entry()).map(|entry| {
            if entry.speaks_of_http() {
                Comparison::default()
            } else {
                compare_connection(mesh.closed.as_ref(), entry)
            }
        });
        let (verdict, mut reasons) = match (&comparison, line) {
            (Some(_), Some(line)) if matches!(line.content, LineContent::Ambiguous(_)) => {
                (Verdict::Unverifiable, vec![Reason::LineAmbiguous])
            }
            (Some(comparison), _) if comparison.agrees() => {
                mesh.leg.ever_matched = true;
                (Verdict::Matched, Vec::new())
            }
            (Some(_), _) if preexisting => (Verdict::Unverifiable, vec![Reason::Preexisting]),
            (Some(_), _) => (Verdict::Mismatched, Vec::new()),
            (None, _) => self.judge_silent_connection(id),
        };
        reasons.extend(as_tcp.then_some(Reason::LoggedAsTcp));
        reasons.extend(standing);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let place = mesh.place.clone();
        for exchange in exchanges {
            let judgement = Judgement {
                verdict,
                reasons: reasons.clone(),
                units: Units::default(),
            };
            let traffic = exchange_traffic(
                &self.roles,
                side,
                Some(&place),
                &mesh.connection,
                &exchange,
                None,
            );
            self.writer
                .traffic(Kind::Http, exchange.time, judgement, traffic);
        }
        let mut traffic = connection_traffic(
            &self.roles,
            side,
            Some(&place),
            &mesh.connection,
            mesh.closed.as_ref(),
            as_tcp,
        );
        traffic.envoy = line.map(|line| envoy_body(line));
        traffic.differences = comparison
            .map(|comparison| comparison.differences)
            .unwrap_or_default();
        let time = mesh.connection.time;
        let units = Units::new(1, u64::from(line.is_some()));
        let account = self.account(Some(&place.pod_uid));
        account.enter(Units::new(1, 0));
        account.judge(verdict, &reasons, units);
        self.writer.traffic(
            Kind::Connection,
            time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
        for (at, line) in lines.iter().enumerate() {
            if Some(at) != first {
                self.judge_unseen(line, Some(side));
            }
        }
    }

    /// A connection that carried no exchange and has no line.
    fn judge_silent_connection(&self, id: ConnectionId) -> (Verdict, Vec<Reason>) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return (Verdict::Unverifiable, vec![Reason::Evicted]);
        };
        let pod = self.pods.get(&mesh.place.pod_uid);
        let carried_nothing = mesh.closed.as_ref().is_none_or(|closed| {
            closed.no_request
                || !closed.established
                || (closed.client_bytes == 0 && closed.server_bytes == 0)
        });
        if carried_nothing {
            return (Verdict::Outside, vec![Reason::NoRequest]);
        }
        if mesh.connection.preexisting {
            return (Verdict::Unverifiable, vec![Reason::Preexisting]);
        }
        if !pod.is_some_and(|pod| pod.lines_ever) {
            return (Verdict::Unverifiable, vec![Reason::NoLog]);
        }
        let ended = mesh
            .closed
            .as_ref()
            .map_or(Timestamp::MAX, |closed| closed.time);
        let grace = self.grace();
        let in_hole = |hole: &Timestamp| *hole >= ended && *hole <= ended + grace * 2;
        if pod.is_some_and(|pod| pod.holes.iter().any(in_hole)) {
            return (Verdict::Unverifiable, vec![Reason::LineLost]);
        }
        (Verdict::Unlogged, Vec::new())
    }

    fn finish_with_exchanges(&mut self, id: ConnectionId) {
        self.enter_exchanges(id);
        let side = self.side(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        mesh.finished = true;
        let place = mesh.place.clone();
        for at in 0..mesh.lost.len() {
            self.write_lost(id, at);
        }
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let verdict = mesh.worst.unwrap_or(Verdict::Matched);
        let judgement = Judgement {
            verdict,
            reasons: mesh.standing_reasons(),
            units: Units::default(),
        };
        let traffic = connection_traffic(
            &self.roles,
            side,
            Some(&place),
            &mesh.connection,
            mesh.closed.as_ref(),
            true,
        );
        let time = mesh.connection.time;
        self.writer
            .traffic(Kind::Connection, time, judgement, traffic);
        self.judge_strays(id);
    }

    /// Lines that speak of the whole connection, where exchanges were the units.
    fn judge_strays(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let side = mesh.side;
        for line in std::mem::take(&mut mesh.connection_lines) {
            self.judge_unseen(&line, Some(side));
        }
    }

    /// Heads known by number only: one record for all that went for one reason at one time.
    pub(super) fn write_lost(&mut self, id: ConnectionId, at: usize) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        mesh.note(Verdict::Unverifiable);
        let Some(lost) = mesh.lost.get(at).filter(|lost| lost.count > 0) else {
            return;
        };
        let (verdict, reasons) = (Verdict::Unverifiable, vec![reason_of(lost.cause)]);
        let units = Units::new(lost.count, 0);
        let time = lost.time;
        let place = mesh.place.clone();
        let traffic = Traffic {
            side: Some(mesh.side),
            workload: workload(
                &self.roles,
                Some(&place),
                own_end(mesh.side, &mesh.connection),
            ),
            attributes: super::write::addresses(mesh.side, &mesh.connection, None),
            ..Traffic::default()
        };
        self.account(Some(&place.pod_uid))
            .judge(verdict, &reasons, units);
        self.writer.traffic(
            Kind::Http,
            time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
    }

    pub(super) fn side(&self, id: ConnectionId) -> Side {
        match self.connections.get(&id) {
            Some(Tracked::Mesh(mesh)) => mesh.side,
            _ => Side::Client,
        }
    }
}

fn client_pid(connection: &Connection) -> Option<u32> {
    let process = connection
        .client
        .as_ref()
        .and_then(|end| end.process.as_ref());
    process.map(|process| process.pid)
}

fn speaks_of_http(line: &Line) -> bool {
    line.entry()
        .is_some_and(super::input::Entry::speaks_of_http)
}
