//! Certificates that one side or the other does not want.

use std::{sync::Arc, time::Duration};

use tokio::io::AsyncReadExt;

use super::peer::{
    Gate, PeerOptions, Scene, eventually, failure, quick, record, start, start_with, within,
};
use crate::{forward::settings::Timing, tls::testing::Authority};

#[tokio::test]
async fn a_foreign_or_expired_certificate_counts_nothing_as_sent_until_the_right_one_is_there() {
    let scene = Scene::new();
    let foreign = Authority::new().issue(&["spiffe://mesh/node/n1"]);
    let expired = scene
        .authority
        .issue_until(&["spiffe://mesh/node/n1"], 2020);
    let right = scene.authority.issue(&["spiffe://mesh/node/n1"]);
    let peer = scene.peer(PeerOptions::default()).await;

    scene.set_agent(&foreign);
    let (mut forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
    for sequence in 1..=50 {
        forwarder.send(&record(sequence));
    }
    assert!(peer.try_accept(None).await.is_err());
    let reason = failure(&mut notices).await;
    assert!(
        reason.contains("refused our client certificate"),
        "{reason}"
    );
    assert!(reason.contains("agent.crt (unknown_ca)"), "{reason}");

    scene.set_agent(&expired);
    while !failure_after_refusal(&peer, &mut notices)
        .await
        .contains("(certificate_expired)")
    {}
    let status = &forwarder.statuses()[0];
    assert_eq!((status.sent, status.resent, status.connected), (0, 0, None));
    assert!(status.window_bytes == 0 && status.queued_bytes > 0);
    assert!(
        status
            .certificate_not_after
            .unwrap()
            .to_string()
            .starts_with("2020-01-01")
    );
    assert!(
        status
            .last_error
            .as_ref()
            .unwrap()
            .contains("certificate_expired")
    );

    scene.set_agent(&right);
    forwarder
        .reload(vec![scene.settings(&peer.endpoint)])
        .unwrap();
    let mut connection = loop {
        if let Ok(connection) = peer.try_accept(None).await {
            break connection;
        }
    };
    assert_eq!(connection.lines(50).await, (1..=50).collect::<Vec<_>>());
    eventually(|| forwarder.statuses()[0].sent == 50).await;
    assert_eq!(forwarder.statuses()[0].last_error, None);
}

async fn failure_after_refusal(
    peer: &super::peer::Peer,
    notices: &mut tokio::sync::mpsc::UnboundedReceiver<crate::forward::Notice>,
) -> String {
    assert!(peer.try_accept(None).await.is_err());
    failure(notices).await
}

/// A TLS 1.3 client is done before the server has looked at its certificate.
#[tokio::test]
async fn nothing_is_written_while_the_receiver_has_not_looked_at_our_certificate() {
    let scene = Scene::new();
    scene.set_agent(&Authority::new().issue(&["spiffe://mesh/node/n1"]));
    let peer = scene.peer(PeerOptions::default()).await;
    let timing = Timing {
        acceptance: Duration::from_secs(30),
        ..quick()
    };
    let (forwarder, mut notices) = start_with(vec![scene.settings(&peer.endpoint)], timing);
    forwarder.send(&record(1));
    let gate = Arc::new(Gate::default());
    let opener = Arc::clone(&gate);
    let accepting = peer.try_accept(Some(gate));
    let (accepted, ()) = tokio::join!(accepting, async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        opener.open();
    });
    assert!(accepted.is_err());
    assert!(failure(&mut notices).await.contains("(unknown_ca)"));
    assert_eq!(forwarder.statuses()[0].sent, 0);
}

/// The receiver takes longer than we wait: what was written meanwhile comes again.
#[tokio::test]
async fn lines_written_before_a_late_refusal_are_sent_again() {
    let scene = Scene::new();
    let right = scene.authority.issue(&["spiffe://mesh/node/n1"]);
    scene.set_agent(&Authority::new().issue(&["spiffe://mesh/node/n1"]));
    let peer = scene.peer(PeerOptions::default()).await;
    let timing = Timing {
        acceptance: Duration::from_millis(1),
        ..quick()
    };
    let (forwarder, mut notices) = start_with(vec![scene.settings(&peer.endpoint)], timing);
    for sequence in 1..=20 {
        forwarder.send(&record(sequence));
    }
    let gate = Arc::new(Gate::default());
    let opener = Arc::clone(&gate);
    let (accepted, ()) = tokio::join!(peer.try_accept(Some(gate)), async {
        eventually(|| forwarder.statuses()[0].sent == 20).await;
        scene.set_agent(&right);
        opener.open();
    });
    assert!(accepted.is_err());
    assert!(failure(&mut notices).await.contains("(unknown_ca)"));
    let mut connection = peer.accept().await;
    assert_eq!(connection.lines(20).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(forwarder.statuses()[0].resent, 20);
}

#[tokio::test]
async fn a_receiver_of_another_name_or_authority_gets_not_a_byte() {
    let scene = Scene::new();
    let wrong = [
        (
            scene.authority.issue(&["other.mesh"]),
            "expected a certificate for `collector.mesh`",
        ),
        (
            Authority::new().issue(&["collector.mesh"]),
            "no authority in `tls.ca` has issued it",
        ),
        (
            scene.authority.issue_until(&["collector.mesh"], 2020),
            "renew it, or check this node's clock",
        ),
    ];
    for (certificate, expected) in wrong {
        let options = PeerOptions {
            certificate: Some(certificate),
            ..PeerOptions::default()
        };
        let peer = scene.peer(options).await;
        let (forwarder, mut notices) = start(vec![scene.settings(&peer.endpoint)]);
        forwarder.send(&record(1));
        assert!(
            peer.try_accept(None).await.is_err(),
            "the handshake never ends"
        );
        let reason = failure(&mut notices).await;
        assert!(reason.contains("failed our check"), "{reason}");
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(forwarder.statuses()[0].sent, 0);
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_tls_or_has_no_files_is_told_apart() {
    let scene = Scene::new();
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = plain.local_addr().unwrap().to_string();
    let (_forwarder, mut notices) = start(vec![scene.settings(&endpoint)]);
    let (mut stream, _) = within(plain.accept()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example ESMTP\r\n")
        .await
        .unwrap();
    let reason = failure(&mut notices).await;
    assert!(reason.contains("does not speak TLS 1.3"), "{reason}");
    let mut hello = Vec::new();
    let _ = within(stream.read_to_end(&mut hello)).await;

    let mut settings = scene.settings(&endpoint);
    settings.tls.key = scene.directory.path().join("absent.key");
    let (_forwarder, mut notices) = start(vec![settings]);
    let reason = failure(&mut notices).await;
    assert!(reason.contains("absent.key: cannot be read"), "{reason}");
}
