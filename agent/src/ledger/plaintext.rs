//! Plaintext between the sidecars of two pods.
//!
//! Both sockets of such a leg are on this node, each told by itself: what one proxy sends and what
//! another accepted, with the same two addresses, since there is no NAT between pods. So nobody is
//! accused of a leg to where no sidecar is, and of none whose first bytes were not seen.
//!
//! To a port that no service names Istio promises no mutual TLS. That a proxy carried a leg there
//! only its log says, so a leg waits for its line; a line that is missing is no excuse.

mod legs;
pub(super) mod mention;

use std::{sync::Arc, time::Duration};

use legs::{PlainLeg, PlainLegs, Tuple};
use mention::Mention;

use super::{
    Ledger,
    findings::LATE_LINES,
    input::Line,
    kept::Kept,
    roles::Place,
    tracked::{AloneConnection, Tracked},
};
use crate::{
    http::{Connection, ConnectionId, End},
    record::{FindingKind, Reason, Side},
    timestamp::Timestamp,
};

/// Accepted legs that are kept.
const KEPT: usize = 16_384;

/// How much later the two ends may be told to have begun than it was: an accept is no older than
/// its connect.
const TOLERANCE: Duration = Duration::from_secs(1);

/// How long after its close the other end of a leg may still be told: a new pod may be without a
/// name for a minute.
const PATIENCE_WITH_OTHER_END: Duration = Duration::from_secs(60);

/// How soon a leg is looked at again whose log was not read far enough.
const AGAIN: Duration = Duration::from_secs(1);

/// Network legs of proxies, by the addresses of what their client ends send.
#[derive(Debug)]
pub(super) struct NetworkLegs {
    /// Accepted at `mesh.listeners`: whose proxy has it, and since when.
    accepted: Kept<Tuple, (Arc<str>, Timestamp)>,
    /// In which a proxy sent plaintext.
    plain: PlainLegs,
}

impl Default for NetworkLegs {
    fn default() -> Self {
        Self {
            accepted: Kept::new(KEPT),
            plain: PlainLegs::default(),
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
        for id in self.network_legs.plain.from(tuple.0) {
            self.meet_other_end(id);
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
        let mut leg = PlainLeg::new(tuple(connection), pod_uid, connection.time, time);
        // The log may have been read sooner than the capture.
        let pod = self.pods.get(pod_uid);
        for mention in pod.into_iter().flat_map(|pod| pod.mentions.iter()) {
            leg.hear(mention);
        }
        self.network_legs.plain.insert(id, leg);
        self.meet_other_end(id);
    }

    /// A line was read, which may say to where its proxy carried a leg.
    pub(super) fn legs_mentioned(&mut self, line: &Line) {
        let Some(mention) = Mention::of(line) else {
            return;
        };
        for id in self.network_legs.plain.from(mention.source) {
            let leg = self.network_legs.plain.get_mut(id);
            if let Some(leg) = leg.filter(|leg| leg.pod_uid == line.pod_uid) {
                leg.hear(&mention);
                self.judge_leg(id);
            }
        }
        if let Some(pod) = self.pods.get_mut(&line.pod_uid) {
            pod.mentions.push(mention);
        }
    }

    /// The record of a leg's end was written.
    pub(super) fn leg_closed(&mut self, id: ConnectionId, time: Timestamp, record: &Arc<str>) {
        let last_line = time + self.grace() + LATE_LINES;
        if let Some(leg) = self.network_legs.plain.get_mut(id) {
            (leg.closed, leg.record) = (Some(time), Some(Arc::clone(record)));
            self.network_legs.plain.look_at(id, last_line);
        }
    }

    /// Time passes: no line comes any more for legs that closed long enough ago.
    pub(super) fn judge_closed_legs(&mut self) {
        while let Some(id) = self.network_legs.plain.next_due(self.captured_until) {
            self.judge_closed_leg(id);
        }
    }

    fn judge_closed_leg(&mut self, id: ConnectionId) {
        let (now, grace) = (self.captured_until, self.grace());
        let Some(leg) = self.network_legs.plain.get(id) else {
            return;
        };
        let Some(closed) = leg.closed else { return };
        if self.read_until(&leg.pod_uid) < closed + grace + LATE_LINES {
            self.network_legs.plain.look_at(id, now + AGAIN);
            return;
        }
        let fell_into_hole = self
            .pods
            .get(&leg.pod_uid)
            .is_some_and(|pod| pod.fell_into_hole(leg.opened, (leg.opened, closed), grace));
        if leg.is_passthrough() || fell_into_hole && !leg.is_of_service() {
            self.network_legs.plain.remove(id);
            return;
        }
        if let Some(leg) = self.network_legs.plain.get_mut(id) {
            leg.has_no_line = true;
            self.judge_leg(id);
        }
        let last_told = closed + PATIENCE_WITH_OTHER_END;
        if last_told <= now {
            self.network_legs.plain.remove(id);
        } else {
            self.network_legs.plain.look_at(id, last_told);
        }
    }

    /// Notes whether the proxy of another pod has the other end of a leg.
    fn meet_other_end(&mut self, id: ConnectionId) {
        let Some(leg) = self.network_legs.plain.get(id) else {
            return;
        };
        let Some((uid, accepted)) = self.network_legs.accepted.get(&leg.tuple) else {
            return;
        };
        if *accepted + TOLERANCE < leg.opened {
            // Of an earlier connection with these addresses.
            return;
        }
        if *uid == leg.pod_uid {
            self.network_legs.plain.remove(id);
        } else {
            self.network_legs.plain.pair(id);
            self.judge_leg(id);
        }
    }

    /// Finds a leg between sidecars unless it is for its line to say what it is.
    fn judge_leg(&mut self, id: ConnectionId) {
        let is_found = |leg: &PlainLeg| leg.is_paired && (leg.is_of_service() || leg.has_no_line);
        if !self.network_legs.plain.get(id).is_some_and(is_found) {
            return;
        }
        let Some(leg) = self.network_legs.plain.remove(id) else {
            return;
        };
        let record = match leg.record {
            Some(record) => Some(record),
            None => self.announce_leg(id),
        };
        let (kind, uid) = (FindingKind::PlaintextLeg, Some(&leg.pod_uid));
        self.find(kind, uid, leg.sent, record);
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
