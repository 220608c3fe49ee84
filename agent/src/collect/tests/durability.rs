//! An agent's sink and a collector that dies: nothing acknowledged is missing, nothing is twice.

use std::{collections::BTreeSet, fs::OpenOptions, io::Write, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    rig::{Rig, eventually, line, record},
    segments::segments,
};
use crate::{
    forward::{Forwarder, Notice, Receiver},
    tls::ACKNOWLEDGING_PROTOCOL,
};

const DIRECTORY: &str = "spiffe%3A%2F%2Fmesh%2Fnode%2Fn1";

fn forwarder(rig: &Rig) -> Forwarder {
    Forwarder::start(vec![rig.sink()], Arc::new(|_: &Notice| {})).unwrap()
}

fn sequences(rig: &Rig) -> Vec<u64> {
    rig.stored(DIRECTORY)
        .into_iter()
        .map(|(_, sequence)| sequence)
        .collect()
}

#[tokio::test]
async fn a_collector_killed_in_the_middle_loses_and_doubles_nothing() {
    let mut rig = Rig::new();
    rig.rotate_bytes = 20_000;
    let mut collector = rig.start().await;
    let forwarder = forwarder(&rig);
    let mut sent = 0;
    for round in 0..6 {
        for _ in 0..3000 {
            sent += 1;
            forwarder.send(&record(sent));
        }
        // Killed with records in the socket, in the queue, and stored but not yet acknowledged.
        eventually(|| collector.counters.records.total() > 500 * (round % 3)).await;
        let acknowledged = forwarder.statuses()[0].acknowledged;
        collector.kill().await;
        rig.unlocked().await;
        let stored = sequences(&rig).len() as u64;
        assert!(
            stored >= acknowledged,
            "{acknowledged} acknowledged, {stored} stored"
        );

        if round % 2 == 0 {
            let directory = rig.settings().dir.join(DIRECTORY);
            let (name, _) = segments(&directory).pop_last().unwrap();
            let torn = line("start", 1 << 40, "n1");
            OpenOptions::new()
                .append(true)
                .open(directory.join(name))
                .and_then(|mut file| file.write_all(&torn.as_bytes()[..30]))
                .unwrap();
        }
        collector = rig.start().await;
    }
    let left = forwarder
        .shutdown(Instant::now() + Duration::from_secs(20))
        .await;
    assert_eq!(left[0].records, 0);
    collector.shutdown().await;
    assert_eq!(sequences(&rig), (1..=sent).collect::<Vec<_>>());
    assert!(segments(&rig.settings().dir.join(DIRECTORY)).len() > 5);
    rig.noticed("a begun line of 30 bytes cut off").await;
}

#[tokio::test]
async fn an_orderly_restart_leaves_nothing_to_do_twice() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let forwarder = forwarder(&rig);
    for sequence in 1..=1000 {
        forwarder.send(&record(sequence));
    }
    eventually(|| forwarder.statuses()[0].acknowledged == 1000).await;
    let status = &forwarder.statuses()[0];
    assert_eq!(status.connected, Some(Receiver::Acknowledging));
    assert_eq!((status.queued_bytes, status.window_bytes), (0, 0));
    collector.shutdown().await;
    let collector = rig.start().await;
    for sequence in 1001..=1100 {
        forwarder.send(&record(sequence));
    }
    eventually(|| forwarder.statuses()[0].acknowledged == 1100).await;
    assert_eq!(collector.counters.duplicates.total(), 0);
    assert_eq!(forwarder.statuses()[0].reconnects, 1);
    assert_eq!(sequences(&rig), (1..=1100).collect::<Vec<_>>());
}

/// Several agents at once, each with records of its own.
#[tokio::test]
async fn senders_do_not_mix() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let mut clients = Vec::new();
    for node in ["n1", "n2", "n3"] {
        let issued = rig
            .authority
            .issue(&[&format!("spiffe://mesh/node/{node}")]);
        let client = rig.client(Some(issued), &[ACKNOWLEDGING_PROTOCOL]).await;
        clients.push((node, client));
    }
    for sequence in 1..=50 {
        for (node, client) in &mut clients {
            client.send(&line(node, sequence, node)).await;
            let expected = format!("{{\"ack\":\"{node}-{sequence}\"}}\n");
            assert_eq!(client.line().await, expected);
        }
    }
    for (node, _) in &clients {
        let stored = rig.stored(&format!("spiffe%3A%2F%2Fmesh%2Fnode%2F{node}"));
        let starts: BTreeSet<_> = stored.iter().map(|(start, _)| start.as_str()).collect();
        assert_eq!(starts, BTreeSet::from([*node]));
        assert_eq!(stored.len(), 50);
    }
    collector.kill().await;
}

/// A sender that comes back while its last connection is not yet known to be dead.
#[tokio::test]
async fn two_connections_of_one_start_store_each_record_once() {
    let rig = Rig::new();
    let _collector = rig.start().await;
    let mut lingering = rig.agent().await;
    let mut current = rig.agent().await;
    for sequence in 1..=100 {
        lingering.send(&line("s", sequence, "n1")).await;
        current.send(&line("s", sequence, "n1")).await;
    }
    while current.line().await != "{\"ack\":\"s-100\"}\n" {}
    while lingering.line().await != "{\"ack\":\"s-100\"}\n" {}
    assert_eq!(sequences(&rig), (1..=100).collect::<Vec<_>>());
}
