//! Verdicts into records.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    clock::SteadyClock,
    compare::Comparison,
    input::{Entry, Exchange, Line, LineContent},
    roles::{Place, Roles},
};
use crate::{
    http::{Closed, Connection, End},
    record::{
        Attributes, Body, ConnectionBody, ConnectionState, EnvoyBody, Finding, Include, Kind,
        LedgerBody, Lifecycle, Reason, Record, Side, Traffic, Undecoded, Units, Verdict, Workload,
    },
    timestamp::Timestamp,
};

/// Numbers the records and puts them out.
#[derive(Debug)]
pub(super) struct Writer {
    start_id: String,
    node: Arc<str>,
    clock: SteadyClock,
    sinks: Vec<(String, Include)>,
    next: u64,
    first_of_interval: u64,
    filtered: BTreeMap<String, u64>,
    records: Vec<Record>,
}

/// What a verdict says, apart from what it speaks of.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) reasons: Vec<Reason>,
    pub(super) units: Units,
}

impl Writer {
    pub(super) fn new(start_id: String, node: Arc<str>, sinks: Vec<(String, Include)>) -> Self {
        let filtered = sinks.iter().map(|(name, _)| (name.clone(), 0)).collect();
        let records = Vec::new();
        Self {
            start_id,
            node,
            clock: SteadyClock::default(),
            sinks,
            next: 1,
            first_of_interval: 1,
            filtered,
            records,
        }
    }

    /// Other sinks, or other filters, from the next record on. A sink that stays keeps its count.
    pub(super) fn set_sinks(&mut self, sinks: Vec<(String, Include)>) {
        let counts = sinks.iter().map(|(name, _)| {
            let count = self.filtered.get(name).copied().unwrap_or_default();
            (name.clone(), count)
        });
        self.filtered = counts.collect();
        self.sinks = sinks;
    }

    /// Moves the records since the last call.
    pub(super) fn move_to(&mut self, records: &mut Vec<Record>) {
        records.append(&mut self.records);
    }

    /// The sequence number of the record that was written last.
    pub(super) fn last_sequence(&self) -> u64 {
        self.next - 1
    }

    /// The id of the record with this sequence number.
    pub(super) fn id(&self, sequence: u64) -> Arc<str> {
        format!("{}-{sequence}", self.start_id).into()
    }

    /// From now on times are shown as the wall clock showed them that this one knows.
    pub(super) fn set_clock(&mut self, clock: SteadyClock) {
        self.clock = clock;
    }

    /// Writes an `http` or `connection` record and returns its id.
    pub(super) fn traffic(
        &mut self,
        kind: Kind,
        time: Timestamp,
        judgement: Judgement,
        traffic: Traffic,
    ) -> Arc<str> {
        let Judgement {
            verdict,
            mut reasons,
            units,
        } = judgement;
        let mut seen = Vec::new();
        reasons.retain(|reason| {
            let new = !seen.contains(reason);
            seen.push(*reason);
            new
        });
        let body = Body::Traffic(Box::new(traffic));
        self.push(time, kind, Some((verdict, reasons, units)), body)
    }

    /// Writes a finding.
    pub(super) fn finding(&mut self, now: Timestamp, mut finding: Finding) {
        let body = &mut finding.finding;
        body.first = self.clock.reading(body.first);
        body.last = self.clock.reading(body.last);
        self.push(now, Kind::Finding, None, Body::Finding(Box::new(finding)));
    }

    /// Writes a lifecycle record.
    pub(super) fn lifecycle(&mut self, time: Timestamp, lifecycle: Lifecycle) {
        self.push(time, Kind::Lifecycle, None, Body::Lifecycle { lifecycle });
    }

    /// Writes the books of an interval; its ids and filter counts are filled in here.
    pub(super) fn ledger(&mut self, mut body: LedgerBody) {
        body.ids = (self.first_of_interval, self.next);
        body.filtered = self.filtered.clone();
        for count in self.filtered.values_mut() {
            *count = 0;
        }
        self.first_of_interval = self.next + 1;
        let to = body.to;
        body.from = self.clock.reading(body.from);
        body.to = self.clock.reading(to);
        self.push(to, Kind::Ledger, None, Body::Ledger(Box::new(body)));
    }

    fn count_filtered(&mut self, kind: Kind, verdict: Option<Verdict>) {
        for (name, include) in &self.sinks {
            if !include.passes(kind, verdict)
                && let Some(count) = self.filtered.get_mut(name)
            {
                *count += 1;
            }
        }
    }

    fn push(
        &mut self,
        time: Timestamp,
        kind: Kind,
        judged: Option<(Verdict, Vec<Reason>, Units)>,
        body: Body,
    ) -> Arc<str> {
        let sequence = self.next;
        self.next += 1;
        let id = self.id(sequence);
        let (verdict, reasons, units) = match judged {
            Some((verdict, reasons, units)) => (Some(verdict), Some(reasons), Some(units)),
            None => (None, None, None),
        };
        self.count_filtered(kind, verdict);
        let node = Arc::clone(&self.node);
        self.records.push(Record {
            id: Arc::clone(&id),
            sequence,
            time: self.clock.reading(time),
            kind,
            verdict,
            reasons,
            units,
            node,
            body,
        });
        id
    }
}

/// The workload of a place and, where there is one, of a process in it.
pub(super) fn workload(roles: &Roles, place: Option<&Place>, end: Option<&End>) -> Workload {
    let mut workload = Workload::default();
    if let Some(place) = place {
        let pod = roles.pod(&place.pod_uid);
        workload.namespace = pod.map(|pod| Arc::clone(&pod.namespace));
        workload.pod = pod.map(|pod| Arc::clone(&pod.name));
        workload.pod_uid = Some(Arc::clone(&place.pod_uid));
        if let Some((id, name)) = &place.container {
            workload.container_id = Some(Arc::clone(id));
            workload.container.clone_from(name);
        }
    }
    if let Some(process) = end.and_then(|end| end.process.as_ref()) {
        workload.pid = Some(process.pid);
        workload.command = Some(Arc::clone(&process.command));
        workload.user = Some(process.user);
    }
    workload
}

/// The attributes of a connection's two ends in the view of the workload.
pub(super) fn addresses(side: Side, connection: &Connection, entry: Option<&Entry>) -> Attributes {
    let own = own_end(side, connection);
    let (client, server) = match side {
        Side::Client => (
            own.map_or(connection.source, |end| end.local),
            connection.asked_for(),
        ),
        _ => {
            let logged = entry.and_then(Entry::downstream);
            (
                logged.unwrap_or(connection.source),
                own.map_or(connection.destination, |end| end.local),
            )
        }
    };
    Attributes {
        client: Some(client),
        server: Some(server),
        peer: own.map(|end| end.remote),
        transport: Some(if connection.udp.is_some() {
            "udp"
        } else {
            "tcp"
        }),
        ..Attributes::default()
    }
}

/// The end that belongs to the workload.
pub(super) fn own_end(side: Side, connection: &Connection) -> Option<&End> {
    match side {
        Side::Client => connection.client.as_ref(),
        Side::Server => connection.server.as_ref(),
        Side::Proxy => connection.client.as_ref().or(connection.server.as_ref()),
    }
}

/// The attributes of an exchange.
pub(super) fn exchange_attributes(attributes: &mut Attributes, exchange: &Exchange) {
    attributes.protocol = Some("http");
    attributes.protocol_version.clone_from(&exchange.version);
    attributes.method.clone_from(&exchange.method);
    attributes.shown = Arc::clone(&exchange.shown);
    if exchange.request_ended.is_some() {
        attributes.request_bytes = Some(exchange.request_bytes);
    }
    attributes.undecoded = Undecoded {
        request: exchange.undecoded,
        response: exchange.undecoded && exchange.response.is_some(),
    };
    if let Some(response) = &exchange.response {
        attributes.status = response.status;
        attributes.grpc_status = response.grpc_status;
        if response.ended.is_some() && !response.upgraded {
            attributes.response_bytes = Some(response.bytes);
        }
    }
}

/// The attributes that a line alone gives.
pub(super) fn entry_attributes(entry: &Entry) -> Attributes {
    let version = entry.protocol.as_deref();
    let version = version.and_then(|protocol| protocol.strip_prefix("HTTP/"));
    let mut attributes = Attributes {
        client: entry.downstream(),
        server: entry.downstream_local_address,
        method: entry.method.clone(),
        protocol: version.map(|_| "http"),
        protocol_version: version.map(|version| version.to_owned().into()),
        status: entry.response_code.filter(|code| *code != 0),
        grpc_status: entry.grpc_status,
        shown: Arc::clone(&entry.shown),
        ..Attributes::default()
    };
    peer_attributes(&mut attributes, Some(entry));
    if entry.speaks_of_http() {
        attributes.request_bytes = entry.bytes_received;
        attributes.response_bytes = entry.bytes_sent;
    }
    attributes
}

/// Who the two sides of a network leg are, by their certificates, where the line tells.
pub(super) fn peer_attributes(attributes: &mut Attributes, entry: Option<&Entry>) {
    let Some(entry) = entry else { return };
    if entry.downstream_peer.is_some() || entry.upstream_peer.is_some() {
        let tls = attributes.tls.get_or_insert_default();
        tls.client_subject.clone_from(&entry.downstream_peer);
        tls.server_subject.clone_from(&entry.upstream_peer);
    }
}

/// Where a line stands, and of its content what records may show.
pub(super) fn envoy_body(line: &Line) -> EnvoyBody {
    let mut body = EnvoyBody {
        file: Arc::clone(&line.file),
        offset: line.offset,
        ..EnvoyBody::default()
    };
    match &line.content {
        LineContent::Entry(entry) => {
            body.request_id.clone_from(&entry.shown_request_id);
            body.response_flags = Some(entry.response_flags.clone().unwrap_or_else(|| "-".into()));
            body.response_code_details
                .clone_from(&entry.response_code_details);
            body.upstream_host.clone_from(&entry.upstream_host);
            body.upstream_cluster.clone_from(&entry.upstream_cluster);
        }
        LineContent::Ambiguous(entry) => {
            body.length = Some(line.length);
            body.hash = entry.whole.map(crate::record::Fingerprint::to_hex);
        }
        _ => body.length = Some(line.length),
    }
    body
}

/// The record's account of an exchange, with its line if it has one.
pub(super) fn exchange_traffic(
    roles: &Roles,
    side: Side,
    place: Option<&Place>,
    connection: &Connection,
    exchange: &Exchange,
    paired: Option<(&Line, Comparison)>,
) -> Traffic {
    let entry = paired.as_ref().and_then(|(line, _)| line.entry());
    let mut attributes = addresses(side, connection, entry);
    exchange_attributes(&mut attributes, exchange);
    peer_attributes(&mut attributes, entry);
    let envoy = paired.as_ref().map(|(line, _)| envoy_body(line));
    Traffic {
        side: Some(side),
        workload: workload(roles, place, own_end(side, connection)),
        attributes,
        duration: Some(exchange.end.since(exchange.time).as_secs_f64()),
        envoy,
        differences: paired
            .map(|(_, comparison)| comparison.differences)
            .unwrap_or_default(),
        ..Traffic::default()
    }
}

/// The record's account of a connection.
pub(super) fn connection_traffic(
    roles: &Roles,
    side: Side,
    place: Option<&Place>,
    connection: &Connection,
    closed: Option<&Closed>,
    spoke_http: bool,
) -> Traffic {
    let mut attributes = addresses(side, connection, None);
    if spoke_http {
        attributes.protocol = Some("http");
    } else if connection.udp.is_some_and(|udp| udp.quic) {
        attributes.protocol = Some("quic");
    }
    let bytes = closed.map_or((0, 0), |closed| (closed.client_bytes, closed.server_bytes));
    let state = if closed.is_some() {
        ConnectionState::Closed
    } else {
        ConnectionState::Open
    };
    let mut body = ConnectionBody {
        state,
        bytes_sent: 0,
        bytes_received: 0,
        retransmits: closed.map_or(0, |closed| closed.retransmits),
    };
    body.count(bytes, is_client(side, connection));
    Traffic {
        side: Some(side),
        workload: workload(roles, place, own_end(side, connection)),
        attributes,
        duration: closed.map(|closed| closed.time.since(connection.time).as_secs_f64()),
        connection: Some(body),
        ..Traffic::default()
    }
}

/// Whether the workload's end is the client's.
pub(super) const fn is_client(side: Side, connection: &Connection) -> bool {
    match side {
        Side::Client => true,
        Side::Server => false,
        Side::Proxy => connection.client.is_some(),
    }
}
