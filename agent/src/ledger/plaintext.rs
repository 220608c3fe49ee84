//! Plaintext between the sidecars of two pods.
//!
//! Both sockets of such a leg are on this node, each told by itself: what one proxy sends and what
//! another accepted, with the same two addresses, since there is no NAT between pods. So nobody is
//! accused of a leg to where no sidecar is, and of none whose first bytes were not seen.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Ledger,
    kept::Kept,
    roles::Place,
    tracked::{AloneConnection, Tracked},
};
use crate::{
    http::{Connection, ConnectionId, End},
    record::{FindingKind, Reason, Side},
    timestamp::Timestamp,
};

/// Legs that are kept of either kind.
const KEPT: usize = 16_384;

/// How much later the two ends may be told to have begun than it was: an accept is no older than
/// its connect.
const TOLERANCE: Duration = Duration::from_secs(1);

type Tuple = (SocketAddr, SocketAddr);

/// Network legs of proxies, by the addresses of what their client ends send.
#[derive(Debug)]
pub(super) struct NetworkLegs {
    /// Accepted at `mesh.listeners`: whose proxy has it, and since when.
    accepted: Kept<Tuple, (Arc<str>, Timestamp)>,
    /// In which a proxy sent plaintext, and of which no other end is known.
    plain: Kept<Tuple, PlainLeg>,
}

/// A leg in which a proxy sent plaintext.
#[derive(Clone, Debug)]
struct PlainLeg {
    id: ConnectionId,
    pod_uid: Arc<str>,
    /// When it was opened.
    opened: Timestamp,
    /// When the plaintext was sent.
    sent: Timestamp,
    /// The record of its end, if it has one.
    record: Option<Arc<str>>,
}

impl Default for NetworkLegs {
    fn default() -> Self {
        Self {
            accepted: Kept::new(KEPT),
            plain: Kept::new(KEPT),
        }
    }
}

#[cfg(test)]
impl NetworkLegs {
    /// Legs with plaintext that are kept.
    pub(super) fn kept(&self) -> usize {
        self.plain.len()
    }
}

impl Ledger {
    /// A proxy's network leg has its course.
    pub(super) fn leg_assigned(&mut self, alone: &AloneConnection) {
        let AloneConnection {
            connection, place, ..
        } = alone;
        let Some(place) = place.as_ref().filter(|_| is_network_leg(alone)) else {
            return;
        };
        let is_mesh_listener = |end: &End| self.roles.is_mesh_listener(end.local.port());
        if !connection.server.as_ref().is_some_and(is_mesh_listener) {
            return;
        }
        let (tuple, uid) = (tuple(connection), Arc::clone(&place.pod_uid));
        let accepted = (uid, connection.time);
        self.network_legs.accepted.insert(tuple, accepted);
        let plain = self.network_legs.plain.get(&tuple).cloned();
        if let Some(plain) = plain {
            self.judge_plain(tuple, &plain);
        }
    }

    /// The client end of a connection began with something that is no TLS.
    pub(super) fn sent_plain(&mut self, id: ConnectionId, time: Timestamp) {
        let Some(Tracked::Alone(alone)) = self.connections.get(&id) else {
            return;
        };
        let Some(Place { pod_uid, .. }) = &alone.place else {
            return;
        };
        let connection = &alone.connection;
        let by_name = alone.reasons.contains(&Reason::RoleByName);
        if !is_network_leg(alone)
            || connection.client.is_none()
            || by_name && !self.roles.is_proven(pod_uid)
        {
            return;
        }
        let plain = PlainLeg {
            id,
            pod_uid: Arc::clone(pod_uid),
            opened: connection.time,
            sent: time,
            record: None,
        };
        let tuple = tuple(connection);
        if !self.judge_plain(tuple, &plain) {
            self.network_legs.plain.insert(tuple, plain);
        }
    }

    /// The record of a leg's end was written.
    pub(super) fn leg_closed(&mut self, connection: &Connection, record: &Arc<str>) {
        let plain = self.network_legs.plain.get_mut(&tuple(connection));
        if let Some(plain) = plain.filter(|plain| plain.id == connection.id) {
            plain.record = Some(Arc::clone(record));
        }
    }

    /// Finds the leg if the proxy of another pod has its other end. True if nothing is left to
    /// learn of it.
    fn judge_plain(&mut self, tuple: Tuple, plain: &PlainLeg) -> bool {
        let Some((uid, accepted)) = self.network_legs.accepted.get(&tuple) else {
            return false;
        };
        if *accepted + TOLERANCE < plain.opened {
            // Of an earlier connection with these addresses.
            return false;
        }
        if *uid == plain.pod_uid {
            return true;
        }
        let record = match &plain.record {
            Some(record) => Some(Arc::clone(record)),
            None => self.announce_leg(plain.id),
        };
        let uid = Arc::clone(&plain.pod_uid);
        self.find(FindingKind::PlaintextLeg, Some(&uid), plain.sent, record);
        self.network_legs.plain.remove(&tuple);
        true
    }

    /// Writes the record of a leg that is open.
    fn announce_leg(&mut self, id: ConnectionId) -> Option<Arc<str>> {
        let Some(Tracked::Alone(alone)) = self.connections.get(&id) else {
            return None;
        };
        let alone = alone.clone();
        Some(self.tell_open(&alone))
    }
}

/// Whether it is a proxy's, and its other end elsewhere.
fn is_network_leg(alone: &AloneConnection) -> bool {
    let connection = &alone.connection;
    let is_across = connection.client.is_none() != connection.server.is_none();
    alone.side == Side::Proxy && is_across && alone.reasons.contains(&Reason::ProxyLeg)
}

fn tuple(connection: &Connection) -> Tuple {
    (connection.source, connection.destination)
}
