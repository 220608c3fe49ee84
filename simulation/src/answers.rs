//! What a proxy answers by itself to the network, and what a gateway carries: lines without an
//! exchange, which the proxy's connections must account for.

use std::{net::SocketAddr, time::Duration};

use meshwitness::{
    envoy::LogEntry,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    log::Damage,
    pod::Part,
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
    truth::Statement,
};

impl Scene {
    /// Requests that a sidecar refuses before they come to its app.
    pub(crate) fn answers_of_the_proxy(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 2) {
            let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
            let invented = self.logs[pod].damage == Damage::None && self.random.chance(20);
            let peer = self.network_connection(pod, begin);
            let mut entry = self.refusal(pod, begin, peer);
            entry.upstream_cluster = self.random.chance(70).then(|| "inbound|9090||".to_owned());
            let mut says = Statement::new(Verdict::ProxyAnswered, Side::Server);
            if invented {
                // The other lines name peers of no connection here, as announced ones.
                entry.downstream_direct_remote_address = Some(SocketAddr::new(peer.ip(), 9));
                says.verdict = Verdict::Unseen;
                says.side = entry.upstream_cluster.is_some().then_some(Side::Server);
            }
            self.line_alone(pod, begin + Duration::from_millis(2), entry, says);
        }
    }

    /// Requests through a gateway.
    pub(crate) fn through_a_gateway(&mut self, pod: usize) {
        // That a log doubles its lines shows when it does so twice.
        let least = if self.logs[pod].beside.is_doubled() {
            2
        } else {
            0
        };
        for _ in 0..self.random.between(least, 4) {
            let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
            let peer = self.network_connection(pod, begin);
            let mut entry = self.refusal(pod, begin, peer);
            entry.upstream_cluster = Some("outbound|8080||backend".to_owned());
            let mut says = Statement::new(Verdict::Outside, Side::Client).because(Reason::Gateway);
            if self.random.chance(20) {
                entry.downstream_direct_remote_address = Some(SocketAddr::new(peer.ip(), 9));
                says = Statement::new(Verdict::Unseen, Side::Client);
            } else if self.random.chance(30) {
                // A load balancer announces another.
                entry.downstream_remote_address = Some(SocketAddr::new(peer.ip(), 9));
            }
            self.line_alone(pod, begin + Duration::from_millis(2), entry, says);
        }
    }

    /// The proxy accepts a connection from the network. Returns the peer.
    pub(crate) fn network_connection(&mut self, pod: usize, begin: Timestamp) -> SocketAddr {
        let port = self.next_port();
        let peer = SocketAddr::new(self.elsewhere(pod), port);
        let own = SocketAddr::new(self.pods[pod].address(), 15006);
        let end = self.pods[pod].end(Part::Proxy, own, peer);
        self.alone_at(pod, begin, (None, Some(end)), (peer, own), (true, 0), None);
        peer
    }

    fn refusal(&mut self, pod: usize, begin: Timestamp, peer: SocketAddr) -> LogEntry {
        let local = SocketAddr::new(self.pods[pod].address(), 9090);
        LogEntry {
            start_time: Some(begin + self.random.micros(100, 2_000)),
            start_time_precision_nanoseconds: 1_000_000,
            method: Some("GET".into()),
            path: Some("/refused".into()),
            protocol: Some("HTTP/1.1".into()),
            can_speak_http: true,
            response_code: Some(403),
            response_code_details: Some("rbac_access_denied_matched_policy[none]".into()),
            bytes_received: Some(0),
            bytes_sent: Some(19),
            duration_milliseconds: Some(0),
            request_id: Some(format!("{begin:?}")),
            downstream_local_address: Some(local),
            downstream_remote_address: Some(peer),
            ..LogEntry::default()
        }
    }

    pub(crate) fn line_alone(
        &mut self,
        pod: usize,
        made: Timestamp,
        entry: LogEntry,
        says: Statement,
    ) {
        let likeness = self.truth.unlike("line alone");
        self.write(pod, made, entry, likeness, None);
        self.truth.expect(vec![says.logged(likeness)]);
    }
}
