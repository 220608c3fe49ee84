//! The door of the ledger: what comes in is redacted here, so that no secret is ever kept.

use std::{net::IpAddr, sync::Arc};

use crate::{
    envoy::{self, LogEntry, LogLine},
    http::{self, Headers, RequestHead, hello::is_host},
    ledger::{
        input::{ComparedPath, Entry, Exchange, Line, LineContent, ResponseFact},
        path::normalize,
    },
    record::{Fingerprint, Fingerprints, REDACTED, Redaction, Shown},
};

/// What the content type of each message of gRPC begins with.
const GRPC: &[u8] = b"application/grpc";

/// Turns exchanges and log lines into the ledger's inputs.
#[derive(Clone)]
pub struct Intake {
    fingerprints: Fingerprints,
    redaction: Redaction,
}

impl Intake {
    /// With a key of this start and the configured redaction.
    #[must_use]
    pub fn new(fingerprints: Fingerprints, redaction: Redaction) -> Self {
        Self {
            fingerprints,
            redaction,
        }
    }

    /// Redacts in another way from now on.
    pub fn redact(&mut self, redaction: Redaction) {
        self.redaction = redaction;
    }

    /// An exchange as the ledger takes it.
    #[must_use]
    pub fn exchange(&self, exchange: http::Exchange) -> Exchange {
        let http::Exchange {
            connection,
            exchange,
            stream,
            time,
            end,
            request,
            response,
            gap,
            joined: _,
            undecoded,
            refused,
        } = exchange;
        let head = request.head.as_ref();
        let header = |name: &'static str| head.and_then(|head| head.headers.values(name).next());
        let none = Headers::default();
        let headers = head.map_or(&none, |head| &head.headers);
        let mut shown = head
            .map(|head| self.shown_request(head))
            .unwrap_or_default();
        shown.request_headers = self.redaction.headers(headers, undecoded);
        let mut tokens = headers.values("authorization");
        shown.identity = tokens
            .next()
            .map(|token| self.redaction.identity.of(token, &self.fingerprints))
            .unwrap_or_default();
        shown.grpc = is_grpc(headers);
        if let Some(response) = &response {
            shown.response_headers = self.redaction.headers(&response.headers, undecoded);
            shown.grpc |= is_grpc(&response.headers);
        }
        Exchange {
            connection,
            exchange,
            stream,
            time,
            end,
            method: head.and_then(|head| head.method.clone()),
            path: head
                .and_then(|head| head.path.as_deref())
                .map(|path| self.path(path)),
            authority: head
                .and_then(|head| head.authority.as_deref())
                .map(|a| self.of(a)),
            version: head.map(|head| head.version.into()),
            request_id: header("x-request-id").map(|id| self.request_id(id)),
            forwarded: header("x-forwarded-for").is_some(),
            request_ended: request.ended,
            request_bytes: request.body_bytes,
            response: response.map(|response| ResponseFact {
                time: response.time,
                status: response.status,
                ended: response.ended,
                bytes: response.body_bytes,
                upgraded: response.upgraded,
                // Of a response that is trailers only it stands in the head.
                grpc_status: response
                    .trailers
                    .values("grpc-status")
                    .chain(response.headers.values("grpc-status"))
                    .next()
                    .and_then(|status| status.parse().ok()),
            }),
            gap,
            undecoded,
            refused,
            shown: Arc::new(shown),
        }
    }

    /// A log line as the ledger takes it.
    #[must_use]
    pub fn line(&self, line: LogLine) -> Line {
        let LogLine {
            pod_uid,
            file,
            offset,
            length,
            time,
            content,
            sensitive,
        } = line;
        let content = match content {
            envoy::Content::Entry(entry) => LineContent::Entry(self.entry(*entry)),
            envoy::Content::Ambiguous(entry) => LineContent::Ambiguous(self.entry(*entry)),
            envoy::Content::Other => LineContent::Other,
            envoy::Content::Unknown => LineContent::Unknown,
            envoy::Content::Hole => LineContent::Hole,
        };
        Line {
            pod_uid,
            file,
            offset,
            length,
            time,
            content,
            sensitive,
        }
    }

    fn entry(&self, entry: LogEntry) -> Entry {
        let whole = self.whole(&entry);
        let kept = |name: &str| self.redaction.headers.iter().find(|kept| &***kept == name);
        let mut shown = Shown {
            authority: entry
                .authority
                .as_deref()
                .map(|a| self.redaction.authority(a)),
            // The proxy writes a status of gRPC for such calls only.
            grpc: entry.grpc_status.is_some(),
            ..Shown::default()
        };
        if let Some(path) = &entry.path {
            let (path, query) = self.redaction.target(path);
            shown.path = Some(path);
            shown.query = query;
        }
        for (name, value) in [
            ("user-agent", &entry.user_agent),
            ("x-forwarded-for", &entry.x_forwarded_for),
        ] {
            if let (Some(name), Some(value)) = (kept(name), value) {
                let values = vec![value.clone()];
                shown.request_headers.push((Arc::clone(name), values));
            }
        }
        Entry {
            start_time: entry.start_time,
            start_time_precision_nanoseconds: entry.start_time_precision_nanoseconds,
            path: entry.path.as_deref().map(|path| self.path(path)),
            path_without_query: entry.path_without_query,
            authority: entry
                .authority
                .as_deref()
                .map(|authority| self.of(authority)),
            request_id: entry.request_id.as_deref().map(|id| self.request_id(id)),
            shown_request_id: entry.request_id.filter(|_| kept("x-request-id").is_some()),
            method: entry.method.map(Into::into),
            protocol: entry.protocol,
            can_speak_http: entry.can_speak_http,
            response_code: entry.response_code,
            response_flags: entry.response_flags,
            response_code_details: entry.response_code_details,
            bytes_received: entry.bytes_received,
            bytes_sent: entry.bytes_sent,
            duration_milliseconds: entry.duration_milliseconds,
            upstream_cluster: entry.upstream_cluster,
            upstream_host: entry.upstream_host,
            upstream_local_address: entry.upstream_local_address,
            downstream_local_address: entry.downstream_local_address,
            downstream_remote_address: entry.downstream_remote_address,
            downstream_direct_remote_address: entry.downstream_direct_remote_address,
            requested_server_name: entry.requested_server_name.map(shown_server_name),
            grpc_status: entry.grpc_status,
            attempts: entry.attempts,
            access_log_type: entry.access_log_type,
            downstream_peer: entry.downstream_peer.map(Into::into),
            upstream_peer: entry.upstream_peer.map(Into::into),
            whole: Some(whole),
            shown: Arc::new(shown),
        }
    }

    /// What makes an entry the same as another: every field that two requests would not share.
    fn whole(&self, entry: &LogEntry) -> Fingerprint {
        let mut bytes = Vec::with_capacity(256);
        for text in [
            &entry.method,
            &entry.path,
            &entry.request_id,
            &entry.response_flags,
        ] {
            bytes.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
            bytes.push(0);
        }
        for number in [
            entry.start_time.map(|time| time.0),
            entry.response_code.map(u64::from),
            entry.bytes_received,
            entry.bytes_sent,
            entry.duration_milliseconds,
        ] {
            bytes.extend_from_slice(&number.unwrap_or(u64::MAX).to_le_bytes());
        }
        for address in [
            entry.upstream_local_address,
            entry.downstream_remote_address,
        ] {
            match address.map(|address| (address.ip(), address.port())) {
                Some((IpAddr::V4(ip), port)) => {
                    bytes.extend_from_slice(&ip.octets());
                    bytes.extend_from_slice(&port.to_le_bytes());
                }
                Some((IpAddr::V6(ip), port)) => {
                    bytes.extend_from_slice(&ip.octets());
                    bytes.extend_from_slice(&port.to_le_bytes());
                }
                None => bytes.push(0),
            }
        }
        self.fingerprints.of(&bytes)
    }

    fn shown_request(&self, head: &RequestHead) -> Shown {
        let target = head.path.as_deref();
        let (path, query) = target.map(|path| self.redaction.target(path)).unzip();
        Shown {
            path,
            query: query.flatten(),
            authority: head
                .authority
                .as_deref()
                .map(|a| self.redaction.authority(a)),
            conflicting_length: head.conflicting_length,
            ..Shown::default()
        }
    }

    fn path(&self, target: &str) -> ComparedPath {
        let (normal, query) = normalize(target);
        let bare = target.split(['?', '#']).next().unwrap_or_default();
        // Most targets are normal already: what is equal is hashed once.
        let either = |text: &str, known: &str, fingerprint| match text == known {
            true => fingerprint,
            false => self.of(text),
        };
        let raw = self.of(target);
        let bare_fingerprint = either(bare, target, raw);
        let bare_normalized = either(&normal, bare, bare_fingerprint);
        ComparedPath {
            raw,
            normalized: match query {
                Some(query) => either(&format!("{normal}?{query}"), target, raw),
                None => bare_normalized,
            },
            bare: bare_fingerprint,
            bare_normalized,
        }
    }

    fn request_id(&self, id: &str) -> Fingerprint {
        match id.char_indices().nth(14) {
            Some((at, decision)) => {
                let without = [&id[..at], &id[at + decision.len_utf8()..]].concat();
                self.of(&without)
            }
            None => self.of(id),
        }
    }

    fn of(&self, value: &str) -> Fingerprint {
        self.fingerprints.of(value.as_bytes())
    }
}

/// A server name that a line has, as it may be shown: whatever is no name is not.
fn shown_server_name(name: String) -> String {
    if is_host(name.as_bytes()) {
        name
    } else {
        REDACTED.to_owned()
    }
}

/// Whether a message is of gRPC, in whichever encoding: `application/grpc`, `application/grpc+proto`.
fn is_grpc(headers: &Headers) -> bool {
    let mut types = headers.values("content-type");
    types.any(|kind| {
        let prefix = kind.as_bytes().get(..GRPC.len());
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(GRPC))
    })
}
