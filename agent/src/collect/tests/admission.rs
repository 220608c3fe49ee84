//! Who is let in, what is taken from them, and what is not.

use std::{fs, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::rig::{AGENT, Rig, eventually, line, within};
use crate::{
    collect::{AllowError, CollectError, Collector, Limits, OpenError},
    tls::{ACKNOWLEDGING_PROTOCOL, testing::Authority},
};

const DIRECTORY: &str = "spiffe%3A%2F%2Fmesh%2Fnode%2Fn1";

#[tokio::test]
async fn stores_then_acknowledges() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let mut agent = rig.agent().await;
    agent.send(&line("s", 1, "n1")).await;
    assert_eq!(agent.line().await, "{\"ack\":\"s-1\"}\n");
    assert_eq!(rig.stored(DIRECTORY), [("s".to_owned(), 1)]);
    let (first, second) = (line("s", 2, "n1"), line("s", 3, "n1"));
    agent.send(&first[..9]).await;
    agent.send(&format!("{}{second}", &first[9..])).await;
    let mut last = agent.line().await;
    if last == "{\"ack\":\"s-2\"}\n" {
        last = agent.line().await;
    }
    assert_eq!(last, "{\"ack\":\"s-3\"}\n");
    assert_eq!(collector.counters.records.total(), 3);
    collector.shutdown().await;
    assert_eq!(agent.rest().await, Ok(String::new()), "closed in order");
}

#[tokio::test]
async fn without_the_protocol_it_stores_and_says_nothing() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let mut client = rig.client(Some(rig.authority.issue(&[AGENT])), &[]).await;
    client.send(&line("s", 1, "n1")).await;
    eventually(|| collector.counters.records.total() == 1).await;
    collector.shutdown().await;
    assert_eq!(client.rest().await, Ok(String::new()));
}

#[tokio::test]
async fn refuses_in_the_handshake_whom_it_does_not_know() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let cases = [
        (None, "CertificateRequired", "the client has no certificate"),
        (
            Some(Authority::new().issue(&[AGENT])),
            "UnknownCA",
            "UnknownIssuer",
        ),
        (
            Some(rig.authority.issue_until(&[AGENT], 2020)),
            "CertificateExpired",
            "expired",
        ),
        (
            Some(rig.authority.issue(&["spiffe://mesh/pod/n1", "n1.mesh"])),
            "AccessDenied",
            "no entry of `allow` fits",
        ),
    ];
    for (issued, alert, notice) in cases {
        let mut client = rig.client(issued, &[ACKNOWLEDGING_PROTOCOL]).await;
        // A TLS 1.3 client learns it with its first read.
        let error = client.rest().await.unwrap_err();
        assert!(error.contains(alert), "{error}");
        rig.noticed(notice).await;
    }
    assert_eq!(collector.counters.handshakes_failed.total(), 4);
    assert_eq!(collector.counters.sessions.total(), 0);
    let stored = fs::read_dir(rig.settings().dir).unwrap();
    assert_eq!(stored.count(), 1, "the lock alone");
}

#[tokio::test]
async fn a_bad_record_ends_the_session_after_the_good_ones_before_it() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let foreign = line("s", 3, "n2");
    let cases = [
        ("{\"id\":\"s-3\"}\n", "lacks `id` or `node`"),
        (foreign.as_str(), "a record of node `n2`"),
        ("\u{1b}[2J\n", "no JSON object"),
    ];
    for (bad, notice) in cases {
        let mut agent = rig.agent().await;
        let good = [line("s", 1, "n1"), line("s", 2, "n1")].concat();
        agent
            .send(&format!("{good}{bad}{}", line("s", 9, "n1")))
            .await;
        assert_eq!(agent.rest().await.as_deref(), Ok("{\"ack\":\"s-2\"}\n"));
        rig.noticed(notice).await;
    }
    let stored = rig.stored(DIRECTORY);
    assert_eq!(stored, [("s".to_owned(), 1), ("s".to_owned(), 2)]);
    let counters = &collector.counters;
    assert_eq!(
        (counters.wrong_node.total(), counters.malformed.total()),
        (1, 2)
    );
    assert_eq!(counters.duplicates.total(), 4);
    assert_eq!(counters.sessions_failed.total(), 3);
}

#[tokio::test]
async fn a_line_without_end_ends_the_session() {
    let rig = Rig::new();
    let _collector = rig.start().await;
    let mut agent = rig.agent().await;
    let endless = "x".repeat(64 * 1024);
    let written = within(async {
        for _ in 0..64 {
            if agent.stream.write_all(endless.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    written.await;
    rig.noticed("longer than 1048576 bytes").await;
}

#[tokio::test]
async fn the_idle_and_the_dumb_are_let_go_and_the_many_turned_away() {
    let mut rig = Rig::new();
    rig.limits = Limits {
        handshakes: 2,
        sessions: 1,
        handshake: Duration::from_millis(300),
        idle: Duration::from_millis(500),
    };
    let collector = rig.start().await;
    let mut dumb = Vec::new();
    for _ in 0..3 {
        dumb.push(TcpStream::connect(&collector.endpoint).await.unwrap());
    }
    eventually(|| collector.counters.turned_away.total() == 1).await;
    rig.noticed("no TLS handshake within").await;
    eventually(|| collector.counters.handshakes_failed.total() == 2).await;

    let mut idle = rig.agent().await;
    eventually(|| collector.counters.sessions.total() == 1).await;
    let mut second = rig.agent().await;
    let _ = second.rest().await;
    eventually(|| collector.counters.turned_away.total() == 2).await;
    assert_eq!(idle.rest().await, Ok(String::new()));
    rig.noticed("nothing came for").await;
}

#[tokio::test]
async fn renewed_certificates_are_used_and_unusable_ones_are_not() {
    let rig = Rig::new();
    let _collector = rig.start().await;
    fs::write(rig.settings().tls.cert, "").unwrap();
    let mut agent = rig.agent().await;
    rig.noticed("collector.crt: holds no certificate").await;
    agent.send(&line("s", 1, "n1")).await;
    assert_eq!(agent.line().await, "{\"ack\":\"s-1\"}\n");

    let renewed = rig.authority.issue(&["collector.mesh", "renewed.mesh"]);
    renewed.write(rig.files.path(), "collector");
    let agent = rig.agent().await;
    rig.noticed("changed certificates are in use").await;
    let certificates = agent.stream.get_ref().1.peer_certificates().unwrap();
    let der: Vec<u8> = certificates[0].to_vec();
    assert!(der.windows(12).any(|window| window == b"renewed.mesh"));
}

#[tokio::test]
async fn settings_that_cannot_work_are_told() {
    let rig = Rig::new();
    let collector = rig.start().await;
    let report = || std::sync::Arc::new(|_: &crate::collect::Notice| {});
    let error = Collector::bind(rig.settings(), report())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, CollectError::Open(OpenError::InUse { .. })),
        "{error}"
    );
    collector.shutdown().await;

    let mut settings = rig.settings();
    settings.allow.clear();
    let error = Collector::bind(settings, report()).await.err().unwrap();
    assert!(matches!(error, CollectError::Allow(AllowError::Empty)));

    let mut settings = rig.settings();
    settings.listen = "nowhere".to_owned();
    let error = Collector::bind(settings, report()).await.err().unwrap();
    assert!(error.to_string().contains("`nowhere`"), "{error}");

    let mut settings = rig.settings();
    settings.tls.client_ca = rig.files.path().join("absent");
    let error = Collector::bind(settings, report()).await.err().unwrap();
    assert!(
        error.to_string().contains("absent: cannot be read"),
        "{error}"
    );
}
