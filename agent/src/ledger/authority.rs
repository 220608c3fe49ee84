//! Whether another host in a client-side line is one that a route put there.
//!
//! A route may replace the host on the way out, and the line then has the new one alone: by itself
//! that looks like a line which somebody edited. Where the request went to a pod of this node the
//! kernel saw it a second time, when that pod's sidecar handed it to its app. The app got the host
//! that was sent: the one in the line, or the one that was asked for, and then nobody replaced it.
//!
//! Without such a witness nobody is accused: the first request on a route is like an edited line in
//! all that is known of it.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use super::{
    Ledger,
    compare::{CLOCK_TOLERANCE, Comparison},
    input::{Entry, Exchange},
};
use crate::{
    number_map::NumberMap,
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Requests that are kept of one pod.
const KEPT: usize = 32_768;

/// How long they are kept: longer than a proxy holds back the line of who sent them.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// What the apps of a pod received, to know with which host it was sent.
#[derive(Debug, Default)]
pub(super) struct Received {
    requests: NumberMap<Request, Handed>,
    order: VecDeque<(Timestamp, Request)>,
}

/// The request's id, its path and its host.
type Request = (Fingerprint, Fingerprint, Fingerprint);

/// How a sidecar handed a request to its app.
#[derive(Clone, Copy, Debug)]
struct Handed {
    app: SocketAddr,
    began: Timestamp,
    ended: Timestamp,
}

impl Received {
    /// A sidecar handed this to its app.
    pub(super) fn note(&mut self, app: SocketAddr, exchange: &Exchange) {
        let (id, path) = (exchange.request_id, exchange.path);
        let (Some(id), Some(path), Some(host)) = (id, path, exchange.authority) else {
            return;
        };
        // On the loopback device the apps of all pods have one address.
        if app.ip().is_loopback() {
            return;
        }
        let (began, ended) = (exchange.time, exchange.end);
        let request = (id, path.bare_normalized, host);
        self.requests.insert(request, Handed { app, began, ended });
        self.order.push_back((ended, request));
        while let Some((oldest, request)) = self.order.front()
            && (self.order.len() > KEPT || *oldest + KEPT_FOR < ended)
        {
            if self
                .requests
                .get(request)
                .is_some_and(|it| it.ended == *oldest)
            {
                self.requests.remove(request);
            }
            self.order.pop_front();
        }
    }

    /// How many requests are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.requests.len()
    }

    /// Whether the app at this address received such a request in this time.
    fn has(&self, request: &Request, app: SocketAddr, (from, to): (Timestamp, Timestamp)) -> bool {
        let handed = self.requests.get(request);
        handed.is_some_and(|it| it.app == app && from <= it.began && it.began <= to)
    }
}

impl Ledger {
    /// Whether a host in a line that is not the one asked for was never sent: the app that the line
    /// names as its upstream received the one asked for.
    pub(super) fn is_host_edited(
        &self,
        side: Side,
        exchange: &Exchange,
        entry: &Entry,
        comparison: &Comparison,
    ) -> bool {
        if side != Side::Client || !comparison.differs_in_authority() {
            return false;
        }
        let upstream = entry.upstream_host.as_deref();
        let upstream = upstream.and_then(|host| host.parse::<SocketAddr>().ok());
        let hosts = exchange.authority.zip(entry.authority);
        let (Some(app), Some((asked, logged)), Some(path)) = (upstream, hosts, exchange.path)
        else {
            return false;
        };
        let time = under_way(exchange, entry);
        let ids = [entry.request_id, exchange.request_id];
        let received = |host| {
            let mut requests = ids
                .iter()
                .flatten()
                .map(|id| (*id, path.bare_normalized, host));
            requests.any(|request| {
                let mut pods = self.pods.values();
                pods.any(|pod| pod.received.has(&request, app, time))
            })
        };
        received(asked) && !received(logged)
    }
}

/// When a request was under way, by either account: of exchanges that are alike the line may have
/// gone to a neighbour.
fn under_way(exchange: &Exchange, entry: &Entry) -> (Timestamp, Timestamp) {
    let start = entry.start_time.unwrap_or(exchange.time);
    let precision = Duration::from_nanos(entry.start_time_precision_nanoseconds);
    let lasted = Duration::from_millis(entry.duration_milliseconds.unwrap_or_default());
    let from = exchange.time.min(start) - CLOCK_TOLERANCE;
    let to = exchange.end.max(start + precision + lasted) + CLOCK_TOLERANCE;
    (from, to)
}
