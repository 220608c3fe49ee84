//! What the operators of the mesh declared as expected.

use std::net::{IpAddr, SocketAddr};

use super::{
    input::Exchange,
    roles::{Place, Roles},
    settings::{Expectation, PolicyRule},
};
use crate::record::Side;

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

/// Whether a rule expects this.
pub(super) fn expects(
    rules: &[PolicyRule],
    roles: &Roles,
    expectation: Expectation,
    subject: Subject<'_>,
) -> bool {
    let names_it =
        |rule: &PolicyRule| rule.expect == expectation || rule.expect == Expectation::Outside;
    rules
        .iter()
        .any(|rule| names_it(rule) && fits(rule, roles, subject))
}

fn fits(rule: &PolicyRule, roles: &Roles, subject: Subject<'_>) -> bool {
    let exchange = subject.exchange;
    let path = exchange.and_then(|exchange| exchange.shown.path.as_deref());
    let method = exchange.and_then(|exchange| exchange.method.as_deref());
    let status = exchange
        .and_then(|exchange| exchange.response.as_ref())
        .and_then(|response| response.status);
    rule.side.is_none_or(|side| side == subject.side)
        && rule.port.is_none_or(|port| port == subject.server.port())
        && rule
            .network
            .is_none_or(|network| contains(network, subject.remote.ip()))
        && rule
            .workload
            .as_deref()
            .is_none_or(|pattern| fits_workload(pattern, roles, subject.place))
        && rule
            .path
            .as_deref()
            .is_none_or(|pattern| path.is_some_and(|path| fits_text(pattern, path)))
        && rule
            .method
            .as_deref()
            .is_none_or(|expected| method == Some(expected))
        && rule.status.is_none_or(|expected| status == Some(expected))
}

fn fits_workload(pattern: &str, roles: &Roles, place: Option<&Place>) -> bool {
    let pod = place.and_then(|place| roles.pod(&place.pod_uid));
    pod.is_some_and(|pod| fits_text(pattern, &format!("{}/{}", pod.namespace, pod.name)))
}

fn fits_text(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == pattern,
    }
}

fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let (network, address, bits) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (
            u128::from(network.to_bits()),
            u128::from(address.to_bits()),
            32_u32,
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let ignored = bits.saturating_sub(u32::from(length));
    network.checked_shr(ignored) == address.checked_shr(ignored)
}

#[cfg(test)]
mod tests {
    use super::{contains, fits_text};

    #[test]
    fn networks_and_patterns() {
        let network = ("10.1.0.0".parse().unwrap(), 16);
        assert!(contains(network, "10.1.2.3".parse().unwrap()));
        assert!(!contains(network, "10.2.2.3".parse().unwrap()));
        assert!(!contains(network, "fd00::1".parse().unwrap()));
        assert!(contains(
            ("::".parse().unwrap(), 0),
            "fd00::1".parse().unwrap()
        ));
        assert!(contains(
            ("0.0.0.0".parse().unwrap(), 0),
            "8.8.8.8".parse().unwrap()
        ));
        assert!(fits_text("shop/*", "shop/a") && !fits_text("shop/a", "shop/ab"));
    }
}
