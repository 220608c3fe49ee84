//! Peers that a load balancer in front announces (PROXY protocol). Envoy logs them where the address
//! and port of the physical peer should be, and nothing tells which connection it was.

use std::sync::Arc;

use super::{
    Ledger,
    input::{Entry, Line},
    pod::{PodBook, started},
};

/// What the inbound lines that found their exchange say of peers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peers {
    /// The proxy held a connection from whom they name.
    connected: u64,
    /// It did not.
    announced: u64,
}

impl Ledger {
    /// An inbound line found its exchange. If it names a peer whom the proxy had no connection
    /// with, somebody may announce peers to this proxy.
    pub(super) fn learn_announced_peers(&mut self, uid: &Arc<str>, line: &Line) {
        let (Some(entry), Some(pod)) = (line.entry(), self.pods.get_mut(uid)) else {
            return;
        };
        if entry.downstream().is_none_or(|peer| peer.port() == 0) {
            return;
        }
        if pod.held_network_connection(line, entry) {
            pod.peers.connected += 1;
        } else {
            pod.peers.announced += u64::from(may_be_announced(entry));
        }
    }
}

impl Peers {
    /// One connection that was missed, or an edited line, is not enough.
    pub(super) fn are_announced(self) -> bool {
        self.announced > self.connected
    }
}

impl PodBook {
    /// Whether the proxy held a network connection from the peer that a line names, or any if that
    /// peer may have been announced.
    pub(super) fn held_announced_connection(&self, line: &Line, entry: &Entry) -> bool {
        self.held_network_connection(line, entry)
            || may_be_announced(entry)
                && !self.is_own_address(entry)
                && self.held_any_network_connection(started(line, entry))
    }

    /// Whether a line names the pod itself as its peer, as those of its own requests do.
    fn is_own_address(&self, entry: &Entry) -> bool {
        let peer = entry.downstream().map(|peer| peer.ip());
        let mut accepted = self.network_connections();
        accepted.any(|span| Some(span.destination.ip()) == peer)
    }
}

/// The format does not have the physical peer.
fn may_be_announced(entry: &Entry) -> bool {
    entry.downstream_direct_remote_address.is_none()
}
