//! To receivers that acknowledge nothing.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::peer::{
    PeerOptions, Scene, eventually, failure, quick, record, record_of, start, start_with, within,
};
use crate::{
    forward::{Notice, Receiver, SettingsError},
    record::{Include, Kind, Verdict},
};

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn delivers_in_order_and_closes_in_order() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let (forwarder, _notices) = start(vec![scene.settings(&peer.endpoint)]);
    for sequence in 1..=2000 {
        forwarder.send(&record(sequence));
    }
    let connection = peer.accept().await;
    let reading = tokio::spawn(connection.lines_to_end());
    let left = forwarder
        .shutdown(Instant::now() + Duration::from_secs(10))
        .await;
    assert_eq!(within(reading).await.unwrap(), numbers(1..=2000));
    assert_eq!((left[0].records, left[0].unconfirmed), (0, 0));
}

/// As Python's `ssl` without `set_alpn_protocols`, with tickets switched off.
#[tokio::test]
async fn a_receiver_without_alpn_and_tickets_counts_after_a_while_without_alert() {
    let scene = Scene::new();
    let options = PeerOptions {
        tickets: 0,
        ..PeerOptions::default()
    };
    let peer = scene.peer(options).await;
    let (forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
    forwarder.send(&record(1));
    let begun = Instant::now();
    let mut connection = peer.accept().await;
    assert_eq!(forwarder.statuses()[0].sent, 0);
    assert_eq!(connection.lines(1).await, [1]);
    assert!(begun.elapsed() >= quick().acceptance);
    assert!(matches!(
        within(notices.recv()).await,
        Some(Notice::Connected {
            receiver: Receiver::Silent,
            ..
        })
    ));
}

#[tokio::test]
async fn a_receiver_that_refuses_our_protocol_is_reached_without_it() {
    let scene = Scene::new();
    let options = PeerOptions {
        protocols: vec![b"http/1.1"],
        ..PeerOptions::default()
    };
    let peer = scene.peer(options).await;
    let (forwarder, _notices) = start(vec![scene.settings(&peer.endpoint)]);
    forwarder.send(&record(1));
    assert!(peer.try_accept(None).await.is_err());
    let mut connection = peer.accept().await;
    assert_eq!(connection.lines(1).await, [1]);
    eventually(|| forwarder.statuses()[0].connected == Some(Receiver::Silent)).await;
}

#[tokio::test]
async fn a_receiver_that_ends_in_the_middle_of_a_line_gets_the_window_again() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let (forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
    for sequence in 1..=100 {
        forwarder.send(&record(sequence));
    }
    let mut first = peer.accept().await;
    assert_eq!(first.lines(40).await, numbers(1..=40));
    let mut part = [0; 17];
    within(first.stream.read_exact(&mut part)).await.unwrap();
    eventually(|| forwarder.statuses()[0].sent == 100).await;
    // An orderly end, and yet what it did not read is gone.
    within(first.stream.shutdown()).await.unwrap();
    drop(first);

    let mut second = peer.accept().await;
    assert_eq!(second.lines(100).await, numbers(1..=100));
    forwarder.send(&record(101));
    assert_eq!(second.lines(1).await, [101]);
    assert!(
        failure(&mut notices)
            .await
            .contains("closed the connection")
    );
    let status = &forwarder.statuses()[0];
    assert_eq!((status.sent, status.resent), (101, 100));
    assert_eq!(status.reconnects, 1);
}

#[tokio::test]
async fn a_receiver_killed_with_unread_bytes_loses_nothing() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let mut settings = scene.settings(&peer.endpoint);
    settings.window_bytes = 200_000;
    let (mut forwarder, _notices) = start(vec![settings]);
    for sequence in 1..=500 {
        forwarder.send(&record(sequence));
    }
    let mut seen = std::collections::BTreeSet::new();
    for round in 1..=5 {
        let mut connection = peer.accept().await;
        seen.extend(connection.lines(50 * round).await);
        eventually(|| forwarder.statuses()[0].queued_bytes == 0).await;
        // Closing a socket with unread bytes resets the connection, as a killed process does.
        drop(connection);
        for more in 1..=20 {
            forwarder.send(&record(480 + round as u64 * 20 + more));
        }
    }
    let connection = peer.accept().await;
    let reading = tokio::spawn(connection.lines_to_end());
    assert_eq!(forwarder.take_losses(), []);
    forwarder
        .shutdown(Instant::now() + Duration::from_secs(10))
        .await;
    seen.extend(within(reading).await.unwrap());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), numbers(1..=600));
}

#[tokio::test]
async fn a_stalled_sink_overflows_alone_and_tells_the_range() {
    let scene = Scene::new();
    let stalled = scene.peer(PeerOptions::default()).await;
    let fast = scene.peer(PeerOptions::default()).await;
    let mut settings = scene.settings(&stalled.endpoint);
    settings.queue_bytes = 100_000;
    let (mut forwarder, _notices) = start(vec![settings, scene.settings(&fast.endpoint)]);
    let _never_read = stalled.accept().await;
    let mut reader = fast.accept().await;

    // Until the sockets of both ends are full: then all that comes in pushes as much out.
    let mut sequence = 0;
    let mut told = Vec::new();
    loop {
        let dropped = forwarder.statuses()[0].dropped;
        for _ in 0..4 {
            sequence += 1;
            forwarder.send(&record_of(sequence, Kind::Http, None, 20_000));
        }
        let expected = numbers(sequence - 3..=sequence);
        assert_eq!(reader.lines(4).await, expected, "the fast one keeps up");
        told.extend(forwarder.take_losses());
        if forwarder.statuses()[0].dropped == dropped + 4 {
            break;
        }
    }
    for range in &told {
        assert_eq!(range.sink, stalled.endpoint);
    }
    let status = &forwarder.statuses()[0];
    assert!(status.queued_bytes <= 100_000);
    assert_eq!(
        status.dropped,
        told.iter().map(|range| range.records).sum::<u64>()
    );
    let left = forwarder
        .shutdown(Instant::now() + Duration::from_millis(100))
        .await;
    assert_eq!(left[0].last.as_deref(), Some(&*format!("start-{sequence}")));
    assert_eq!(left[1].records, 0);
}

#[tokio::test]
async fn the_filter_holds_and_the_books_always_pass() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let mut settings = scene.settings(&peer.endpoint);
    settings.include = Include {
        kinds: Some(vec![Kind::Http]),
        verdicts: Some(vec![Verdict::Unlogged]),
    };
    let (forwarder, _notices) = start(vec![settings]);
    forwarder.send(&record_of(1, Kind::Http, Some(Verdict::Matched), 0));
    forwarder.send(&record_of(2, Kind::Http, Some(Verdict::Unlogged), 0));
    forwarder.send(&record_of(3, Kind::Connection, Some(Verdict::Unlogged), 0));
    forwarder.send(&record_of(4, Kind::Finding, None, 0));
    forwarder.send(&record_of(5, Kind::Ledger, None, 0));
    forwarder.send(&record_of(6, Kind::Lifecycle, None, 0));
    let mut connection = peer.accept().await;
    assert_eq!(connection.lines(3).await, [2, 5, 6]);
    assert_eq!(forwarder.statuses()[0].filtered, 3);
}

#[tokio::test]
async fn what_cannot_be_delivered_until_the_deadline_is_told() {
    let scene = Scene::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = free.local_addr().unwrap().to_string();
    drop(free);
    let (forwarder, mut notices) = start(vec![scene.settings(&endpoint)]);
    for sequence in 1..=3 {
        forwarder.send(&record(sequence));
    }
    assert!(failure(&mut notices).await.contains("no TCP connection"));
    let begun = Instant::now();
    let left = forwarder.shutdown(begun + Duration::from_millis(50)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(left[0].records, 3);
    assert_eq!(left[0].first.as_deref(), Some("start-1"));
    assert_eq!(left[0].last.as_deref(), Some("start-3"));
}

#[tokio::test]
async fn a_reload_keeps_queues_moves_sinks_and_tells_what_a_retired_one_left() {
    let scene = Scene::new();
    let kept = scene.peer(PeerOptions::default()).await;
    let gone = scene.peer(PeerOptions::default()).await;
    let (mut forwarder, _notices) = start_with(
        vec![
            scene.settings(&kept.endpoint),
            scene.settings(&gone.endpoint),
        ],
        quick(),
    );
    let mut first = kept.accept().await;
    forwarder.send(&record(1));
    assert_eq!(first.lines(1).await, [1]);
    drop(gone);
    let renew = || scene.set_agent(&scene.authority.issue(&["spiffe://mesh/node/n1"]));
    renew();
    forwarder
        .reload(vec![scene.settings(&kept.endpoint)])
        .unwrap();
    assert_eq!(forwarder.statuses().len(), 1);
    assert_eq!(first.lines_to_end().await, [0; 0], "closed in order");

    let mut second = kept.accept().await;
    forwarder.send(&record(2));
    assert_eq!(
        second.lines(1).await,
        [2],
        "nothing comes twice after our own close"
    );

    // A TCP end is no word of the receiver: anybody on the path can make one.
    renew();
    forwarder
        .reload(vec![scene.settings(&kept.endpoint)])
        .unwrap();
    let mut end = Vec::new();
    within(second.stream.read_to_end(&mut end)).await.unwrap();
    drop(second);
    let mut third = kept.accept().await;
    assert_eq!(third.lines(1).await, [2]);

    let mut lost = Vec::new();
    eventually(|| {
        lost.extend(forwarder.take_losses());
        !lost.is_empty()
    })
    .await;
    assert_eq!(lost[0].ids, ("start-1".to_owned(), "start-1".to_owned()));
}

#[tokio::test]
async fn settings_that_never_work_are_refused() {
    let scene = Scene::new();
    let report = std::sync::Arc::new(|_: &Notice| {});
    let start = |settings| crate::forward::Forwarder::start(settings, report.clone()).err();
    assert_eq!(
        start(vec![scene.settings("collector")]),
        Some(SettingsError::Endpoint {
            endpoint: "collector".to_owned()
        })
    );
    assert_eq!(
        start(vec![scene.settings("c:1"), scene.settings("c:1")]),
        Some(SettingsError::Duplicate {
            endpoint: "c:1".to_owned()
        })
    );
    let mut nameless = scene.settings("a_b c:1");
    nameless.tls.server_name = None;
    assert!(matches!(
        start(vec![nameless]),
        Some(SettingsError::ServerName { .. })
    ));
    let mut bracketed = scene.settings("[::1]:6514");
    bracketed.tls.server_name = None;
    assert_eq!(start(vec![bracketed]), None);
}

/// The agent's main thread is not one of the runtime's.
#[tokio::test]
async fn a_reload_from_another_thread_starts_the_sinks_that_are_new() {
    let scene = Scene::new();
    let (old, new) = (
        scene.peer(PeerOptions::default()).await,
        scene.peer(PeerOptions::default()).await,
    );
    let (mut forwarder, _notices) = start(vec![scene.settings(&old.endpoint)]);
    let settings = vec![scene.settings(&old.endpoint), scene.settings(&new.endpoint)];
    let reloading = std::thread::spawn(move || {
        forwarder.reload(settings).unwrap();
        forwarder
    });
    let forwarder = reloading.join().unwrap();
    forwarder.send(&record(7));
    assert_eq!(new.accept().await.lines(1).await, [7]);
}
