//! Exchanges for which no line came.

use super::{
    Ledger,
    compare::{Comparison, compare},
    doubt::doubt_of,
    input::Exchange,
    judge::client_pid,
    policy,
    tracked::{MeshConnection, Tracked, reason_of},
    write::Judgement,
};
use crate::{
    http::ConnectionId,
    record::{Reason, Side, Units, Verdict},
};

impl Ledger {
    /// No line came for an exchange.
    pub(super) fn conclude_exchange(&mut self, id: ConnectionId, exchange: Box<Exchange>) {
        let mut found = None;
        if exchange.may_be_forwarded() {
            found = self.take_forwarded_line(id, &exchange);
        }
        if let Some(line) = found.or_else(|| self.take_copy(id, &exchange)) {
            let side = self.side(id);
            let comparison = line.entry().map(|entry| compare(side, &exchange, entry));
            self.conclude_pair(id, &exchange, &line, comparison.unwrap_or_default(), None);
            return;
        }
        if self.count_in_attempt(id, &exchange) {
            self.put_attempt(id, &exchange);
            return;
        }
        if let Some(line) = self.take_doubtful_line(id, &exchange) {
            self.enter_exchanges(id);
            let (verdict, reasons) = (Verdict::Unverifiable, vec![doubt_of(&line)]);
            let units = Units::new(1, 1);
            let judgement = Judgement {
                verdict,
                reasons,
                units,
            };
            let paired = Some((&*line, Comparison::default()));
            self.put_exchange(id, &exchange, paired, judgement, None);
            return;
        }
        self.enter_exchanges(id);
        let (verdict, reasons) = self.judge_missing_line(id, &exchange);
        if let (Verdict::Unverifiable, Some(reason)) = (verdict, reasons.first()) {
            self.excuse_late_line(id, &exchange, *reason);
        }
        let units = Units::new(1, 0);
        let judgement = Judgement {
            verdict,
            reasons,
            units,
        };
        let record = self.put_exchange(id, &exchange, None, judgement, None);
        if verdict == Verdict::Unlogged
            && let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id)
        {
            mesh.leg.accuse(exchange, record);
        }
    }

    fn judge_missing_line(&self, id: ConnectionId, exchange: &Exchange) -> (Verdict, Vec<Reason>) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return (Verdict::Unverifiable, vec![Reason::Evicted]);
        };
        let pod = self.pods.get(&mesh.place.pod_uid);
        let grace = self.grace();
        // An app may go on with what its proxy gave up and wrote about, and of requests that are
        // alike the last may be left over for an earlier one.
        let fell_into_hole = pod.is_some_and(|pod| {
            pod.fell_into_hole(mesh.connection.time, (exchange.time, exchange.end), grace)
        });
        let unverifiable = |reason| (Verdict::Unverifiable, vec![reason]);
        if let Some(gap) = exchange.gap {
            return unverifiable(reason_of(gap));
        }
        if fell_into_hole {
            return unverifiable(Reason::LineLost);
        }
        let in_time = (exchange.time, exchange.end);
        if let Some(lost) = mesh.lost_around(in_time) {
            return unverifiable(lost);
        }
        // Its line names no connection: that of another in its pod, which was not seen, does so too.
        if exchange.may_be_forwarded()
            && let Some(lost) = self.refused(&mesh.place.pod_uid, in_time)
        {
            return unverifiable(lost);
        }
        let unread = mesh.closed.as_ref().is_some_and(|closed| closed.unread);
        if unread || exchange.refused || mesh.never_began(exchange) {
            return (Verdict::Outside, vec![Reason::NoRequest]);
        }
        let rules = &self.settings.policy;
        if policy::unlogged_rule(rules, &self.roles, mesh, Some(exchange)).is_some() {
            return (Verdict::Outside, vec![Reason::Policy]);
        }
        let uid = &mesh.place.pod_uid;
        let is_doubtful = self.may_be_pilot_agents(mesh);
        let may_be_carried =
            !is_doubtful || pod.is_some_and(|pod| pod.held_any_network_connection(in_time));
        if may_be_carried && !pod.is_some_and(|pod| pod.lines_ever) {
            return unverifiable(Reason::NoLog);
        }
        if mesh.withholds_accusations() {
            return unverifiable(Reason::Preexisting);
        }
        if is_doubtful {
            return outside_by_name(mesh);
        }
        let killed = self.proxy_ended_over(uid, exchange.time, exchange.end);
        let reasons = killed.then_some(Reason::ProxyKilled).into_iter().collect();
        (Verdict::Unlogged, reasons)
    }

    /// Which thread group is the proxy is not known, and pilot-agent calls the app too.
    pub(super) fn may_be_pilot_agents(&self, mesh: &MeshConnection) -> bool {
        let pid = client_pid(&mesh.connection);
        mesh.side == Side::Server && !self.roles.is_proxy(&mesh.place.pod_uid, pid)
    }

    /// An exchange was not accused for want of its line. If that comes after all, it is not to be
    /// accused either.
    fn excuse_late_line(&mut self, id: ConnectionId, exchange: &Exchange, reason: Reason) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let in_time = (exchange.time, exchange.end);
        let lossy = exchange.gap.is_some() || mesh.lost_around(in_time) == Some(reason);
        if !lossy && reason != Reason::NoLog {
            return;
        }
        *mesh.excuses.entry(reason).or_default() += 1;
        if reason == Reason::NoLog
            && let Some(pod) = self.pods.get_mut(&mesh.place.pod_uid)
        {
            pod.no_log_until = pod.no_log_until.max(Some(exchange.end));
        }
    }
}

/// What may be pilot-agent's has no line.
pub(super) fn outside_by_name(mesh: &MeshConnection) -> (Verdict, Vec<Reason>) {
    let mut reasons = vec![Reason::PilotAgent];
    reasons.extend((!mesh.by_name).then_some(Reason::RoleByName));
    (Verdict::Outside, reasons)
}
