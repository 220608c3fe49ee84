//! The legs in which proxies sent plaintext, while they may still be judged.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use super::mention::{Cluster, Mention};
use crate::{http::ConnectionId, timestamp::Timestamp};

/// Legs of one pod that are kept, of those whose other end is known and of those whose is not.
const KEPT_OF_POD: usize = 4096;

/// What the client end of a leg sends from, and to.
pub(super) type Tuple = (SocketAddr, SocketAddr);

/// A leg in which a proxy sent plaintext.
///
/// ```text
/// told ──▶ paired: another sidecar has its other end
///            ├──(a line of a service, or none after its close)──▶ found
///            └──(lines of the passthrough cluster alone)──▶ forgotten after its close
/// ```
#[derive(Debug)]
pub(super) struct PlainLeg {
    pub(super) tuple: Tuple,
    /// Whose proxy sent.
    pub(super) pod_uid: Arc<str>,
    pub(super) opened: Timestamp,
    /// When the plaintext was sent.
    pub(super) sent: Timestamp,
    pub(super) closed: Option<Timestamp>,
    /// The record of its end, if it has one.
    pub(super) record: Option<Arc<str>>,
    /// Another pod's proxy has the other end.
    pub(super) is_paired: bool,
    /// It closed, and its log was read far enough: no line speaks of it.
    pub(super) has_no_line: bool,
    /// When it is to be looked at.
    due: Option<Timestamp>,
    /// What its lines say; one that names a service outweighs any that do not.
    cluster: Option<Cluster>,
}

/// Whose legs they are, and whether they are paired.
type Place = (Arc<str>, bool);

/// Legs by their connection, bounded for each pod.
#[derive(Debug, Default)]
pub(super) struct PlainLegs {
    legs: BTreeMap<ConnectionId, PlainLeg>,
    by_source: BTreeSet<(SocketAddr, ConnectionId)>,
    of_pods: BTreeMap<Place, BTreeSet<ConnectionId>>,
    /// When to look at a leg that closed.
    agenda: BTreeSet<(Timestamp, ConnectionId)>,
}

impl PlainLeg {
    pub(super) fn new(
        tuple: Tuple,
        pod_uid: &Arc<str>,
        opened: Timestamp,
        sent: Timestamp,
    ) -> Self {
        Self {
            tuple,
            pod_uid: Arc::clone(pod_uid),
            opened,
            sent,
            closed: None,
            record: None,
            is_paired: false,
            has_no_line: false,
            due: None,
            cluster: None,
        }
    }

    /// A line of its pod was read.
    pub(super) fn hear(&mut self, mention: &Mention) {
        if mention.names(self) {
            self.cluster = self.cluster.max(Some(mention.cluster));
        }
    }

    fn place(&self) -> Place {
        (Arc::clone(&self.pod_uid), self.is_paired)
    }

    /// All lines that speak of it name the passthrough cluster.
    pub(super) fn is_passthrough(&self) -> bool {
        self.cluster == Some(Cluster::Passthrough)
    }

    /// A line that speaks of it names another cluster.
    pub(super) fn is_of_service(&self) -> bool {
        self.cluster == Some(Cluster::Other)
    }
}

impl PlainLegs {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.legs.len()
    }

    pub(super) fn insert(&mut self, id: ConnectionId, leg: PlainLeg) {
        self.by_source.insert((leg.tuple.0, id));
        let place = leg.place();
        self.legs.insert(id, leg);
        self.count(id, place);
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&PlainLeg> {
        self.legs.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut PlainLeg> {
        self.legs.get_mut(&id)
    }

    /// Those that send from an address.
    pub(super) fn from(&self, source: SocketAddr) -> Vec<ConnectionId> {
        let all = (source, ConnectionId::MIN)..=(source, ConnectionId::MAX);
        self.by_source.range(all).map(|(_, id)| *id).collect()
    }

    /// Another pod's proxy has the other end of a leg.
    pub(super) fn pair(&mut self, id: ConnectionId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            let before = leg.place();
            leg.is_paired = true;
            let place = leg.place();
            self.discount(id, before);
            self.count(id, place);
        }
    }

    /// A leg that closed is to be looked at then.
    pub(super) fn look_at(&mut self, id: ConnectionId, time: Timestamp) {
        if let Some(leg) = self.legs.get_mut(&id) {
            if let Some(before) = leg.due.replace(time) {
                self.agenda.remove(&(before, id));
            }
            self.agenda.insert((time, id));
        }
    }

    /// A leg that is to be looked at now.
    pub(super) fn next_due(&mut self, now: Timestamp) -> Option<ConnectionId> {
        let is_due = self.agenda.first().is_some_and(|(time, _)| *time <= now);
        let (_, id) = is_due.then(|| self.agenda.pop_first())??;
        Some(id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<PlainLeg> {
        let leg = self.legs.remove(&id)?;
        self.by_source.remove(&(leg.tuple.0, id));
        if let Some(due) = leg.due {
            self.agenda.remove(&(due, id));
        }
        self.discount(id, leg.place());
        Some(leg)
    }

    /// The oldest of its pod goes where there are too many.
    fn count(&mut self, id: ConnectionId, place: Place) {
        let of_pod = self.of_pods.entry(place).or_default();
        of_pod.insert(id);
        if of_pod.len() > KEPT_OF_POD
            && let Some(oldest) = of_pod.first().copied()
        {
            self.remove(oldest);
        }
    }

    fn discount(&mut self, id: ConnectionId, place: Place) {
        if let Entry::Occupied(mut of_pod) = self.of_pods.entry(place) {
            of_pod.get_mut().remove(&id);
            if of_pod.get().is_empty() {
                of_pod.remove();
            }
        }
    }
}
