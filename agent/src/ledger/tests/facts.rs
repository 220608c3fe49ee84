//! What the scene is told, by its parts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{FLUSH, Sent};
use crate::{
    capture::Process,
    config::PolicyRule,
    http::End,
    ledger::{
        ComparedPath, Entry, Exchange, Line, LineContent, ResponseFact, Settings, path::normalize,
    },
    record::{Fingerprint, Fingerprints, Shown},
    timestamp::Timestamp,
};

pub(super) fn settings(policy: Vec<PolicyRule>) -> Settings {
    Settings {
        start_id: "s".into(),
        node: "n1".into(),
        version: "0".into(),
        proxy_containers: vec!["istio-proxy".into()],
        mesh_listeners: vec![15001, 15006],
        mesh_admin: vec![15000],
        flush: FLUSH,
        interval: Duration::from_secs(3600),
        earlier_run: false,
        observe: false,
        policy,
        sinks: Vec::new(),
    }
}

pub(in crate::ledger) fn exchange(
    connection: u64,
    number: u32,
    time: Timestamp,
    end: Timestamp,
    sent: &Sent,
) -> Exchange {
    Exchange {
        connection,
        exchange: number,
        stream: None,
        time,
        end,
        method: Some("GET".into()),
        path: Some(path(&sent.path)),
        authority: None,
        version: Some("1.1".into()),
        request_id: sent.request_id.as_deref().map(fingerprint),
        forwarded: sent.forwarded,
        request_ended: Some(time),
        request_bytes: 0,
        response: Some(ResponseFact {
            time: end - Duration::from_micros(100),
            status: Some(sent.status),
            ended: Some(end),
            bytes: sent.bytes,
            upgraded: false,
            grpc_status: None,
        }),
        gap: None,
        undecoded: false,
        refused: false,
        shown: Arc::new(Shown {
            path: Some(sent.path.clone()),
            ..Shown::default()
        }),
    }
}

pub(super) fn path(target: &str) -> ComparedPath {
    let (normal, _) = normalize(target);
    let (raw, normalized) = (fingerprint(target), fingerprint(&normal));
    ComparedPath {
        raw,
        normalized,
        bare: raw,
        bare_normalized: normalized,
    }
}

pub(super) fn fingerprint(value: &str) -> Fingerprint {
    Fingerprints::new(&[7; 16]).of(value.as_bytes())
}

pub(super) fn process(pid: u32) -> Process {
    Process {
        pid,
        user: 0,
        command: "x".into(),
    }
}

pub(super) fn end(cgroup: u64, pid: u32, local: SocketAddr, remote: &str) -> End {
    let remote = remote.parse().unwrap();
    End {
        cookie: 0,
        cgroup,
        process: Some(process(pid)),
        local,
        remote,
    }
}

pub(super) fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

pub(super) fn entry(line: &mut Line) -> &mut Entry {
    match &mut line.content {
        LineContent::Entry(entry) => entry,
        other => panic!("expected an entry, got {other:?}"),
    }
}
