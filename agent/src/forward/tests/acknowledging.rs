//! To receivers that say what they have stored, truly or not.

use tokio::{io::AsyncWriteExt, time::Instant};

use super::peer::{
    Connection, Peer, PeerOptions, Scene, eventually, failure, quick, record, start, within,
};
use crate::{
    forward::{Forwarder, Receiver},
    tls::ACKNOWLEDGING_PROTOCOL,
};

async fn acknowledging(scene: &Scene) -> Peer {
    let options = PeerOptions {
        protocols: vec![ACKNOWLEDGING_PROTOCOL],
        ..PeerOptions::default()
    };
    scene.peer(options).await
}

async fn answer(connection: &mut Connection, text: &str) {
    within(connection.stream.write_all(text.as_bytes()))
        .await
        .unwrap();
    within(connection.stream.flush()).await.unwrap();
}

fn send(forwarder: &Forwarder, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        forwarder.send(&record(sequence));
    }
}

#[tokio::test]
async fn only_what_is_acknowledged_counts_and_the_rest_comes_again() {
    let scene = Scene::new();
    let peer = acknowledging(&scene).await;
    let (forwarder, _notices) = start(vec![scene.settings(&peer.endpoint)]);
    send(&forwarder, 1..=10);
    let mut first = peer.accept().await;
    first.lines(10).await;
    // An answer in pieces, one byte a segment; then an older one, which says nothing new.
    for byte in "{\"ack\":\"start-4\"}\n{\"ack\":\"start-2\"}\n".chars() {
        answer(&mut first, &byte.to_string()).await;
    }
    eventually(|| forwarder.statuses()[0].acknowledged == 4).await;
    send(&forwarder, 11..=11);
    assert_eq!(first.lines(1).await, [11], "the older answer did no harm");
    let status = &forwarder.statuses()[0];
    assert_eq!(status.connected, Some(Receiver::Acknowledging));
    assert_eq!((status.acknowledged, status.window_bytes), (4, 0));
    drop(first);

    let mut second = peer.accept().await;
    assert_eq!(second.lines(7).await, (5..=11).collect::<Vec<_>>());
    answer(&mut second, "{\"ack\":\"start-11\"}\n").await;
    eventually(|| forwarder.statuses()[0].queued_bytes == 0).await;
}

#[tokio::test]
async fn a_receiver_whose_answers_cannot_be_true_frees_nothing() {
    let scene = Scene::new();
    let peer = acknowledging(&scene).await;
    let (mut forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
    send(&forwarder, 1..=3);
    let cases = [
        ("{\"ack\":\"start-4\"}\n", "expected an id up to `start-3`"),
        ("{\"ack\":\"other-1\"}\n", "acknowledged `other-1`"),
        ("{\"ack\":\"start-x\"}\n", "acknowledged `start-x`"),
        ("HTTP/1.1 200 OK\r\n\r\n", "is no line `{\"ack\":\"<id>\"}`"),
        ("{\"ack\":null}\n", "is no line `{\"ack\":\"<id>\"}`"),
    ];
    for (text, expected) in cases {
        let mut connection = peer.accept().await;
        assert_eq!(connection.lines(3).await, [1, 2, 3]);
        answer(&mut connection, text).await;
        let reason = failure(&mut notices).await;
        assert!(reason.contains(expected), "{text:?}: {reason}");
    }
    assert_eq!(forwarder.statuses()[0].acknowledged, 0);
    assert_eq!(forwarder.take_losses(), []);
    let mut connection = peer.accept().await;
    assert_eq!(connection.lines(3).await, [1, 2, 3]);
}

/// A dishonest or broken receiver is not asked again in a tight loop.
#[tokio::test]
async fn a_receiver_that_is_never_right_is_asked_ever_more_seldom() {
    let scene = Scene::new();
    let peer = acknowledging(&scene).await;
    let (forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
    send(&forwarder, 1..=1);
    let mut delays = Vec::new();
    while delays.len() < 6 {
        let mut connection = peer.accept().await;
        connection.lines(1).await;
        answer(&mut connection, "no\n").await;
        while let Some(notice) = within(notices.recv()).await {
            if let crate::forward::Notice::Failed { retry_in, .. } = notice {
                delays.push(retry_in);
                break;
            }
        }
    }
    assert!(delays[5] >= quick().backoff_limit / 2, "{delays:?}");
}

#[tokio::test]
async fn the_end_waits_for_acknowledgements() {
    let scene = Scene::new();
    let peer = acknowledging(&scene).await;
    let (forwarder, _notices) = start(vec![scene.settings(&peer.endpoint)]);
    send(&forwarder, 1..=5);
    let mut connection = peer.accept().await;
    connection.lines(5).await;
    let ending = tokio::spawn(async move {
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        forwarder.shutdown(deadline).await
    });
    answer(&mut connection, "{\"ack\":\"start-5\"}\n").await;
    assert_eq!(connection.lines_to_end().await, [0; 0]);
    assert_eq!(within(ending).await.unwrap()[0].records, 0);
}
