//! What the operators of the mesh declared as expected.

use std::{net::SocketAddr, sync::Arc};

use super::{
    input::Exchange,
    roles::{Place, Roles},
    tracked::MeshConnection,
};
use crate::{
    config::{Direction, Expectation, PolicyRule},
    record::Side,
};

/// What a rule is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) side: Side,
    pub(super) place: Option<&'a Place>,
    /// The server end.
    pub(super) server: SocketAddr,
    /// The end that is not the workload's.
    pub(super) remote: SocketAddr,
    pub(super) exchange: Option<&'a Exchange>,
}

/// The first rule that expects this.
pub(super) fn rule<'a>(
    rules: &'a [PolicyRule],
    roles: &Roles,
    expectation: Expectation,
    subject: Subject<'_>,
) -> Option<&'a PolicyRule> {
    let names_it =
        |rule: &PolicyRule| rule.expect == expectation || rule.expect == Expectation::Outside;
    rules
        .iter()
        .find(|rule| names_it(rule) && fits(rule, roles, subject))
}

/// The first rule that expects an exchange to have no line; without one, the connection itself.
pub(super) fn unlogged_rule<'a>(
    rules: &'a [PolicyRule],
    roles: &Roles,
    mesh: &MeshConnection,
    exchange: Option<&Exchange>,
) -> Option<&'a PolicyRule> {
    let connection = &mesh.connection;
    let server = connection.asked_for();
    let remote = match mesh.side {
        Side::Client => server,
        _ => connection.source,
    };
    let subject = Subject {
        side: mesh.side,
        place: Some(&mesh.place),
        server,
        remote,
        exchange,
    };
    rule(rules, roles, Expectation::Unlogged, subject)
}

/// Why a rule expects it, for the record.
pub(super) fn reason(rule: &PolicyRule) -> Option<Arc<str>> {
    rule.reason.as_deref().map(Into::into)
}

fn fits(rule: &PolicyRule, roles: &Roles, subject: Subject<'_>) -> bool {
    let exchange = subject.exchange;
    let path = exchange.and_then(|exchange| exchange.shown.path.as_deref());
    let method = exchange.and_then(|exchange| exchange.method.as_deref());
    let status = exchange
        .and_then(|exchange| exchange.response.as_ref())
        .and_then(|response| response.status);
    let pod = subject.place.and_then(|place| roles.pod(&place.pod_uid));
    let side = |direction| match direction {
        Direction::Inbound => Side::Server,
        Direction::Outbound => Side::Client,
    };
    rule.direction
        .is_none_or(|direction| side(direction) == subject.side)
        && rule.port.is_none_or(|port| port == subject.server.port())
        && rule
            .cidr
            .is_none_or(|cidr| cidr.contains(subject.remote.ip()))
        && fits_if_set(rule.workload.as_ref(), pod, |pattern, pod| {
            pattern.matches(&pod.namespace, &pod.name)
        })
        && fits_if_set(rule.path.as_ref(), path, |pattern, path| {
            pattern.matches(path)
        })
        && fits_if_set(rule.method.as_ref(), method, |expected, method| {
            expected == method
        })
        && fits_if_set(rule.status.as_ref(), status, |pattern, status| {
            pattern.matches(status)
        })
}

/// A condition that is not set fits everything; one that is set does not fit what is unknown.
fn fits_if_set<C, V>(condition: Option<C>, value: Option<V>, fits: impl Fn(C, V) -> bool) -> bool {
    condition.is_none_or(|condition| value.is_some_and(|value| fits(condition, value)))
}
