//! What it is when a connection goes past its sidecar.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{FindingKind, Found, Ledger};
use crate::{
    http::Connection,
    ledger::{
        roles::{Place, Sidecar},
        tracked::AloneConnection,
        write::{Judgement, connection_traffic, own_end},
    },
    record::{Kind, Reason, Side, Units, Verdict},
};

/// Istio's sidecar runs as this user, which its redirection leaves out.
const PROXY_USER: u32 = 1337;

/// Ports and addresses that are remembered of a pod, each.
const KEPT: usize = 4096;

/// What the sidecar of a pod was seen to hold.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Intercepted {
    /// By side and family (IPv6 or not).
    ports: BTreeSet<(Side, bool, u16)>,
    /// Where its app was held on the way to.
    addresses: BTreeSet<IpAddr>,
}

impl Intercepted {
    /// The sidecar holds a connection, asked for this server.
    pub(in crate::ledger) fn note(&mut self, side: Side, server: SocketAddr) {
        if self.ports.len() < KEPT {
            self.ports.insert((side, server.is_ipv6(), server.port()));
        }
        if side == Side::Client && self.addresses.len() < KEPT {
            self.addresses.insert(server.ip());
        }
    }

    /// Whether the redirection seems to leave a server out: others are held, it never was.
    fn leaves_out(&self, side: Side, server: SocketAddr) -> bool {
        let of_family = (side, server.is_ipv6());
        let mut ports = self.ports.iter();
        let holds_any = ports.any(|(side, is_v6, _)| (*side, *is_v6) == of_family);
        let holds_port = self
            .ports
            .contains(&(side, server.is_ipv6(), server.port()));
        let holds_address = side == Side::Server || self.addresses.contains(&server.ip());
        holds_any && !(holds_port && holds_address)
    }
}

impl Ledger {
    /// Which finding a connection is that is judged by itself; none for most.
    pub(in crate::ledger) fn found_alone(
        &self,
        connection: &Connection,
        place: Option<&Place>,
        side: Side,
        (verdict, reasons): (Verdict, &[Reason]),
    ) -> Option<FindingKind> {
        match (verdict, reasons.first()) {
            (Verdict::Bypassed, Some(Reason::FromProxyContainer)) => {
                Some(FindingKind::ProxyContainer)
            }
            (Verdict::Bypassed, _) => Some(self.found_bypass(connection, place?, side)),
            (Verdict::Outside, Some(Reason::Policy)) => Some(FindingKind::DeclaredExclusion),
            (Verdict::Outside, Some(Reason::PodInternal)) => self
                .touches_admin(connection)
                .then_some(FindingKind::AdminPort),
            _ => None,
        }
    }

    fn found_bypass(&self, connection: &Connection, place: &Place, side: Side) -> FindingKind {
        // No redirection covers datagrams, whoever sends them and when.
        match connection.udp {
            Some(udp) if udp.quic => return FindingKind::UnproxiedQuic,
            Some(_) => return FindingKind::UnproxiedUdp,
            None => {}
        }
        let process = own_end(side, connection).and_then(|end| end.process.as_ref());
        let server = connection.asked_for();
        let pod = self.pods.get(&place.pod_uid);
        let leaves_out = |intercepted: &Intercepted| intercepted.leaves_out(side, server);
        match (side, self.roles.sidecar(&place.pod_uid, connection.time)) {
            (Side::Client, _) if process.is_some_and(|process| process.user == PROXY_USER) => {
                FindingKind::ProxyUser
            }
            (_, Sidecar::NotYet) => FindingKind::BeforeSidecar,
            (_, Sidecar::Gone) => FindingKind::AfterSidecar,
            _ if pod.is_some_and(|pod| leaves_out(&pod.intercepted)) => {
                FindingKind::UndeclaredExclusion
            }
            (Side::Client, _) => FindingKind::BypassOutbound,
            _ => FindingKind::BypassInbound,
        }
    }

    /// An app speaks with the administration of its proxy.
    fn touches_admin(&self, connection: &Connection) -> bool {
        let Some(server) = &connection.server else {
            return false;
        };
        let port = connection.destination.port();
        let is_app = |end| self.roles.is_app(end);
        self.settings.mesh_admin.contains(&port)
            && connection.udp.is_none()
            && connection.client.as_ref().is_some_and(is_app)
            && !is_app(server)
    }

    /// A finding that a connection is by itself is told at once, with an open connection that is
    /// no unit yet.
    pub(in crate::ledger) fn announce(&mut self, alone: &AloneConnection) {
        let Some(kind) = alone.announces() else {
            return;
        };
        let record = self.tell_open(alone);
        let uid = alone.place.as_ref().map(|place| &place.pod_uid);
        self.findings.found.push(Found {
            lasts: true,
            ..Found::new(kind, uid, alone.connection.time, Some(record))
        });
    }

    /// Writes the record of a connection that is open, which is no unit.
    pub(in crate::ledger) fn tell_open(&mut self, alone: &AloneConnection) -> Arc<str> {
        let (connection, place, verdict) = (&alone.connection, alone.place.as_ref(), alone.verdict);
        let mut traffic =
            connection_traffic(&self.roles, alone.side, place, connection, None, false);
        traffic.attributes.tls.clone_from(&alone.tls);
        let judgement = Judgement {
            verdict,
            reasons: alone.reasons.clone(),
            units: Units::default(),
        };
        let record = self.tell(Kind::Connection, connection.time, judgement, traffic);
        if self.gathers(verdict) {
            self.gather_alone(connection, None);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Intercepted, KEPT};
    use crate::record::Side;

    #[test]
    fn so_many_ports_and_addresses_are_remembered_and_no_more() {
        let mut intercepted = Intercepted::default();
        let kept = u16::try_from(KEPT).unwrap();
        for at in 0..=kept {
            let [high, low] = at.to_be_bytes();
            let server = SocketAddr::from(([10, 1, high, low], at));
            intercepted.note(Side::Client, server);
            let leaves_out = intercepted.leaves_out(Side::Client, server);
            assert_eq!(leaves_out, at == kept, "{server}");
        }
        assert_eq!(
            (intercepted.ports.len(), intercepted.addresses.len()),
            (KEPT, KEPT)
        );
    }
}
