//! The books of one pod: its account, its log, and where lines look for their exchange.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{
    account::Account,
    announced::Peers,
    attempts::Attempts,
    authority::Received,
    copies::Copies,
    findings::bypass::Intercepted,
    forwarded::Forwarded,
    gather::Rejected,
    input::{Entry, Line},
    log_marks::LogMarks,
    missed::Missed,
    plaintext::mention::Mentions,
    told::Told,
};
use crate::{
    http::{Connection, ConnectionId},
    record::Side,
    timestamp::Timestamp,
};

/// Network connections of the proxy that are remembered for lines without an exchange.
pub(super) const KEPT_NETWORK_CONNECTIONS: usize = 65_536;

/// Lines that wait for their place.
pub(super) const KEPT_LINES: usize = 65_536;

/// Holes that are remembered, for units that wait for their line.
pub(super) const KEPT_HOLES: usize = 1024;

/// Of exchanges that are alike, each begins so soon after the last that lines pass for those of
/// their neighbours. The one that is left over in the end lies this far away at most.
const LEFT_OVER_WITHIN: Duration = Duration::from_millis(100);

/// A connection's span in which a line may speak of it is widened by this much.
const SPAN_TOLERANCE: Duration = Duration::from_millis(10);

/// The books of one pod.
#[derive(Debug, Default)]
pub(super) struct PodBook {
    pub(super) account: Account,
    /// The log was read up to here; none while nothing was heard of it.
    pub(super) read_until: Option<Timestamp>,
    /// Exchanges up to here were judged before any line was read.
    pub(super) no_log_until: Option<Timestamp>,
    /// At least one access-log line was read.
    pub(super) lines_ever: bool,
    /// When the last ended of what has a line.
    pub(super) last_line: Option<Timestamp>,
    /// Units that went through the sidecar and are judged.
    pub(super) carried: u64,
    /// What the sidecar was seen to hold.
    pub(super) intercepted: Intercepted,
    /// Sides and ports on which an HTTP line was matched.
    pub(super) http_matched: BTreeSet<(Side, u16)>,
    /// Connections between app and sidecar, by the client end's source after NAT.
    by_source: HashMap<(Side, SocketAddr), Vec<Span>>,
    /// Connections that the proxy accepted from the network, by the peer's address.
    network: HashMap<SocketAddr, Vec<Span>>,
    network_order: VecDeque<SocketAddr>,
    /// What lines say of peers.
    pub(super) peers: Peers,
    /// What bears the address of X-Forwarded-For.
    pub(super) forwarded: Forwarded,
    /// Inbound exchanges that may be attempts behind one line.
    pub(super) attempts: Attempts,
    /// What its apps received.
    pub(super) received: Received,
    /// Which lines were written twice.
    pub(super) copies: Copies,
    /// Lines that name no connection between app and sidecar, to know those written twice.
    pub(super) told: Told,
    /// Lines that overtook what the capture tells, in the order of the log.
    pub(super) early: VecDeque<Box<Line>>,
    /// Lines whose connection was not told yet.
    pub(super) unplaced: VecDeque<Box<Line>>,
    /// Lines that cannot be read for sure and name no connection.
    pub(super) doubtful: VecDeque<Box<Line>>,
    /// What lines said of the proxy's network legs.
    pub(super) mentions: Mentions,
    /// When the pod's proxies ended.
    pub(super) proxy_ends: VecDeque<Timestamp>,
    /// Known holes in the log.
    holes: VecDeque<Hole>,
    /// What the capture missed.
    pub(super) missed: Missed,
    /// Where the log was read when, where evidence is kept.
    pub(super) marks: LogMarks,
    /// The last lines judged alone, where evidence is kept.
    pub(super) rejected: VecDeque<Rejected>,
    /// Connections to look at once the log was read past this moment.
    pub(super) agenda: BTreeSet<(Timestamp, ConnectionId)>,
}

/// A known hole in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// Every line that was stamped before had been read.
    from: Timestamp,
    /// When it was noticed.
    pub(super) noticed: Timestamp,
}

/// When a connection was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    id: ConnectionId,
    pub(super) from: Timestamp,
    /// [`Timestamp::MAX`] while it is open.
    pub(super) to: Timestamp,
    pub(super) destination: SocketAddr,
    asked: Option<SocketAddr>,
}

impl PodBook {
    /// A connection between app and sidecar opened, or was there when the programs `started`.
    pub(super) fn index(&mut self, side: Side, connection: &Connection, started: Timestamp) {
        let span = Span {
            id: connection.id,
            from: opened(connection, started),
            to: Timestamp::MAX,
            destination: connection.destination,
            asked: connection.asked,
        };
        self.by_source
            .entry((side, connection.source))
            .or_default()
            .push(span);
    }

    /// It closed; lines may still come.
    pub(super) fn close(
        &mut self,
        side: Side,
        source: SocketAddr,
        id: ConnectionId,
        time: Timestamp,
    ) {
        let spans = self
            .by_source
            .get_mut(&(side, source))
            .into_iter()
            .flatten();
        for span in spans.filter(|span| span.id == id) {
            span.to = time;
        }
    }

    /// No line will come any more.
    pub(super) fn forget(&mut self, side: Side, source: SocketAddr, id: ConnectionId) {
        if let Some(spans) = self.by_source.get_mut(&(side, source)) {
            spans.retain(|span| span.id != id);
            if spans.is_empty() {
                self.by_source.remove(&(side, source));
            }
        }
    }

    /// Connections between app and sidecar.
    pub(super) fn all_connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.by_source.values().flatten().map(|span| span.id)
    }

    /// Connections of one side.
    pub(super) fn connections(&self, side: Side) -> impl Iterator<Item = ConnectionId> {
        let of_side = self
            .by_source
            .iter()
            .filter(move |((of, _), _)| *of == side);
        of_side.flat_map(|(_, spans)| spans.iter().map(|span| span.id))
    }

    /// The connection that a line names by its addresses.
    pub(super) fn find(&self, line: &Line, entry: &Entry) -> Option<ConnectionId> {
        let cluster = entry.upstream_cluster.as_deref().unwrap_or_default();
        let inbound = entry
            .upstream_local_address
            .filter(|_| !cluster.starts_with("outbound|"));
        let outbound = entry
            .downstream()
            .filter(|address| address.port() != 0 && !cluster.starts_with("inbound|"));
        let started = started(line, entry);
        let lasted = entry.duration_milliseconds.map(Duration::from_millis);
        let written = lasted.map_or(line.time, |lasted| started.1 + lasted);
        let time = (started, written);
        inbound
            .and_then(|source| {
                let host = entry.upstream_host.as_deref();
                let host: Option<SocketAddr> = host.and_then(|host| host.parse().ok());
                self.find_span(Side::Server, source, time, |span| {
                    host == Some(span.destination)
                })
            })
            .or_else(|| {
                let source = outbound?;
                let original = entry.downstream_local_address;
                self.find_span(Side::Client, source, time, |span| {
                    original.is_some() && original == span.asked
                })
            })
    }

    /// Of the connections with a source, the one that was open at START_TIME, or else (inbound:
    /// it may have been made for this request) the next one that was opened before the line was
    /// written. Ports come again, so each has its time.
    fn find_span(
        &self,
        side: Side,
        source: SocketAddr,
        ((earliest, start), written): ((Timestamp, Timestamp), Timestamp),
        fits_destination: impl Fn(&Span) -> bool,
    ) -> Option<ConnectionId> {
        let spans = self.by_source.get(&(side, source))?;
        let could = |span: &&Span| {
            span.from <= written + SPAN_TOLERANCE && earliest <= span.to + SPAN_TOLERANCE
        };
        let found = spans.iter().filter(could).min_by_key(|span| {
            let late = span.from.since(start + SPAN_TOLERANCE);
            (!fits_destination(span), late, start.since(span.from))
        });
        found.map(|span| span.id)
    }

    /// The proxy accepted a connection from the network, or had it when the programs `started`.
    pub(super) fn network_opened(&mut self, connection: &Connection, started: Timestamp) {
        let peer = connection.source;
        let span = Span {
            id: connection.id,
            from: opened(connection, started),
            to: Timestamp::MAX,
            destination: connection.destination,
            asked: None,
        };
        self.network.entry(peer).or_default().push(span);
        self.network_order.push_back(peer);
        if self.network_order.len() > KEPT_NETWORK_CONNECTIONS
            && let Some(oldest) = self.network_order.pop_front()
            && let Some(spans) = self.network.get_mut(&oldest)
        {
            spans.remove(0);
            if spans.is_empty() {
                self.network.remove(&oldest);
            }
        }
    }

    /// It closed.
    pub(super) fn network_closed(&mut self, peer: SocketAddr, id: ConnectionId, time: Timestamp) {
        let spans = self.network.get_mut(&peer).into_iter().flatten();
        for span in spans.filter(|span| span.id == id) {
            span.to = time;
        }
    }

    /// Whether the proxy held a network connection from where the line says: from that address
    /// and port, or, where the port is 0 (X-Forwarded-For), any.
    pub(super) fn held_network_connection(&self, line: &Line, entry: &Entry) -> bool {
        let time = started(line, entry);
        match entry.downstream() {
            Some(peer) if peer.port() != 0 => self
                .network
                .get(&peer)
                .is_some_and(|spans| spans.iter().any(|span| covers(span, time))),
            _ => self.held_any_network_connection(time),
        }
    }

    /// Connections that the proxy accepted from the network.
    pub(super) fn network_connections(&self) -> impl Iterator<Item = &Span> {
        self.network.values().flatten()
    }

    /// Whether the proxy held any network connection in this time.
    pub(super) fn held_any_network_connection(&self, time: (Timestamp, Timestamp)) -> bool {
        let mut spans = self.network_connections();
        spans.any(|span| covers(span, time))
    }

    /// Connections with an address that a line names, whenever they were there.
    pub(super) fn connections_named(
        &self,
        entry: &Entry,
    ) -> impl Iterator<Item = (SocketAddr, &Span)> {
        let downstream = entry.downstream();
        let keys = [
            entry
                .upstream_local_address
                .map(|source| (Side::Server, source)),
            downstream.map(|source| (Side::Client, source)),
        ];
        let own = keys
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key.1, self.by_source.get(&key)?)));
        let network = downstream.and_then(|peer| Some((peer, self.network.get(&peer)?)));
        own.chain(network)
            .flat_map(|(source, spans)| spans.iter().map(move |span| (source, span)))
    }

    /// A part of the log is gone.
    pub(super) fn tell_hole(&mut self, noticed: Timestamp) {
        let from = self.read_until.unwrap_or(noticed).min(noticed);
        self.holes.push_back(Hole { from, noticed });
        if self.holes.len() > KEPT_HOLES {
            self.holes.pop_front();
        }
    }

    /// Known holes in the log.
    pub(super) fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter()
    }

    /// Whether the line of a unit that ended at `end` may have been in a hole. It would have been
    /// made at `earliest` or later, and written within `grace`, or twice that on a node in need.
    ///
    /// Of exchanges that are alike on one connection the last is left over, which may have ended
    /// behind the hole.
    pub(super) fn fell_into_hole(
        &self,
        opened: Timestamp,
        (earliest, end): (Timestamp, Timestamp),
        grace: Duration,
    ) -> bool {
        let could_be = |hole: &Hole| {
            let late = match opened <= hole.noticed {
                true => LEFT_OVER_WITHIN,
                false => Duration::ZERO,
            };
            earliest <= hole.noticed + late && hole.from <= end + grace * 2
        };
        self.holes.iter().any(could_be)
    }

    /// Whether one more line may wait.
    pub(super) fn has_room_for_a_line(&self) -> bool {
        let waiting = self.early.len() + self.unplaced.len() + self.doubtful.len();
        waiting + self.copies.waiting.len() + self.forwarded.lines() < KEPT_LINES
    }

    /// Nothing refers to this pod any more. (A line that waits is a unit of its account.)
    pub(super) fn is_idle(&self) -> bool {
        self.by_source.is_empty() && self.account.is_idle()
    }
}

/// Since when a connection was there for all that is known. One that is older than the programs is
/// told when something is seen of it.
fn opened(connection: &Connection, started: Timestamp) -> Timestamp {
    match connection.preexisting {
        true => connection.time.min(started),
        false => connection.time,
    }
}

/// The first and the last moment that START_TIME may mean.
pub(super) fn started(line: &Line, entry: &Entry) -> (Timestamp, Timestamp) {
    let start = entry.start_time.unwrap_or(line.time);
    let precision = Duration::from_nanos(entry.start_time_precision_nanoseconds);
    (start, start + precision)
}

fn covers(span: &Span, (earliest, latest): (Timestamp, Timestamp)) -> bool {
    span.from <= latest + SPAN_TOLERANCE && earliest <= span.to + SPAN_TOLERANCE
}
