//! A request and its answer: what really went over a connection, how the capture tells it, and
//! what an honest proxy writes about it.

use std::time::Duration;

use super::wire::Wire;
use crate::{
    envoy::LogEntry,
    http::{Exchange, Request, RequestHead, Response},
    record::Side,
    timestamp::Timestamp,
};

const MILLISECOND: u64 = 1_000_000;

#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) number: u32,
    pub(super) method: String,
    /// As it was sent.
    pub(super) path: String,
    /// As the proxy writes it, after its own normalisation.
    pub(super) logged_path: String,
    pub(super) authority: String,
    /// As the request bears it at this side.
    pub(super) request_id: Option<String>,
    /// As the proxy writes it, with its trace decision in it.
    pub(super) logged_request_id: Option<String>,
    pub(super) forwarded_for: Option<String>,
    pub(super) request_bytes: u64,
    pub(super) status: u16,
    pub(super) response_bytes: u64,
    pub(super) begun: Timestamp,
    pub(super) request_ended: Timestamp,
    pub(super) answered: Timestamp,
    pub(super) ended: Timestamp,
    /// What the proxy's clock says of its beginning.
    pub(super) started: Timestamp,
}

impl Transaction {
    /// How the capture tells it, if it saw all of it.
    pub(super) fn exchange(&self, wire: &Wire) -> Exchange {
        let mut headers = vec![("host".to_owned(), self.authority.clone())];
        let mut header = |name: &str, value: &Option<String>| {
            headers.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        };
        header("x-request-id", &self.request_id);
        header("x-forwarded-for", &self.forwarded_for);
        Exchange {
            connection: wire.id,
            exchange: self.number,
            time: self.begun,
            end: self.ended.max(self.request_ended),
            request: Request {
                head: Some(RequestHead {
                    method: self.method.clone(),
                    path: self.path.clone(),
                    authority: Some(self.authority.clone()),
                    version: "1.1".into(),
                    headers,
                    conflicting_length: false,
                }),
                ended: Some(self.request_ended),
                body_bytes: self.request_bytes,
            },
            response: Some(Response {
                time: self.answered,
                status: Some(self.status),
                headers: Vec::new(),
                ended: Some(self.ended),
                body_bytes: self.response_bytes,
                upgraded: false,
            }),
            gap: None,
            joined: false,
        }
    }

    /// What an honest proxy writes about it, in Istio's default format.
    pub(super) fn entry(&self, wire: &Wire) -> LogEntry {
        let ended = self.ended.max(self.request_ended);
        let cluster = match wire.side {
            Side::Client => format!("outbound|{}||backend", wire.port()),
            _ => format!("inbound|{}||", wire.port()),
        };
        let (upstream_host, upstream_local) = match wire.side {
            Side::Client => (wire.network.1, wire.network.0),
            _ => (wire.destination, wire.source),
        };
        let mut remote = match wire.side {
            Side::Client => wire.source,
            _ => wire.network.1,
        };
        if let Some(address) = &self.forwarded_for {
            remote = format!("{address}:0").parse().unwrap();
        }
        LogEntry {
            start_time: Some(Timestamp(self.started.0 / MILLISECOND * MILLISECOND)),
            start_time_precision_nanoseconds: MILLISECOND,
            method: Some(self.method.clone()),
            path: Some(self.logged_path.clone()),
            protocol: Some("HTTP/1.1".into()),
            can_speak_http: true,
            response_code: Some(self.status),
            response_flags: None,
            response_code_details: Some("via_upstream".into()),
            bytes_received: Some(self.request_bytes),
            bytes_sent: Some(self.response_bytes),
            duration_milliseconds: Some(whole_milliseconds(ended.since(self.started))),
            x_forwarded_for: self.forwarded_for.clone(),
            request_id: self.logged_request_id.clone(),
            authority: Some(self.authority.clone()),
            upstream_host: Some(upstream_host.to_string()),
            upstream_cluster: Some(cluster),
            upstream_local_address: Some(upstream_local),
            downstream_local_address: Some(wire.asked),
            downstream_remote_address: Some(remote),
            ..LogEntry::default()
        }
    }

    /// Whatever a line says of it but its times: exchanges of one connection with the same are
    /// interchangeable.
    pub(super) fn likeness(&self) -> String {
        format!(
            "{} {} {} {:?} {} {} {}",
            self.method,
            self.path,
            self.authority,
            self.request_id,
            self.request_bytes,
            self.status,
            self.response_bytes
        )
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
