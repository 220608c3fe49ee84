//! Records arrive: whole, once, and only where they should.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    collections::HashSet,
    fs, thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lab::{
    Lab,
    agent::{Agent, Config},
    certificate::{Identity, Name, Validity},
    collector::Collector,
    delivery::COLLECTOR,
    pod::{APP, PodSpec},
    process::{Process, User},
    receiver::Receiver,
    records::{Record, Records},
    stream::Stream,
};
use rustix::process::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: usize = 10_000;

#[test]
fn a_collector_killed_under_load_loses_nothing() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let mut collector = Collector::start(&lab, "main").unwrap();
    let config = Config::delivering_to(&lab, "agent", &collector.endpoint()).unwrap();
    let agent = Agent::start(&lab, &config).unwrap();

    let load = load(&lab, REQUESTS);
    // Killed amid the stream, twice, and left down for a while the first time.
    for (stored, down) in [(500, Duration::from_secs(1)), (6_000, Duration::ZERO)] {
        wait(&agent, || collector.records().unwrap().all().len() > stored);
        collector.kill();
        thread::sleep(down);
        collector.restart(&lab).unwrap();
    }
    assert!(load.output().unwrap().status.success());
    let now = Timestamp::now();
    wait(&agent, || {
        collector.records().unwrap().are_settled_since(now)
    });
    assert!(agent.stop().unwrap().status.success());

    let records = collector.records().unwrap();
    assert_complete(&lab, &records);
}

#[test]
fn a_silent_receiver_killed_under_load_loses_nothing() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let mut receiver = Receiver::start(&lab, "silent").unwrap();
    let config = Config::delivering_to(&lab, "agent", &receiver.endpoint()).unwrap();
    let agent = Agent::start(&lab, &config).unwrap();

    let load = load(&lab, REQUESTS);
    let more_than = |count: usize| move |records: &Records| records.all().len() > count;
    receiver
        .wait_for(PATIENCE, "records", more_than(2_000))
        .unwrap();
    receiver.kill();
    receiver.restart(&lab).unwrap();
    assert!(load.output().unwrap().status.success());
    let now = Timestamp::now();
    receiver
        .wait_for(PATIENCE, "settled ledger", |records| {
            records.are_settled_since(now)
        })
        .unwrap();
    assert!(agent.stop().unwrap().status.success());
    receiver.wait_for_event("closed", PATIENCE).unwrap();

    let records = receiver.records().unwrap();
    assert!(records.repeated() > 0, "the window was not sent again");
    assert_complete(&lab, &records);
}

/// Three clients, each with another mistake, until the right certificate is in its place.
#[test]
fn a_wrong_client_certificate_is_refused_and_its_records_wait() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let expired = Receiver::start(&lab, "expired").unwrap();
    let missing = Receiver::start(&lab, "missing").unwrap();
    let foreign = Collector::start(&lab, "foreign").unwrap();
    let endpoints = [expired.endpoint(), missing.endpoint(), foreign.endpoint()];
    let wrong = [
        Some(&certificates.expired_agent),
        None,
        Some(&certificates.foreign_agent),
    ];
    let mut config = Config::new(&lab, "agent").unwrap();
    let mut identities = Vec::new();
    for (number, (endpoint, wrong)) in endpoints.iter().zip(wrong).enumerate() {
        let file = |end: &str| lab.directory().join(format!("client-{number}.{end}"));
        let identity = Identity {
            certificate: file("pem"),
            key: file("key"),
        };
        if let Some(wrong) = wrong {
            replace(wrong, &identity);
        }
        config = config.forwarding_to(endpoint, authority, &identity);
        identities.push(identity);
    }
    let agent = Agent::start(&lab, &config).unwrap();
    assert!(load(&lab, 100).output().unwrap().status.success());

    expired.wait_for_event("refused", PATIENCE).unwrap();
    wait(&agent, || {
        let said = agent.stderr().unwrap();
        let all = [
            "(unknown_ca)",
            "(certificate_expired)",
            "client-1.pem: cannot be read",
        ];
        all.iter().all(|reason| said.contains(reason))
    });
    assert_eq!(foreign.records().unwrap().all().len(), 0);
    assert_eq!(expired.bytes().unwrap(), b"");
    assert_eq!(missing.bytes().unwrap(), b"");

    // With the right one in its place everything comes, from the first record on. Nobody says so.
    for identity in &identities {
        replace(&certificates.agent, identity);
    }
    let now = Timestamp::now();
    let settled = |records: &Records| records.are_settled_since(now);
    wait(&agent, || settled(&foreign.records().unwrap()));
    for receiver in [&expired, &missing] {
        receiver
            .wait_for(PATIENCE, "settled ledger", settled)
            .unwrap();
    }
    assert!(agent.stop().unwrap().status.success());
    for receiver in [&expired, &missing] {
        receiver.wait_for_event("closed", PATIENCE).unwrap();
        assert_complete(&lab, &receiver.records().unwrap());
    }
    assert_complete(&lab, &foreign.records().unwrap());
}

#[test]
fn a_collector_that_is_not_who_it_should_be_gets_nothing() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let misnamed = &certificates.misnamed_collector;
    let misnamed = Receiver::start_as(&lab, "misnamed", misnamed, authority).unwrap();
    let expired = &certificates.expired_collector;
    let expired = Receiver::start_as(&lab, "expired", expired, authority).unwrap();
    let name = [Name::Dns(COLLECTOR.to_owned())];
    let foreign = certificates
        .foreign
        .issue("collector", &name, Validity::Current);
    let foreign = Receiver::start_as(&lab, "foreign", &foreign.unwrap(), authority).unwrap();
    let own = &certificates.collector;
    let old = Receiver::start_speaking(&lab, "old", own, authority, "TLSv1_2").unwrap();
    let right = Receiver::start(&lab, "right").unwrap();
    let mut config = Config::new(&lab, "agent").unwrap();
    for receiver in [&misnamed, &expired, &foreign, &old, &right] {
        config = config.forwarding_to(&receiver.endpoint(), authority, &certificates.agent);
    }
    let agent = Agent::start(&lab, &config).unwrap();
    assert!(load(&lab, 100).output().unwrap().status.success());

    let now = Timestamp::now();
    right
        .wait_for(PATIENCE, "settled ledger", |records| {
            records.are_settled_since(now)
        })
        .unwrap();
    for receiver in [&misnamed, &expired, &foreign, &old] {
        receiver.wait_for_event("refused", PATIENCE).unwrap();
        assert_eq!(receiver.bytes().unwrap(), b"");
    }
    let said = agent.stderr().unwrap();
    assert!(
        said.contains("the receiver does not speak TLS 1.3"),
        "{said}"
    );
    // Sinks that never deliver do not keep the agent from ending in time.
    assert!(agent.stop().unwrap().status.success());
    right.wait_for_event("closed", PATIENCE).unwrap();
    assert_complete(&lab, &right.records().unwrap());
}

/// The queue is full: what it drops is told, to the record, and another sink gets everything.
#[test]
fn what_overflows_while_a_collector_is_away_is_told_exactly() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let mut away = Collector::start(&lab, "away").unwrap();
    let there = Receiver::start(&lab, "there").unwrap();
    let config = Config::delivering_to(&lab, "agent", &away.endpoint())
        .unwrap()
        .forwarding_to(&there.endpoint(), authority, &certificates.agent)
        .setting("/forward/0/queue", json!("1MiB"));
    away.kill();
    let agent = Agent::start(&lab, &config).unwrap();
    assert!(load(&lab, 2_000).output().unwrap().status.success());
    let now = Timestamp::now();
    let settled = |records: &Records| records.are_settled_since(now);
    there.wait_for(PATIENCE, "settled ledger", settled).unwrap();
    away.restart(&lab).unwrap();
    let now = Timestamp::now();
    wait(&agent, || away.records().unwrap().are_settled_since(now));
    assert!(agent.stop().unwrap().status.success());
    there.wait_for_event("closed", PATIENCE).unwrap();

    let (away_records, there_records) = (away.records().unwrap(), there.records().unwrap());
    assert_complete(&lab, &there_records);
    let stream = only_stream(&away_records, &away.endpoint());
    assert!(stream.adds_up() && stream.lost > 1_000, "{stream:?}");
    let missing = missing(&there_records, &away_records);
    assert_eq!(missing.len() as u64, stream.lost, "{stream:?}");
    // The other one is told, too, and has lost nothing itself.
    let other = only_stream(&there_records, &there.endpoint());
    assert!(other.adds_up() && other.lost == 0, "{other:?}");
    let told = only_stream(&there_records, &away.endpoint());
    assert_eq!(told.lost, stream.lost);
}

/// A receiver that says nothing took more than the window and read nothing of it.
#[test]
fn more_unread_than_the_window_is_told() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let mut stuck = Receiver::start(&lab, "stuck").unwrap();
    let there = Receiver::start(&lab, "there").unwrap();
    let config = Config::delivering_to(&lab, "agent", &stuck.endpoint())
        .unwrap()
        .forwarding_to(&there.endpoint(), authority, &certificates.agent)
        .setting("/forward/0/window", json!("1MiB"));
    let agent = Agent::start(&lab, &config).unwrap();
    let load = load(&lab, 4_000);
    stuck
        .wait_for(PATIENCE, "records", |records| records.all().len() > 300)
        .unwrap();
    stuck.signal(Signal::STOP);
    assert!(load.output().unwrap().status.success());
    let now = Timestamp::now();
    let settled = |records: &Records| records.are_settled_since(now);
    // The stuck one holds nobody back.
    there.wait_for(PATIENCE, "settled ledger", settled).unwrap();
    stuck.kill();
    stuck.restart(&lab).unwrap();
    let now = Timestamp::now();
    let settled = |records: &Records| records.are_settled_since(now);
    stuck.wait_for(PATIENCE, "settled ledger", settled).unwrap();
    assert!(agent.stop().unwrap().status.success());
    for receiver in [&stuck, &there] {
        receiver.wait_for_event("closed", PATIENCE).unwrap();
    }

    let records = stuck.records().unwrap();
    let missing = missing(&there.records().unwrap(), &records);
    assert!(!missing.is_empty(), "the window covered everything");
    let gaps = records.find(|record| record.text("/lifecycle/event") == "gap");
    for number in &missing {
        let told = gaps.iter().any(|gap| {
            let end = |pointer| sequence(&gap.text(pointer));
            let range = end("/lifecycle/ids/0")..=end("/lifecycle/ids/1");
            gap.text("/lifecycle/cause") == "window" && range.contains(number)
        });
        assert!(told, "{number} of {missing:?}");
    }
}

#[test]
fn a_full_disk_keeps_records_waiting_and_tears_none() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let collector = Collector::start_on_small_disk(&lab, "small").unwrap();
    let config = Config::delivering_to(&lab, "agent", &collector.endpoint()).unwrap();
    let agent = Agent::start(&lab, &config).unwrap();
    assert!(load(&lab, 1_500).output().unwrap().status.success());
    wait(&agent, || {
        let said = collector.stderr().unwrap();
        said.contains("No space left on device")
    });
    let acknowledged = acknowledged(&agent);
    let stored = collector.records().unwrap().all().len();
    assert!(acknowledged <= stored, "{acknowledged} of {stored}");

    collector.enlarge_disk(&lab).unwrap();
    let now = Timestamp::now();
    wait(&agent, || {
        collector.records().unwrap().are_settled_since(now)
    });
    assert!(agent.stop().unwrap().status.success());
    let records = collector.records().unwrap();
    assert_eq!(records.repeated(), 0);
    assert_complete(&lab, &records);
}

/// What the agent believes to be stored.
fn acknowledged(agent: &Agent) -> usize {
    let (_, page) = agent.telemetry("/metrics").unwrap();
    let name = "meshwitness_sink_acknowledged_records_total{";
    let line = page.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Sequence numbers that one got and the other did not.
fn missing(all: &Records, some: &Records) -> Vec<u64> {
    let ids: HashSet<&str> = some.all().iter().map(Record::id).collect();
    let missing = all.all().iter().filter(|record| !ids.contains(record.id()));
    missing.map(|record| sequence(record.id())).collect()
}

fn sequence(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

fn only_stream(records: &Records, sink: &str) -> Stream {
    let streams = records.streams(sink).unwrap();
    assert_eq!(streams.len(), 1);
    streams.into_values().next().unwrap()
}

fn replace(identity: &Identity, place: &Identity) {
    fs::copy(&identity.key, &place.key).unwrap();
    fs::copy(&identity.certificate, &place.certificate).unwrap();
}

/// Requests from a to b on 8 connections.
fn load(lab: &Lab, requests: usize) -> Process {
    let url = format!("http://{}:8080/load", lab.pod("b").addresses().v4);
    let count = requests.to_string();
    let words = ["h2load", "--h1", "-n", &count, "-c", "8", &url];
    lab.pod("a").spawn(APP, User::APP, words).unwrap()
}

/// Every exchange that nginx logged is there, on each side once; the books add up.
fn assert_complete(lab: &Lab, records: &Records) {
    let exchanges = lab.pod("b").nginx_log().unwrap().len();
    assert!(exchanges > 0);
    for (pod, side) in [("a", "client"), ("b", "server")] {
        let mut found = records.http(pod, side, "/load");
        found.retain(|record| record.verdict() == "matched");
        assert_eq!(found.len(), exchanges, "{pod}: {}", records.summary());
    }
    let books = records.audit().unwrap();
    assert!(books.lost.is_empty(), "{books:?}");
    assert!(records.have_stopped());
}

fn wait(agent: &Agent, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{}", agent.stderr().unwrap());
        thread::sleep(Duration::from_millis(50));
    }
}
