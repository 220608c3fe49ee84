//! UDP flows: their course, and their place in the books.
//!
//! A flow is a connection that is judged by itself. It is a unit from its first datagram on, and
//! its verdict stands from then on.

use std::net::{IpAddr, SocketAddr};

use super::{
    Ledger,
    course::{Course, alone, from_proxy_container},
    input::FlowsLost,
    roles::{Place, Role},
    tracked::{AloneConnection, Tracked},
    write::{Judgement, workload},
};
use crate::{
    http::{Connection, ConnectionId, Udp},
    record::{Attributes, Kind, Reason, Side, Traffic, Units, Verdict},
};

/// The port of DNS.
const DNS: u16 = 53;
/// The port at which pilot-agent answers DNS.
const DNS_OF_PILOT_AGENT: u16 = 15053;

/// The course of a flow in a pod with a proxy, by who holds its ends; `other`: none if it is not in
/// the pod, or nobody was there.
pub(super) fn flow_course(
    connection: &Connection,
    udp: Udp,
    side: Side,
    (own, other): (Role, Option<Role>),
    place: Place,
) -> Course {
    let outside = |reason| alone(Some(place.clone()), side, Verdict::Outside, reason);
    match own {
        Role::Proxy { by_name, .. } => {
            let mut reasons = vec![Reason::ProxyLeg];
            reasons.extend(by_name.then_some(Reason::RoleByName));
            Course::Alone {
                place: Some(place),
                side: Side::Proxy,
                verdict: Verdict::Outside,
                reasons,
                reads_http: false,
            }
        }
        Role::PilotAgent(_) => outside(Reason::PilotAgent),
        Role::MeshInit(_) => outside(Reason::MeshInit),
        Role::App(_) | Role::Foreign(_) if is_dns(connection.destination) => outside(Reason::Dns),
        Role::App(_) if udp.inside => outside(Reason::PodInternal),
        Role::Foreign(_) if udp.inside && !matches!(other, Some(Role::App(_))) => {
            outside(Reason::PodInternal)
        }
        Role::Foreign(place) => from_proxy_container(place),
        Role::App(_) => Course::Alone {
            place: Some(place),
            side,
            verdict: Verdict::Bypassed,
            reasons: Vec::new(),
            reads_http: false,
        },
        Role::Kubelet | Role::Nobody => alone(None, side, Verdict::Outside, Reason::NoSidecar),
    }
}

/// Whether datagrams to this address are for a resolver of the cluster, or for pilot-agent.
fn is_dns(destination: SocketAddr) -> bool {
    match destination.port() {
        DNS => is_private(destination.ip()),
        port => port == DNS_OF_PILOT_AGENT,
    }
}

/// RFC 1918, 6598, 4193, loopback and link-local.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

impl Ledger {
    /// A flow whose course is known becomes a unit.
    pub(super) fn flow_begins(&mut self, alone: &AloneConnection) {
        if alone.connection.udp.is_none() {
            return;
        }
        let uid = alone.place.as_ref().map(|place| place.pod_uid.clone());
        self.account(uid.as_ref()).enter(alone.flow_units());
    }

    /// How much a flow that goes on has carried.
    pub(super) fn flow_carried(&mut self, id: ConnectionId, bytes: (u64, u64)) {
        if let Some(Tracked::Alone(alone)) = self.connections.get_mut(&id) {
            alone.carried = bytes;
        }
    }

    /// Flows were not told: the kernel side had no room for them.
    pub(super) fn flows_lost(&mut self, lost: &FlowsLost) {
        let role = lost.cgroup.and_then(|cgroup| self.roles.role_in(cgroup));
        if matches!(
            role,
            Some(Role::Kubelet | Role::Proxy { .. } | Role::PilotAgent(_))
        ) {
            // What they have are no units.
            return;
        }
        let place = role.as_ref().and_then(Role::place);
        let uid = place.map(|place| place.pod_uid.clone());
        let units = Units::new(lost.flows, 0);
        let judgement = Judgement {
            verdict: Verdict::Unverifiable,
            reasons: vec![Reason::Evicted],
            units,
        };
        let traffic = Traffic {
            workload: workload(&self.roles, place, None),
            attributes: Attributes {
                transport: Some("udp"),
                ..Attributes::default()
            },
            ..Traffic::default()
        };
        let account = self.account(uid.as_ref());
        account.enter(units);
        account.judge(judgement.verdict, &judgement.reasons, units);
        self.tell(Kind::Connection, lost.time, judgement, traffic);
        if self.gathers(Verdict::Unverifiable) {
            self.gather_without_connection();
        }
    }
}

impl AloneConnection {
    /// What it is in the books, if it is a flow.
    fn flow_units(&self) -> Units {
        Units::new(u64::from(self.side != Side::Proxy), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::is_dns;

    #[test]
    fn resolvers_of_the_cluster_are_told_from_public_ones() {
        for address in [
            "10.96.0.10:53",
            "172.31.255.255:53",
            "192.168.0.1:53",
            "100.64.0.1:53",
            "100.127.255.255:53",
            "127.0.0.53:53",
            "169.254.20.10:53",
            "[fd00:10:96::a]:53",
            "[fe80::1]:53",
            "[::1]:53",
            "127.0.0.1:15053",
            "8.8.8.8:15053",
        ] {
            assert!(is_dns(address.parse().unwrap()), "{address}");
        }
        for address in [
            "8.8.8.8:53",
            "172.32.0.1:53",
            "192.169.0.1:53",
            "100.63.255.255:53",
            "100.128.0.0:53",
            "169.255.0.1:53",
            "[2001:4860:4860::8888]:53",
            "[fec0::1]:53",
            "10.96.0.10:5353",
            "10.96.0.10:853",
        ] {
            assert!(!is_dns(address.parse().unwrap()), "{address}");
        }
    }
}
