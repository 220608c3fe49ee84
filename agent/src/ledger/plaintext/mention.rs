//! What a line says of the leg in which its proxy carried something on.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use super::legs::PlainLeg;
use crate::{
    ledger::{input::Line, pod::started},
    timestamp::Timestamp,
};

/// Where Istio's proxies carry what is for no service that they know, without mutual TLS.
const PASSTHROUGH: &str = "PassthroughCluster";

/// Mentions of one pod that are kept, for legs that are told later.
const KEPT: usize = 1024;

/// How far the times of a line and of its leg may be apart.
const TOLERANCE: Duration = Duration::from_secs(1);

/// What a line says of a leg.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Mention {
    /// `UPSTREAM_LOCAL_ADDRESS`.
    pub(super) source: SocketAddr,
    /// `UPSTREAM_HOST`.
    destination: Option<SocketAddr>,
    /// Not before this.
    began: Timestamp,
    /// Not after this.
    ended: Timestamp,
    pub(super) cluster: Cluster,
}

/// `UPSTREAM_CLUSTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cluster {
    Passthrough,
    /// Of a service, or one that somebody configured.
    Other,
}

/// The newest mentions of a pod's legs.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Mentions(VecDeque<Mention>);

impl Mention {
    /// None if the line names no leg to the network, or no cluster.
    pub(super) fn of(line: &Line) -> Option<Self> {
        let entry = line.entry()?;
        let cluster = entry.upstream_cluster.as_deref()?;
        if cluster.starts_with("inbound|") {
            return None;
        }
        let (_, last_start) = started(line, entry);
        let lasted = entry.duration_milliseconds.map(Duration::from_millis);
        let host = entry.upstream_host.as_deref();
        Some(Self {
            source: entry.upstream_local_address?,
            destination: host.and_then(|host| host.parse().ok()),
            began: entry.start_time.unwrap_or_default(),
            ended: lasted.map_or(line.time, |lasted| last_start + lasted),
            cluster: match cluster {
                PASSTHROUGH => Cluster::Passthrough,
                _ => Cluster::Other,
            },
        })
    }

    /// Whether it speaks of this leg: by both its addresses, and in its time. Ports come again.
    pub(super) fn names(&self, leg: &PlainLeg) -> bool {
        let (source, destination) = leg.tuple;
        self.source == source
            && self.destination.is_none_or(|named| named == destination)
            && leg.opened <= self.ended + TOLERANCE
            && leg
                .closed
                .is_none_or(|closed| self.began <= closed + TOLERANCE)
    }
}

impl Mentions {
    pub(super) fn push(&mut self, mention: Mention) {
        self.0.push_back(mention);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mention> {
        self.0.iter()
    }
}
