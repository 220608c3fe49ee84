//! The end of a connection: its books are closed once everything on it is judged.

use super::{
    Ledger,
    compare::{Comparison, compare_connection},
    input::{Line, LineContent},
    interim::{self, may_be_of_the_end},
    judge::client_pid,
    judge_missing::outside_by_name,
    policy,
    put::TakenOver,
    tracked::{Tracked, reason_of},
    write::{Judgement, own_end, workload},
};
use crate::{
    http::ConnectionId,
    record::{Kind, Reason, Side, Traffic, Units, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// Closes the books of a connection once it is closed and everything on it is judged.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        let grace = self.grace();
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let Some(closed) = &mesh.closed else { return };
        let read_until = self.read_until(&mesh.place.pod_uid);
        let past_close = closed.time + grace <= read_until;
        if mesh.finished && mesh.leg.has_accused() && mesh.is_carried_as_tcp() {
            self.finish_as_connection(id);
        } else if mesh.finished {
            self.judge_strays(id);
        } else if !mesh.has_exchanges() || mesh.is_carried_as_tcp() {
            let mut lines = mesh.connection_lines.iter();
            if past_close || lines.any(|line| may_be_of_the_end(line, closed.time)) {
                self.finish_as_connection(id);
            }
        } else if mesh.leg.open_exchanges() == 0 {
            self.finish_with_exchanges(id);
        }
    }

    /// The connection is the unit: it carried no exchange, or the proxy carried it as TCP.
    fn finish_as_connection(&mut self, id: ConnectionId) {
        let side = self.side(id);
        let lost = self.lost_in_life(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        mesh.finished = true;
        let lines = std::mem::take(&mut mesh.connection_lines);
        let mut taken_over = TakenOver {
            revises: mesh.leg.take_accused(),
            ..TakenOver::default()
        };
        taken_over.accused = taken_over.revises.len() as u64;
        // What was written of its end repeated the worst of its exchanges, and is no unit.
        taken_over.revises.extend(mesh.record.take());
        let left = mesh.leg.drain();
        let exchanges = left.ended;
        if mesh.entered > 0 {
            taken_over.pending = exchanges.len() as u64;
        }
        let first = lines
            .iter()
            .position(|line| mesh.begun == 0 || !line.speaks_of_http());
        let line = first.map(|at| &lines[at]);
        if let Some(entry) = line.and_then(|line| line.entry()) {
            mesh.long_pairs.note(entry, interim::KEPT);
        }
        let as_tcp = mesh.begun > 0;
        let preexisting = mesh.withholds_accusations();
        let comparison = line.and_then(|line| line.entry()).map(|entry| {
            if entry.speaks_of_http() {
                Comparison::default()
            } else {
                compare_connection(side, mesh.closed.as_ref(), mesh.tls.as_deref(), entry)
            }
        });
        let (verdict, mut reasons) = match (&comparison, line) {
            (Some(_), Some(line)) if matches!(line.content, LineContent::Ambiguous(_)) => {
                (Verdict::Unverifiable, vec![Reason::LineAmbiguous])
            }
            (Some(_), Some(line)) if mesh.hides_bytes_of(line) => {
                (Verdict::Unverifiable, vec![Reason::NoBytes])
            }
            (Some(comparison), _) if comparison.agrees() => {
                mesh.leg.ever_matched = true;
                (Verdict::Matched, Vec::new())
            }
            (Some(_), _) if preexisting => (Verdict::Unverifiable, vec![Reason::Preexisting]),
            (Some(_), _) => match lost {
                Some(lost) => (Verdict::Unverifiable, vec![lost]),
                None => (Verdict::Mismatched, Vec::new()),
            },
            (None, _) => self.judge_silent_connection(id),
        };
        if verdict == Verdict::Matched
            && let (Side::Server, Some(Tracked::Mesh(mesh)), true) =
                (side, self.connections.get(&id), line.is_some())
        {
            let pid = client_pid(&mesh.connection);
            self.roles.prove_proxy(&mesh.place.pod_uid, pid);
        }
        reasons.extend(as_tcp.then_some(Reason::LoggedAsTcp));
        reasons.extend((taken_over.accused > 0).then_some(Reason::LateLine));
        for exchange in exchanges {
            let units = Units::default();
            let judgement = Judgement {
                verdict,
                reasons: reasons.clone(),
                units,
            };
            self.put_exchange(id, &exchange, None, judgement, None);
        }
        let observed = taken_over.pending + taken_over.accused;
        let units = Units::new(observed.max(1), u64::from(line.is_some()));
        let judgement = Judgement {
            verdict,
            reasons,
            units,
        };
        let differences = comparison.map(|comparison| comparison.differences);
        let line = line.map(|line| &**line);
        let differences = differences.unwrap_or_default();
        self.put_connection(id, line, differences, judgement, taken_over);
        for (at, line) in lines.iter().enumerate() {
            if Some(at) != first {
                self.judge_further_line(id, line, side);
            }
        }
        for line in left.lines {
            self.judge_unseen(&line, Some(side));
        }
    }

    /// A line beyond the one that a connection has.
    fn judge_further_line(&mut self, id: ConnectionId, line: &Line, side: Side) {
        if self.is_of_a_pair(id, line) {
            self.judge_interim(Some(id), Box::new(line.clone()));
            return;
        }
        match self.connections.get(&id) {
            Some(Tracked::Mesh(mesh)) if mesh.hides_bytes_of(line) => {
                let reasons = vec![Reason::NoBytes];
                self.judge_line(line, Verdict::Unverifiable, reasons, Some(side));
            }
            _ => {
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
                || closed.unread
                || !closed.established
                || (closed.client_bytes == 0 && closed.server_bytes == 0)
        });
        if carried_nothing {
            return (Verdict::Outside, vec![Reason::NoRequest]);
        }
        let rules = &self.settings.policy;
        if policy::unlogged_rule(rules, &self.roles, mesh, None).is_some() {
            return (Verdict::Outside, vec![Reason::Policy]);
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
        if pod.is_some_and(|pod| pod.fell_into_hole(mesh.connection.time, (ended, ended), grace)) {
            return (Verdict::Unverifiable, vec![Reason::LineLost]);
        }
        if self.may_be_pilot_agents(mesh) {
            return outside_by_name(mesh);
        }
        let killed = self.proxy_ended_over(&mesh.place.pod_uid, mesh.connection.time, ended);
        let reasons = killed.then_some(Reason::ProxyKilled).into_iter().collect();
        (Verdict::Unlogged, reasons)
    }

    fn finish_with_exchanges(&mut self, id: ConnectionId) {
        self.enter_exchanges(id);
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        mesh.finished = true;
        let worst = mesh.worst.clone();
        let (verdict, reasons) = worst.unwrap_or((Verdict::Matched, Vec::new()));
        let units = Units::default();
        self.put_connection(
            id,
            None,
            Vec::new(),
            Judgement {
                verdict,
                reasons,
                units,
            },
            TakenOver::default(),
        );
        self.judge_strays(id);
    }

    /// Lines that speak of the whole connection, where exchanges were the units.
    fn judge_strays(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let side = mesh.side;
        for line in std::mem::take(&mut mesh.connection_lines) {
            self.judge_further_line(id, &line, side);
        }
    }

    /// Heads known by number only: one record for all that went for one reason at one time.
    pub(super) fn write_lost(&mut self, id: ConnectionId) {
        while let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id)
            && let Some((count, cause, time)) = mesh.lost.take_unwritten()
        {
            let cause = reason_of(cause);
            mesh.note(Verdict::Unverifiable, &[cause]);
            if count > 0 {
                self.write_lost_heads(id, count, cause, time);
            }
        }
    }

    fn write_lost_heads(&mut self, id: ConnectionId, count: u64, cause: Reason, time: Timestamp) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let (verdict, reasons) = (Verdict::Unverifiable, vec![cause]);
        let units = Units::new(count, 0);
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
        self.tell(
            Kind::Http,
            time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
        if self.gathers(verdict) {
            self.gather_mesh(id, None);
        }
    }
}
