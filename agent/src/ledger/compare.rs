//! What must agree between the kernel's and the proxy's account of one exchange.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    http::Closed,
    ledger::input::{ComparedPath, Entry, Exchange, ResponseFact},
    record::{Difference, Reason, Shown, Side, Tls},
    timestamp::Timestamp,
};

/// How far START_TIME may lie outside the exchange: the proxy reads its clock after the head was
/// sent, the agent samples the offset between two clocks.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_millis(2);

/// How long an inbound request may wait for its connection, where the line does not say.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Larger uploads may be answered while a part still waits in the proxy's receive buffer, which
/// it then never counts, although the app had sent all of it before.
const UPLOAD_READ_AT_ONCE_BYTES: u64 = 64 << 10;

const AUTHORITY: &str = "http.request.header.host";

/// The outcome of a comparison.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Every field in which the accounts differ, whether it accuses or not.
    pub(super) differences: Vec<Difference>,
    /// How many of them accuse.
    pub(super) accusing: usize,
    /// What explains the others.
    pub(super) reasons: Vec<Reason>,
    /// More than the host was rewritten: that the rest agrees is no evidence that both belong
    /// together.
    pub(super) is_unlike: bool,
}

impl Comparison {
    pub(super) fn agrees(&self) -> bool {
        self.accusing == 0
    }

    /// Whether the hosts differ, and that was taken for what a route does.
    pub(super) fn differs_in_authority(&self) -> bool {
        let mut fields = self.differences.iter().map(|it| it.field.as_str());
        fields.any(|field| field == AUTHORITY)
    }

    /// No route replaced the host of an app's own request: that it differs accuses. Nothing else is
    /// `rewritten` on its side.
    pub(super) fn accuse_of_authority(&mut self) {
        self.accusing += 1;
        self.reasons.retain(|reason| *reason != Reason::Rewritten);
    }

    fn accuse(&mut self, field: &str, kernel: Value, log: Value) {
        self.accusing += 1;
        self.show(field, kernel, log);
    }

    fn excuse(&mut self, reason: Reason, field: &str, kernel: Value, log: Value) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
        self.is_unlike |= reason == Reason::Rewritten && field != AUTHORITY;
        self.show(field, kernel, log);
    }

    fn show(&mut self, field: &str, kernel: Value, log: Value) {
        self.differences.push(Difference {
            field: field.to_owned(),
            kernel,
            log,
        });
    }
}

/// Compares an exchange with the line that stands at its place.
pub(super) fn compare(side: Side, exchange: &Exchange, entry: &Entry) -> Comparison {
    let mut comparison = Comparison::default();
    compare_method(exchange, entry, &mut comparison);
    compare_path(side, exchange, entry, &mut comparison);
    compare_authority(exchange, entry, &mut comparison);
    if exchange.gap.is_none() {
        compare_status(side, exchange, entry, &mut comparison);
        compare_request_bytes(side, exchange, entry, &mut comparison);
        compare_response_bytes(side, exchange, entry, &mut comparison);
        compare_grpc_status(side, exchange, entry, &mut comparison);
    }
    if side == Side::Client {
        compare_protocol(exchange, entry, &mut comparison);
    }
    if was_left(entry) {
        comparison.reasons.push(Reason::Aborted);
    }
    comparison
}

/// Compares a connection with a TCP line: bytes, if both ends closed in order, and the name in the
/// client's hello.
pub(super) fn compare_connection(
    side: Side,
    closed: Option<&Closed>,
    tls: Option<&Tls>,
    entry: &Entry,
) -> Comparison {
    let mut comparison = Comparison::default();
    // Inbound the line names what the other sidecar asked for, around the app's own TLS.
    if side == Side::Client {
        compare_server_name(tls, entry, &mut comparison);
    }
    let Some(closed) = closed.filter(|closed| closed.both_fin) else {
        return comparison;
    };
    // A flag other than the end of the connection tells that the proxy did not carry all of it.
    if entry
        .response_flags
        .as_deref()
        .is_some_and(|flags| flags != "-")
    {
        return comparison;
    }
    for (field, kernel, log) in [
        (
            "connection.client_bytes",
            closed.client_bytes,
            entry.bytes_received,
        ),
        (
            "connection.server_bytes",
            closed.server_bytes,
            entry.bytes_sent,
        ),
    ] {
        if let Some(log) = log.filter(|log| *log != kernel) {
            comparison.accuse(field, json!(kernel), json!(log));
        }
    }
    comparison
}

fn compare_server_name(tls: Option<&Tls>, entry: &Entry, comparison: &mut Comparison) {
    let kernel = tls.and_then(|tls| tls.server_name.as_deref());
    if let (Some(kernel), Some(log)) = (kernel, entry.requested_server_name.as_deref())
        && !kernel.eq_ignore_ascii_case(log)
    {
        comparison.accuse("tls.client.server_name", json!(kernel), json!(log));
    }
}

/// Whether START_TIME falls into the exchange. A line without one fits any.
///
/// On the server side the proxy's clock starts before the kernel's: with the request from
/// downstream, which may wait for a connection to the app. There the line's own end counts.
pub(super) fn fits_in_time(side: Side, from: Timestamp, to: Timestamp, entry: &Entry) -> bool {
    let fits = |start| {
        let latest = latest_begin(side, start, entry);
        from <= latest && start <= to + CLOCK_TOLERANCE
    };
    entry.start_time.is_none_or(fits)
}

/// When the exchange of a line began at the latest that has this START_TIME.
pub(super) fn latest_begin(side: Side, start: Timestamp, entry: &Entry) -> Timestamp {
    let tolerance = CLOCK_TOLERANCE + Duration::from_nanos(entry.start_time_precision_nanoseconds);
    let waited = match side {
        Side::Server => entry
            .duration_milliseconds
            .map_or(LONGEST_WAIT, Duration::from_millis),
        _ => Duration::ZERO,
    };
    start + waited + tolerance
}

fn compare_method(exchange: &Exchange, entry: &Entry, comparison: &mut Comparison) {
    if let (Some(kernel), Some(log)) = (&exchange.method, &entry.method)
        && kernel != log
    {
        comparison.accuse("http.request.method", json!(kernel), json!(log));
    }
}

fn compare_path(side: Side, exchange: &Exchange, entry: &Entry, comparison: &mut Comparison) {
    let (Some(kernel), Some(log)) = (&exchange.path, &entry.path) else {
        return;
    };
    match path_agreement(kernel, log, entry.path_without_query) {
        PathAgreement::Equal => {}
        PathAgreement::Normalized => {
            let (kernel, log) = (target(&exchange.shown), target(&entry.shown));
            comparison.excuse(Reason::PathNormalized, "url.path", kernel, log);
        }
        PathAgreement::Different => {
            let same_path = kernel.bare_normalized == log.bare_normalized;
            let field = if same_path { "url.query" } else { "url.path" };
            let (kernel, log) = (target(&exchange.shown), target(&entry.shown));
            if side == Side::Server {
                comparison.excuse(Reason::Rewritten, field, kernel, log);
            } else {
                comparison.accuse(field, kernel, log);
            }
        }
    }
}

enum PathAgreement {
    Equal,
    Normalized,
    Different,
}

fn path_agreement(kernel: &ComparedPath, log: &ComparedPath, without_query: bool) -> PathAgreement {
    let (raw, normalized) = if without_query {
        (
            kernel.bare == log.bare,
            kernel.bare_normalized == log.bare_normalized,
        )
    } else {
        (kernel.raw == log.raw, kernel.normalized == log.normalized)
    };
    match (raw, normalized) {
        (true, _) => PathAgreement::Equal,
        (false, true) => PathAgreement::Normalized,
        (false, false) => PathAgreement::Different,
    }
}

/// A route may replace the host on the way out as well as on the way in, and the line then has the
/// new one alone. Whether it did is told by what the other pod received.
fn compare_authority(exchange: &Exchange, entry: &Entry, comparison: &mut Comparison) {
    let (Some(kernel), Some(log)) = (exchange.authority, entry.authority) else {
        return;
    };
    if kernel != log {
        let (kernel, log) = (
            json!(exchange.shown.authority),
            json!(entry.shown.authority),
        );
        comparison.excuse(Reason::Rewritten, AUTHORITY, kernel, log);
    }
}

fn compare_status(side: Side, exchange: &Exchange, entry: &Entry, comparison: &mut Comparison) {
    let Some(log) = entry.response_code else {
        return;
    };
    let kernel = exchange
        .response
        .as_ref()
        .and_then(|response| response.status);
    // A head that was sent has a status.
    let is_undecoded = exchange.undecoded && exchange.response.is_some() && kernel.is_none();
    let excused = match side {
        Side::Server => !answered_by_upstream(entry) || log == 0,
        _ => was_left(entry) || (log == 0 && kernel.is_none()),
    };
    if !is_undecoded && !excused && kernel != Some(log) {
        comparison.accuse("http.response.status_code", json!(kernel), json!(log));
    }
}

/// Whether the status in an inbound line is the app's own.
pub(super) fn answered_by_upstream(entry: &Entry) -> bool {
    let flags = ["UT", "UC", "UPE"];
    if was_left(entry) || flags.iter().any(|flag| entry.has_flag(flag)) {
        return false;
    }
    match entry.response_code_details.as_deref() {
        Some(details) => details == "via_upstream",
        // A format without details: what the proxy answers by itself has a flag or no upstream.
        None => {
            entry
                .response_flags
                .as_deref()
                .is_none_or(|flags| flags == "-")
                && entry.upstream_local_address.is_some()
        }
    }
}

fn compare_response_bytes(
    side: Side,
    exchange: &Exchange,
    entry: &Entry,
    comparison: &mut Comparison,
) {
    let (Some(response), Some(log)) = (&exchange.response, entry.bytes_sent) else {
        return;
    };
    let flagged = entry
        .response_flags
        .as_deref()
        .is_some_and(|flags| flags != "-");
    if response.ended.is_none() || response.upgraded || flagged || response.bytes == log {
        return;
    }
    let (field, kernel, log) = ("http.response.body.size", json!(response.bytes), json!(log));
    match side {
        Side::Client => comparison.accuse(field, kernel, log),
        // The kernel stands behind the proxy's filters: compression, transcoding.
        _ => comparison.excuse(Reason::Rewritten, field, kernel, log),
    }
}

fn compare_request_bytes(
    side: Side,
    exchange: &Exchange,
    entry: &Entry,
    comparison: &mut Comparison,
) {
    let Some(log) = entry.bytes_received else {
        return;
    };
    let kernel = exchange.request_bytes;
    let upgraded = exchange
        .response
        .as_ref()
        .is_some_and(|response| response.upgraded);
    let agrees = upgraded
        || if read_whole(exchange, entry) {
            kernel == log
        } else if side == Side::Client {
            log <= kernel
        } else {
            log >= kernel
        };
    if !agrees {
        comparison.accuse("http.request.body.size", json!(kernel), json!(log));
    }
}

/// Whether the proxy read the whole request before it answered.
fn read_whole(exchange: &Exchange, entry: &Entry) -> bool {
    let Some(ResponseFact {
        time: answered,
        ended: Some(_),
        ..
    }) = exchange.response
    else {
        return false;
    };
    let via_upstream = entry
        .response_code_details
        .as_deref()
        .is_none_or(|d| d == "via_upstream");
    exchange
        .request_ended
        .is_some_and(|ended| ended <= answered)
        && exchange.request_bytes <= UPLOAD_READ_AT_ONCE_BYTES
        && via_upstream
        && !was_left(entry)
}

/// The client closed its connection, or reset its stream, before it had the whole answer.
fn was_left(entry: &Entry) -> bool {
    entry.has_flag("DC") || entry.has_flag("DR")
}

/// A line without a method is of a head that the proxy refused to read; it says HTTP/1.1 whatever
/// came.
fn compare_protocol(exchange: &Exchange, entry: &Entry, comparison: &mut Comparison) {
    if entry.method.is_none() {
        return;
    }
    let (Some(kernel), Some(protocol)) = (&exchange.version, &entry.protocol) else {
        return;
    };
    if let Some(log) = protocol.strip_prefix("HTTP/")
        && log != kernel
    {
        comparison.accuse("network.protocol.version", json!(kernel), json!(log));
    }
}

/// The proxy's own answer has a status of its own, and of a client that left it writes one that it
/// made of the HTTP status.
fn compare_grpc_status(
    side: Side,
    exchange: &Exchange,
    entry: &Entry,
    comparison: &mut Comparison,
) {
    let is_of_the_app = side != Side::Server || answered_by_upstream(entry);
    if !is_of_the_app || was_left(entry) {
        return;
    }
    let kernel = exchange
        .response
        .as_ref()
        .and_then(|response| response.grpc_status);
    if let (Some(kernel), Some(log)) = (kernel, entry.grpc_status)
        && kernel != log
    {
        comparison.accuse("rpc.grpc.status_code", json!(kernel), json!(log));
    }
}

fn target(shown: &Shown) -> Value {
    match (&shown.path, &shown.query) {
        (Some(path), Some(query)) => json!(format!("{path}?{query}")),
        (path, _) => json!(path),
    }
}
