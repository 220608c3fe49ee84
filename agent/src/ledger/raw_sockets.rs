//! Raw sockets: what is sent with one is seen by nobody, so that it was made is told.

use std::{net::SocketAddr, time::Duration};

use super::{
    Ledger,
    input::RawSocketFact,
    policy,
    roles::{Place, PodKind, Role},
    write::{Judgement, workload},
};
use crate::{
    config::{Expectation, PolicyRule},
    http::End,
    record::{
        Attributes, ConnectionBody, ConnectionState, FindingKind, Kind, Reason, Side, Traffic,
        Units, Verdict,
    },
    timestamp::Timestamp,
};

/// The longest that one waits until it is known whose it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Raw sockets of which that is not known.
const KEPT: usize = 4096;

impl Ledger {
    /// A process made a raw socket.
    pub(super) fn raw_socket(&mut self, socket: RawSocketFact) {
        let give_up = self.raw_sockets.len() >= KEPT;
        if let Some(socket) = self.judge_raw_socket(socket, self.captured_until, give_up) {
            self.raw_sockets.push_back(socket);
        }
    }

    /// Those whose process was not known are looked at again.
    pub(super) fn retry_raw_sockets(&mut self, now: Timestamp, give_up: bool) {
        for _ in 0..self.raw_sockets.len() {
            if let Some(socket) = self.raw_sockets.pop_front()
                && let Some(socket) = self.judge_raw_socket(socket, now, give_up)
            {
                self.raw_sockets.push_back(socket);
            }
        }
    }

    /// Judges it; gives it back if it is not known yet whose it is.
    fn judge_raw_socket(
        &mut self,
        socket: RawSocketFact,
        now: Timestamp,
        give_up: bool,
    ) -> Option<RawSocketFact> {
        let give_up = give_up || now.since(socket.time) >= PATIENCE;
        let end = socket.end();
        let role = match self.roles.role(&end) {
            Some(role) => role,
            None if give_up => self.roles.role_without_name(&end),
            None => return Some(socket),
        };
        let place = role.place()?.clone();
        match self.roles.kind(&place.pod_uid, now.max(socket.time)) {
            Some(PodKind::Meshed | PodKind::Gateway) => {}
            None if !give_up => return Some(socket),
            Some(PodKind::Plain) | None => return None,
        }
        let rule = self.rule_for_raw_sockets(&place, end.local);
        let policy = rule.and_then(policy::reason);
        let (verdict, reasons) = match role {
            Role::MeshInit(_) => (Verdict::Outside, vec![Reason::MeshInit]),
            _ if rule.is_some() => (Verdict::Outside, vec![Reason::Policy]),
            Role::Foreign(_) => (Verdict::Bypassed, vec![Reason::FromProxyContainer]),
            _ => (Verdict::Bypassed, Vec::new()),
        };
        let traffic = Traffic {
            side: Some(Side::Client),
            workload: workload(&self.roles, Some(&place), Some(&end)),
            attributes: Attributes {
                protocol: Some(socket.protocol_name()),
                policy: policy.filter(|_| reasons.contains(&Reason::Policy)),
                ..Attributes::default()
            },
            connection: Some(ConnectionBody {
                state: ConnectionState::Open,
                bytes_sent: 0,
                bytes_received: 0,
                retransmits: 0,
            }),
            ..Traffic::default()
        };
        let judgement = Judgement {
            verdict,
            reasons,
            units: Units::default(),
        };
        let record = self.tell(Kind::Connection, socket.time, judgement, traffic);
        if self.gathers(verdict) {
            self.gather_without_connection();
        }
        if verdict == Verdict::Bypassed {
            let uid = Some(&place.pod_uid);
            self.find(FindingKind::RawSocket, uid, socket.time, Some(record));
        }
        None
    }

    /// A rule for a port or for certain addresses does not cover what goes anywhere.
    fn rule_for_raw_sockets(&self, place: &Place, anywhere: SocketAddr) -> Option<&PolicyRule> {
        let subject = policy::Subject {
            side: Side::Client,
            place: Some(place),
            server: anywhere,
            remote: anywhere,
            exchange: None,
        };
        policy::rule(
            &self.settings.policy,
            &self.roles,
            Expectation::Direct,
            subject,
        )
    }
}

impl RawSocketFact {
    /// What made it. It has no addresses.
    fn end(&self) -> End {
        let anywhere = match self.ipv6 {
            true => SocketAddr::from(([0; 16], 0)),
            false => SocketAddr::from(([0; 4], 0)),
        };
        End {
            cookie: self.cookie,
            cgroup: self.cgroup,
            process: Some(self.process.clone()),
            local: anywhere,
            remote: anywhere,
        }
    }

    const fn protocol_name(&self) -> &'static str {
        match self.protocol {
            ICMP => "icmp",
            ICMPV6 => "icmpv6",
            _ => "raw",
        }
    }
}

/// `IPPROTO_ICMP`.
const ICMP: u32 = 1;
/// `IPPROTO_ICMPV6`.
const ICMPV6: u32 = 58;
