//! Certificate files that change while the agent runs.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use super::peer::{PeerOptions, Scene, eventually, failure, quick, record, start_with, unusable};
use crate::{
    forward::settings::Timing,
    tls::testing::{Authority, Issued},
};

const AGENT: &str = "spiffe://mesh/node/n1";

fn looking() -> Timing {
    Timing {
        look: Duration::from_millis(10),
        ..quick()
    }
}

/// A secret as Kubernetes mounts it: `tls.crt` leads to `..data/tls.crt`, and `..data` is turned.
fn mount_secret(volume: &Path, version: &str, issued: &Issued) {
    let directory = volume.join(format!("..{version}"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("tls.crt"), &issued.certificate).unwrap();
    fs::write(directory.join("tls.key"), &issued.key).unwrap();
    let turned = volume.join("..data_tmp");
    symlink(format!("..{version}"), &turned).unwrap();
    fs::rename(turned, volume.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let link = volume.join(file);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(file), link).unwrap();
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_that_is_renewed_is_used_without_a_signal() {
    let scene = Scene::new();
    let volume = tempfile::tempdir().unwrap();
    let expired = scene.authority.issue_until(&[AGENT], 2020);
    mount_secret(volume.path(), "1", &expired);
    let peer = scene.peer(PeerOptions::default()).await;
    let mut settings = scene.settings(&peer.endpoint);
    settings.tls.cert = volume.path().join("tls.crt");
    settings.tls.key = volume.path().join("tls.key");
    let (forwarder, mut notices) = start_with(vec![settings], looking());
    forwarder.send(&record(1));
    assert!(peer.try_accept(None).await.is_err());
    assert!(
        failure(&mut notices)
            .await
            .contains("(certificate_expired)")
    );

    mount_secret(volume.path(), "2", &scene.authority.issue(&[AGENT]));
    let mut connection = loop {
        if let Ok(connection) = peer.try_accept(None).await {
            break connection;
        }
    };
    assert_eq!(connection.lines(1).await, [1]);
}

#[tokio::test]
async fn a_standing_connection_is_made_anew_with_the_renewed_certificate() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let (forwarder, _notices) = start_with(vec![scene.settings(&peer.endpoint)], looking());
    forwarder.send(&record(1));
    let mut first = peer.accept().await;
    assert_eq!(first.lines(1).await, [1]);

    let renewed = scene.authority.issue(&["spiffe://mesh/node/renewed"]);
    for (file, text) in [
        ("agent.key", &renewed.key),
        ("agent.crt", &renewed.certificate),
    ] {
        let new = scene.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, scene.directory.path().join(file)).unwrap();
    }
    assert_eq!(first.lines_to_end().await, [0; 0], "closed in order");
    let mut second = peer.accept().await;
    let certificates = second.stream.get_ref().1.peer_certificates().unwrap();
    let der: Vec<u8> = certificates[0].to_vec();
    assert!(der.windows(7).any(|window| window == b"renewed"));
    forwarder.send(&record(2));
    assert_eq!(second.lines(1).await, [2], "nothing comes twice");
}

#[tokio::test]
async fn files_that_cannot_be_used_end_no_connection() {
    let scene = Scene::new();
    let peer = scene.peer(PeerOptions::default()).await;
    let (mut forwarder, mut notices) = start_with(vec![scene.settings(&peer.endpoint)], looking());
    forwarder.send(&record(1));
    let mut connection = peer.accept().await;
    assert_eq!(connection.lines(1).await, [1]);

    let certificate = scene.directory.path().join("agent.crt");
    fs::write(&certificate, Authority::new().issue(&[AGENT]).certificate).unwrap();
    let reason = unusable(&mut notices).await;
    assert!(
        reason.contains("is not the key of the certificate"),
        "{reason}"
    );
    // Nor does a reload, which says it again.
    forwarder
        .reload(vec![scene.settings(&peer.endpoint)])
        .unwrap();
    let reason = unusable(&mut notices).await;
    assert!(
        reason.contains("is not the key of the certificate"),
        "{reason}"
    );
    forwarder.send(&record(2));
    assert_eq!(connection.lines(1).await, [2]);
    eventually(|| forwarder.statuses()[0].sent == 2).await;
    assert_eq!(forwarder.statuses()[0].reconnects, 0);
}
