//! Pods without a sidecar that speak with meshed ones.
//!
//! Both ends of such a connection are on this node, each told by itself, and name it by the address
//! from which its client sends: there is no NAT of sources between pods.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Ledger, kept::Kept, roles::PodKind, tracked::AloneConnection};
use crate::{
    http::Connection,
    record::{FindingKind, Reason},
    timestamp::Timestamp,
};

/// Ends that are kept of either kind.
const KEPT: usize = 16_384;

/// An accept is no older than its connect, and this much younger at the most.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Ends of connections across pods, by the address from which the client sends.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Ends of meshed pods, and since when.
    meshed: Kept<SocketAddr, Timestamp>,
    /// Ends of pods without a sidecar whose record is written and of which no other end is known.
    plain: Kept<SocketAddr, PlainEnd>,
}

/// The end of a connection in a pod without a sidecar.
#[derive(Debug)]
struct PlainEnd {
    pod_uid: Arc<str>,
    time: Timestamp,
    record: Arc<str>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            meshed: Kept::new(KEPT),
            plain: Kept::new(KEPT),
        }
    }
}

impl Ledger {
    /// A connection across pods was told: if it is of a meshed one, who is at its other end?
    pub(super) fn meets_stranger(&mut self, alone: &AloneConnection) {
        let AloneConnection {
            connection, place, ..
        } = alone;
        // Datagrams are no traffic that a sidecar would have carried, names of the cluster least.
        let is_across =
            connection.udp.is_none() && connection.client.is_none() != connection.server.is_none();
        let now = self.captured_until;
        let mut kind_of = |uid: &str| self.roles.kind(uid, now);
        let is_meshed = place
            .as_ref()
            .is_some_and(|place| kind_of(&place.pod_uid) == Some(PodKind::Meshed));
        if !is_across || !is_meshed || alone.reasons.contains(&Reason::PilotAgent) {
            return;
        }
        let time = connection.time;
        self.strangers.meshed.insert(connection.source, time);
        let plain = self.strangers.plain.remove(&connection.source);
        if let Some(plain) = plain.filter(|plain| are_one(plain.time, time)) {
            self.find_stranger(&plain);
        }
    }

    /// The record of the end of a connection of a pod without a sidecar was written: was its other
    /// end a meshed pod's?
    pub(super) fn stranger_closed(
        &mut self,
        connection: &Connection,
        uid: &Arc<str>,
        record: &Arc<str>,
    ) {
        if connection.udp.is_some() {
            return;
        }
        let plain = PlainEnd {
            pod_uid: Arc::clone(uid),
            time: connection.time,
            record: Arc::clone(record),
        };
        match self.strangers.meshed.remove(&connection.source) {
            Some(time) if are_one(plain.time, time) => self.find_stranger(&plain),
            _ => self.strangers.plain.insert(connection.source, plain),
        }
    }

    fn find_stranger(&mut self, plain: &PlainEnd) {
        let record = Some(Arc::clone(&plain.record));
        let uid = Some(&plain.pod_uid);
        self.find(FindingKind::PodWithoutSidecar, uid, plain.time, record);
    }
}

/// Whether two ends that were told to begin at these times can be of one connection.
fn are_one(one: Timestamp, other: Timestamp) -> bool {
    one.max(other).since(one.min(other)) <= TOLERANCE
}
