//! Records arrive: whole, once, and only where they should.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lab::{
    Lab,
    agent::{Agent, Config},
    collector::Collector,
    pod::{APP, PodSpec},
    process::{Process, User},
    receiver::Receiver,
    records::Records,
};
use rustix::process::Signal;

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

#[test]
fn a_foreign_client_certificate_is_refused_and_its_records_wait() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let collector = Collector::start(&lab, "main").unwrap();
    let receiver = Receiver::start(&lab, "silent").unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let identity = certificates
        .foreign
        .issue("replaceable", &[], lab::certificate::Validity::Current)
        .unwrap();
    let config = Config::new(&lab, "agent")
        .unwrap()
        .forwarding_to(&collector.endpoint(), authority, &identity)
        .forwarding_to(&receiver.endpoint(), authority, &identity);
    let agent = Agent::start(&lab, &config).unwrap();
    let output = load(&lab, 100).output().unwrap();
    assert!(output.status.success());

    receiver.wait_for_event("refused", PATIENCE).unwrap();
    assert_eq!(collector.records().unwrap().all().len(), 0);
    assert_eq!(receiver.bytes().unwrap(), b"");

    // With the right certificate in its place everything comes, from the first record on.
    fs::copy(&certificates.agent.certificate, &identity.certificate).unwrap();
    fs::copy(&certificates.agent.key, &identity.key).unwrap();
    agent.signal(Signal::HUP);
    let now = Timestamp::now();
    wait(&agent, || {
        collector.records().unwrap().are_settled_since(now)
    });
    receiver
        .wait_for(PATIENCE, "settled ledger", |records| {
            records.are_settled_since(now)
        })
        .unwrap();
    assert!(agent.stop().unwrap().status.success());
    receiver.wait_for_event("closed", PATIENCE).unwrap();
    assert_complete(&lab, &collector.records().unwrap());
    assert_complete(&lab, &receiver.records().unwrap());
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
    let right = Receiver::start(&lab, "right").unwrap();
    let mut config = Config::new(&lab, "agent").unwrap();
    for receiver in [&misnamed, &expired, &right] {
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
    for receiver in [&misnamed, &expired] {
        receiver.wait_for_event("refused", PATIENCE).unwrap();
        assert_eq!(receiver.bytes().unwrap(), b"");
    }
    // Two sinks that never deliver do not keep the agent from ending in time.
    assert!(agent.stop().unwrap().status.success());
    right.wait_for_event("closed", PATIENCE).unwrap();
    assert_complete(&lab, &right.records().unwrap());
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
