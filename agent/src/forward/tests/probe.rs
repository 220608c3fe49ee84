//! A probe and the receivers that it may meet.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};

use super::peer::{Gate, Peer, PeerOptions, Scene, quick, within};
use crate::{
    forward::{
        ConnectionError, Probe, Receiver, SinkSettings, probe::probe_with, settings::Timing,
    },
    tls::{ACKNOWLEDGING_PROTOCOL, testing::Authority},
};

/// Longer than any test waits: only a ticket or an alert can decide.
fn patient() -> Timing {
    Timing {
        acceptance: Duration::from_secs(60),
        ..quick()
    }
}

async fn tried(settings: &SinkSettings, timing: Timing) -> Probe {
    within(probe_with(settings, &timing)).await
}

/// Probes while the peer accepts one connection and reads it to its end; what it has read.
async fn met(peer: &Peer, settings: &SinkSettings, timing: Timing) -> (Probe, Vec<u64>) {
    tokio::join!(tried(settings, timing), async {
        peer.accept().await.lines_to_end().await
    })
}

/// Probes while the peer refuses one connection.
async fn turned_away(peer: &Peer, settings: &SinkSettings) -> Probe {
    let (probe, accepted) = tokio::join!(tried(settings, patient()), peer.try_accept(None));
    assert!(accepted.is_err());
    probe
}

#[tokio::test]
async fn a_ticket_proves_acceptance_and_nothing_is_delivered() {
    let scene = Scene::new();
    let others: Vec<(Vec<&'static [u8]>, Receiver)> = vec![
        (vec![], Receiver::Silent),
        (vec![ACKNOWLEDGING_PROTOCOL], Receiver::Acknowledging),
    ];
    for (protocols, expected) in others {
        let options = PeerOptions {
            protocols,
            ..PeerOptions::default()
        };
        let peer = scene.peer(options).await;
        let settings = scene.settings(&peer.endpoint);
        // The peer asserts that the connection ends by close_notify.
        let (probe, lines) = met(&peer, &settings, patient()).await;
        assert!(
            matches!(&probe, Probe::Accepted(receiver) if *receiver == expected),
            "{probe:?}"
        );
        assert!(lines.is_empty());
    }
}

#[tokio::test]
async fn without_tickets_a_second_without_an_alert_proves_it() {
    let scene = Scene::new();
    let options = PeerOptions {
        tickets: 0,
        ..PeerOptions::default()
    };
    let peer = scene.peer(options).await;
    let timing = quick();
    let begun = Instant::now();
    let (probe, lines) = met(&peer, &scene.settings(&peer.endpoint), timing.clone()).await;
    assert!(
        matches!(probe, Probe::Accepted(Receiver::Silent)),
        "{probe:?}"
    );
    assert!(begun.elapsed() >= timing.acceptance && lines.is_empty());
}

#[tokio::test]
async fn certificates_that_the_receiver_does_not_want() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let settings = scene.settings(&peer.endpoint);
    let names = ["spiffe://mesh/node/n1"];
    let expired = scene.authority.issue_until(&names, 2020);
    for (certificate, alert) in [
        (Authority::new().issue(&names), "(unknown_ca)"),
        (expired, "(certificate_expired)"),
    ] {
        scene.set_agent(&certificate);
        let probe = turned_away(&peer, &settings).await;
        assert!(
            matches!(&probe, Probe::Refused(error) if error.to_string().contains(alert)),
            "{probe:?}"
        );
    }
}

/// A TLS 1.3 client is done before the receiver has looked at its certificate.
#[tokio::test]
async fn a_refusal_that_takes_its_time_is_waited_for() {
    let scene = Scene::new();
    scene.set_agent(&Authority::new().issue(&["spiffe://mesh/node/n1"]));
    let peer = scene.peer(PeerOptions::default()).await;
    let settings = scene.settings(&peer.endpoint);
    let gate = Arc::new(Gate::default());
    let opener = Arc::clone(&gate);
    let (probe, accepted) = tokio::join!(
        async {
            let mut trial = pin!(tried(&settings, patient()));
            let early = timeout(Duration::from_millis(50), &mut trial).await;
            assert!(early.is_err(), "{early:?}");
            opener.open();
            trial.await
        },
        peer.try_accept(Some(gate))
    );
    assert!(accepted.is_err());
    assert!(
        matches!(&probe, Probe::Refused(ConnectionError::Refused { .. })),
        "{probe:?}"
    );
}

#[tokio::test]
async fn certificates_that_we_do_not_want() {
    let scene = Scene::new();
    for certificate in [
        scene.authority.issue(&["other.mesh"]),
        Authority::new().issue(&["collector.mesh"]),
        scene.authority.issue_until(&["collector.mesh"], 2020),
    ] {
        let options = PeerOptions {
            certificate: Some(certificate),
            ..PeerOptions::default()
        };
        let peer = scene.peer(options).await;
        let probe = turned_away(&peer, &scene.settings(&peer.endpoint)).await;
        assert!(
            matches!(&probe, Probe::Refused(ConnectionError::Untrusted { .. })),
            "{probe:?}"
        );
    }
}

#[tokio::test]
async fn nobody_is_there() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let settings = scene.settings(&endpoint);

    // One that takes connections and says nothing, or closes them: a proxy without a receiver.
    let timing = Timing {
        handshake: Duration::from_millis(100),
        ..quick()
    };
    let (probe, held) = tokio::join!(tried(&settings, timing), within(listener.accept()));
    assert!(
        matches!(&probe, Probe::Unreachable(ConnectionError::TimedOut { .. })),
        "{probe:?}"
    );
    drop(held);
    let (probe, ()) = tokio::join!(tried(&settings, quick()), async {
        drop(within(listener.accept()).await);
    });
    assert!(matches!(&probe, Probe::Unreachable(_)), "{probe:?}");

    drop(listener);
    let probe = tried(&settings, quick()).await;
    assert!(
        matches!(&probe, Probe::Unreachable(ConnectionError::Unreachable(_))),
        "{probe:?}"
    );
    let probe = tried(&scene.settings("name.invalid:1"), quick()).await;
    assert!(
        matches!(&probe, Probe::Unreachable(ConnectionError::Resolve(_))),
        "{probe:?}"
    );
}

#[tokio::test]
async fn what_is_no_tls_and_what_is_no_file() {
    let scene = Scene::new();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = plain.local_addr().unwrap().to_string();
    let mut settings = scene.settings(&endpoint);
    let (probe, ()) = tokio::join!(tried(&settings, quick()), async {
        let (mut stream, _) = within(plain.accept()).await.unwrap();
        stream
            .write_all(b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    });
    assert!(
        matches!(&probe, Probe::Refused(ConnectionError::NotTls13(_))),
        "{probe:?}"
    );

    settings.tls.key = scene.directory.path().join("absent.key");
    let probe = tried(&settings, quick()).await;
    assert!(
        matches!(&probe, Probe::Refused(ConnectionError::Credentials(_))),
        "{probe:?}"
    );
}
