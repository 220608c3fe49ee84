//! Verdicts on connections between app and sidecar into records and books, both at once.

use std::sync::Arc;

use super::{
    Ledger,
    compare::Comparison,
    input::{Exchange, Line},
    policy,
    tracked::Tracked,
    write::{Judgement, connection_traffic, envoy_body, exchange_traffic, peer_attributes},
};
use crate::{
    http::ConnectionId,
    record::{Difference, Kind, Reason, Side, Units, Verdict},
};

/// What a connection that turns out to be the unit takes over from its exchanges.
#[derive(Debug, Default)]
pub(super) struct TakenOver {
    /// Units that wait for a verdict.
    pub(super) pending: u64,
    /// Units that were accused of having no line.
    pub(super) accused: u64,
    /// The records that said so, and that of the connection's end.
    pub(super) revises: Vec<Arc<str>>,
}

impl Ledger {
    /// Books and writes the verdict on an exchange; returns the record's id. `revises` names the
    /// record in which it was accused before.
    pub(super) fn put_exchange(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        paired: Option<(&Line, Comparison)>,
        mut judgement: Judgement,
        revises: Option<Arc<str>>,
    ) -> Arc<str> {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return "".into();
        };
        // Whatever cannot be verified has one reason for it.
        if exchange.undecoded && judgement.verdict != Verdict::Unverifiable {
            judgement.reasons.push(Reason::HpackUnknownEntry);
        }
        judgement.reasons.extend(mesh.standing_reasons());
        mesh.note(judgement.verdict, &judgement.reasons);
        let verdict = judgement.verdict;
        let gathered = self.evidence.is_some();
        let line = paired.as_ref().map(|(line, _)| *line);
        let differing = paired
            .as_ref()
            .filter(|_| gathered && verdict != Verdict::Matched);
        let differences =
            differing.map(|(line, comparison)| (*line, comparison.differences.clone()));
        let place = Some(&mesh.place);
        let (side, connection) = (mesh.side, &mesh.connection);
        let mut traffic = exchange_traffic(&self.roles, side, place, connection, exchange, paired);
        if judgement.reasons.contains(&Reason::Policy) {
            let rules = &self.settings.policy;
            let rule = policy::unlogged_rule(rules, &self.roles, mesh, Some(exchange));
            traffic.attributes.policy = rule.and_then(policy::reason);
        }
        let pod = self.pods.entry(mesh.place.pod_uid.clone()).or_default();
        if side == Side::Server {
            pod.attempts.forget(exchange);
        }
        if let Some(record) = revises {
            judgement.reasons.push(Reason::LateLine);
            traffic.revises = vec![record];
            pod.account.withdraw(Verdict::Unlogged, Units::new(1, 0));
        }
        pod.account
            .judge(judgement.verdict, &judgement.reasons, judgement.units);
        let record = self.tell(Kind::Http, exchange.time, judgement, traffic);
        let sequence = self.writer.last_sequence();
        if self.gathers(verdict) {
            self.gather_exchange(id, exchange, differences);
        }
        if gathered
            && let (Some(line), Some(Tracked::Mesh(mesh))) = (line, self.connections.get_mut(&id))
        {
            mesh.recent.note(exchange, line, sequence);
        }
        if let Some(line) = line {
            self.find_sensitive(line, &record);
        }
        record
    }

    /// Books and writes the verdict on a connection. As a unit it enters the books here, but for
    /// what it takes over from its exchanges.
    pub(super) fn put_connection(
        &mut self,
        id: ConnectionId,
        line: Option<&Line>,
        differences: Vec<Difference>,
        mut judgement: Judgement,
        taken_over: TakenOver,
    ) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        judgement.reasons.extend(mesh.standing_reasons());
        let mut traffic = connection_traffic(
            &self.roles,
            mesh.side,
            Some(&mesh.place),
            &mesh.connection,
            mesh.closed.as_ref(),
            mesh.has_exchanges(),
        );
        let verdict = judgement.verdict;
        let gathers = self.evidence.is_some() && verdict != Verdict::Matched;
        let paired = line
            .filter(|_| gathers)
            .map(|line| (line, differences.clone()));
        if judgement.reasons.contains(&Reason::Policy) {
            let rules = &self.settings.policy;
            let rule = policy::unlogged_rule(rules, &self.roles, mesh, None);
            traffic.attributes.policy = rule.and_then(policy::reason);
        }
        traffic.attributes.tls.clone_from(&mesh.tls);
        traffic.envoy = line.map(envoy_body);
        peer_attributes(&mut traffic.attributes, line.and_then(Line::entry));
        traffic.differences = differences;
        let time = mesh.connection.time;
        let account = &mut self
            .pods
            .entry(mesh.place.pod_uid.clone())
            .or_default()
            .account;
        let TakenOver {
            pending,
            accused,
            revises,
        } = taken_over;
        account.enter(Units::new(
            judgement.units.observed.saturating_sub(pending + accused),
            0,
        ));
        if accused > 0 {
            account.withdraw(Verdict::Unlogged, Units::new(accused, 0));
        }
        traffic.revises = revises;
        account.judge(judgement.verdict, &judgement.reasons, judgement.units);
        let record = self.tell(Kind::Connection, time, judgement, traffic);
        if let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) {
            mesh.record = Some(Arc::clone(&record));
        }
        if gathers {
            self.gather_mesh(id, paired);
        }
        if let Some(line) = line {
            self.find_sensitive(line, &record);
        }
    }
}
