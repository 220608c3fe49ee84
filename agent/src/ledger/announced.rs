//! Peers that a load balancer in front announces (PROXY protocol). Envoy logs them where the address
//! and port of the physical peer should be, and nothing tells which connection it was.

use std::sync::Arc;

use super::{
    Ledger,
    input::{Entry, Line},
    pod::{PodBook, started},
};

impl Ledger {
    /// An inbound line found its exchange. If it names a peer whom the proxy had no connection
    /// with, somebody announces peers to this proxy.
    pub(super) fn learn_announced_peers(&mut self, uid: &Arc<str>, line: &Line) {
        let (Some(entry), Some(pod)) = (line.entry(), self.pods.get_mut(uid)) else {
            return;
        };
        let names_a_peer = entry.downstream().is_some_and(|peer| peer.port() != 0);
        if names_a_peer && !pod.peers_are_announced && !pod.held_network_connection(line, entry) {
            pod.peers_are_announced = may_be_announced(entry);
        }
    }
}

impl PodBook {
    /// Whether the proxy held a network connection from the peer that a line names, or any if that
    /// peer may have been announced.
    pub(super) fn held_announced_connection(&self, line: &Line, entry: &Entry) -> bool {
        let held_any = || self.held_any_network_connection(started(line, entry));
        self.held_network_connection(line, entry) || may_be_announced(entry) && held_any()
    }
}

/// The format does not have the physical peer.
fn may_be_announced(entry: &Entry) -> bool {
    entry.downstream_direct_remote_address.is_none()
}
