//! The agent is stopped, killed, started again, and told another configuration: nobody is accused
//! for it, and what it did not see is said.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lab::{
    Lab,
    agent::{self, Agent, Config},
    books::Units,
    collector::Collector,
    cri::Stream,
    pod::{APP, PROXY, PodSpec},
    process::{Process, User},
    receiver::Receiver,
    records::{Record, Records},
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
/// An exchange that begins so long after the agent was ready is to be matched.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long exchanges are counted from then on.
const COUNTED: Duration = Duration::from_secs(3);
/// The least share of them that is to be matched.
const LEAST_SHARE: f64 = 0.95;
/// A line begins at most so long before the exchange it belongs to.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(1);

#[test]
fn restarts_in_mid_traffic_accuse_nobody_and_say_what_was_missed() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let receiver = Receiver::start(&lab, "receiver").unwrap();
    let config = Config::delivering_to(&lab, "agent", &receiver.endpoint()).unwrap();
    // On connections that are kept alive through all that follows.
    let load = keep_alive_load(&lab);
    more_exchanges(&lab, 50);

    let mut ready = Vec::new();
    let mut start = || {
        let agent = Agent::start(&lab, &config).unwrap();
        ready.push(Timestamp::now());
        counted(&receiver, *ready.last().unwrap());
        agent
    };
    let first = start().stop().unwrap();
    assert!(first.status.success(), "{}", first.stderr);
    assert!(first.after < Duration::from_secs(5));
    more_exchanges(&lab, 100);
    for pod in ["a", "b"] {
        lab.pod(pod).container(PROXY).log.rotate().unwrap();
    }
    more_exchanges(&lab, 100);
    start().kill();
    more_exchanges(&lab, 100);
    let third = start();
    drop(load);
    let now = Timestamp::now();
    receiver
        .wait_for(PATIENCE, "settled ledger", |records| {
            records.are_settled_since(now)
        })
        .unwrap();
    assert!(third.stop().unwrap().status.success());
    receiver.wait_for_event("closed", PATIENCE).unwrap();

    let records = receiver.records().unwrap();
    assert!(
        records.accusing().is_empty(),
        "{}",
        briefs(&records.accusing())
    );
    records.audit().unwrap();
    let starts: Vec<Life> = start_ids(&records)
        .into_iter()
        .map(|id| Life::read(&records, id))
        .collect();
    let events: Vec<_> = starts.iter().map(|life| life.events.clone()).collect();
    assert_eq!(
        events,
        [vec!["start", "stop"], vec!["start"], vec!["start", "stop"]]
    );
    for life in &starts {
        assert_eq!(life.opening, Units::default());
    }
    assert_eq!(starts[0].closing, Units::default());
    assert_eq!(starts[2].closing, Units::default());

    for (life, ready) in starts.iter().zip(ready) {
        for (pod, side) in [("a", "client"), ("b", "server")] {
            let share = life.matched_share(&lab, pod, side, ready);
            eprintln!("{}, {side}: {:.2} % matched", life.id, share * 100.0);
            assert!(share >= LEAST_SHARE, "{pod} {side}: {share}");
        }
    }
    // Each line of the time between is there, and says that the agent was not.
    for pod in ["a", "b"] {
        let between = (starts[0].ended, starts[1].saw_nothing_before());
        let lines = lines_of(&lab, pod, between);
        assert!(lines > 100, "{lines}");
        let booked = starts[1].lines_alone(pod, between);
        assert_eq!(booked.len(), lines, "{pod}: {}", briefs(&booked));
        for record in booked {
            assert_eq!(record.reasons(), ["agent_down"], "{}", record.brief());
        }
    }
    for record in starts[0]
        .records
        .iter()
        .filter(|record| is_line_alone(record))
    {
        let expected = ["before_start", "preexisting", "agent_down"];
        let reasons = record.reasons();
        assert!(expected.contains(&reasons[0]), "{}", record.brief());
        let before = time_of(record) < starts[0].began;
        assert!(!before || reasons[0] != "agent_down", "{}", record.brief());
    }
}

#[test]
fn a_changed_configuration_is_in_force_and_a_broken_one_is_not() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let certificates = lab.certificates();
    let authority = certificates.authority.certificate();
    let mut first = Receiver::start(&lab, "first").unwrap();
    let second = Collector::start(&lab, "second").unwrap();
    let running = Config::delivering_to(&lab, "agent", &first.endpoint()).unwrap();
    let agent = Agent::start(&lab, &running).unwrap();
    neighbours(&lab, &agent, &running);
    get(&lab, "/one?key=value");
    // Judged under the old configuration.
    let judged = |records: &Records| !records.http("a", "client", "/one").is_empty();
    first.wait_for(PATIENCE, "record", judged).unwrap();

    agent.reload("forward: [").unwrap();
    said(&agent, "the configuration stays as it was");
    let without_sinks = running.clone().setting("/forward", json!([]));
    agent.reload(&without_sinks.text()).unwrap();
    said(&agent, "expected at least one sink");

    // Another sink with another filter, another redaction, and what cannot change.
    let changed = running
        .clone()
        .forwarding_to(&second.endpoint(), authority, &certificates.agent)
        .setting("/forward/0/include", json!({ "verdicts": ["unlogged"] }))
        .setting("/forward/1/include", json!({ "kinds": ["http"] }))
        .setting("/redact", json!({ "query": "drop" }))
        .setting("/mesh", json!({ "listeners": [15001, 15006, 15007] }));
    agent.reload(&changed.text()).unwrap();
    said(&agent, "`mesh.listeners` changed in the configuration");
    let config = |records: &Records| {
        let found = records.find(|record| record.text("/lifecycle/event") == "config");
        found.first().map(|record| record.value())
    };
    first
        .wait_for(PATIENCE, "config record", |records| {
            config(records).is_some()
        })
        .unwrap();
    let told = config(&first.records().unwrap()).unwrap();
    assert_eq!(told["lifecycle"]["changed"], json!(["redact", "forward"]));
    assert_eq!(
        told["lifecycle"]["at_next_start"],
        json!(["mesh.listeners"])
    );

    for number in 0..20 {
        get(&lab, &format!("/two/{number}?key=value"));
    }
    let now = Timestamp::now();
    let settled = |records: &Records| records.are_settled_since(now);
    let received = first.wait_for(PATIENCE, "settled ledger", settled).unwrap();
    wait(&agent, || settled(&second.records().unwrap()));
    // And away again.
    let last = running.setting("/forward/0/include", json!({ "verdicts": ["unlogged"] }));
    agent.reload(&last.text()).unwrap();
    first
        .wait_for(PATIENCE, "second config record", |records| {
            let found = records.find(|record| record.text("/lifecycle/event") == "config");
            found.len() == 2
        })
        .unwrap();
    wait(&agent, || {
        second.stderr().is_ok()
            && agent
                .telemetry("/metrics")
                .is_ok_and(|(_, page)| !page.contains(&second.endpoint()))
    });

    let one = received.http("a", "client", "/one");
    assert_eq!(one[0].text("/attributes/url.query"), "key=REDACTED");
    assert!(
        received
            .find(|record| record.path().starts_with("/two/"))
            .is_empty()
    );
    let there = second.records().unwrap();
    let two = there.find(|record| record.path().starts_with("/two/"));
    assert_eq!(two.len(), 40, "{}", there.summary());
    assert_eq!(two[0].text("/attributes/url.query"), "");
    assert!(
        there
            .find(|record| record.kind() == "connection")
            .is_empty()
    );
    // The first record that an added sink gets is the one that says so.
    assert_eq!(there.all()[0].id(), told["id"].as_str().unwrap());
    for (records, sink) in [(&received, first.endpoint()), (&there, second.endpoint())] {
        for stream in records.streams(&sink).unwrap().values() {
            assert!(
                stream.adds_up() && stream.filtered > 0,
                "{sink}: {stream:?}"
            );
        }
    }

    // A receiver that is gone keeps nobody from ending in time.
    first.kill();
    get(&lab, "/three");
    let ended = agent.stop().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.after < Duration::from_secs(5));
}

/// Beside a running agent another one refuses, and says why; `record` and `watch` do not.
fn neighbours(lab: &Lab, agent: &Agent, config: &Config) {
    let file = lab.directory().join("neighbour.yaml");
    let words = ["run", "--config", file.to_str().unwrap()];
    fs::write(&file, config.text()).unwrap();
    let output = agent::run(lab, &words).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lock = format!(
        "state/agent/lock: another agent holds this lock, process {};",
        agent.id()
    );
    assert!(stderr.contains(&lock), "{stderr}");

    let elsewhere = lab.directory().join("state/neighbour");
    let config = config
        .clone()
        .setting("/state", json!({ "dir": elsewhere }));
    fs::write(&file, config.text()).unwrap();
    let output = agent::run(lab, &words).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("telemetry.listen: cannot listen on 127.0.0.1:"),
        "{stderr}"
    );

    let recording = lab.directory().join("recording");
    let words = ["record", recording.to_str().unwrap()];
    let beside = Config::new(lab, "recorder").unwrap();
    let recorder = Agent::start_command(lab, &words, &beside).unwrap();
    get(lab, "/zero");
    assert!(recorder.stop().unwrap().status.success());
    let text = fs::read_to_string(&recording).unwrap();
    assert!(text.contains("\"Ended\""), "{text}");
}

/// One start of the agent, as its records tell it.
struct Life<'a> {
    id: String,
    records: Vec<&'a Record>,
    events: Vec<String>,
    began: Timestamp,
    ended: Timestamp,
    opening: Units,
    closing: Units,
}

impl<'a> Life<'a> {
    fn read(records: &'a Records, id: String) -> Self {
        let own = |record: &&Record| record.id().starts_with(&format!("{id}-"));
        let records: Vec<&Record> = records.all().iter().filter(own).collect();
        let lifecycle = |record: &&&Record| record.kind() == "lifecycle";
        let turns: Vec<&&Record> = records.iter().filter(lifecycle).collect();
        let ledgers: Vec<_> = records
            .iter()
            .filter(|record| record.kind() == "ledger")
            .map(|record| record.value())
            .collect();
        Self {
            events: turns
                .iter()
                .map(|turn| turn.text("/lifecycle/event"))
                .collect(),
            began: time_of(turns[0]),
            ended: time_of(turns[turns.len() - 1]),
            opening: Units::read(&ledgers[0]["opening"]),
            closing: Units::read(&ledgers[ledgers.len() - 1]["closing"]),
            records,
            id,
        }
    }

    /// Of the exchanges that nginx says began in the time that counts.
    fn matched_share(&self, lab: &Lab, pod: &str, side: &str, ready: Timestamp) -> f64 {
        let (from, to) = (seconds(ready + WARM_UP), seconds(ready + WARM_UP + COUNTED));
        let counts = |begin: f64| from <= begin && begin < to;
        let exchanges = lab.pod("b").nginx_log().unwrap();
        let exchanges = exchanges
            .iter()
            .filter(|found| counts(found.time - found.duration));
        let matched = self.records.iter().filter(|record| {
            let here = record.pod() == pod && record.side() == side;
            let is_matched = record.kind() == "http" && record.verdict() == "matched";
            here && is_matched && counts(seconds(time_of(record)))
        });
        let (exchanges, matched) = (exchanges.count(), matched.count());
        assert!(exchanges > 100, "{exchanges}");
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = matched as f64 / exchanges as f64;
        share
    }

    /// No line that began by then is matched here. Later ones may be: the request that the sidecar
    /// got before the start was handed to the application after it.
    fn saw_nothing_before(&self) -> Timestamp {
        let is_seen = |record: &&&Record| record.kind() == "http" && record.units().observed > 0;
        let seen = self.records.iter().filter(is_seen);
        let first = seen.map(|record| time_of(record)).min();
        first.map_or(self.began, |first| first.min(self.began)) - LONGEST_EXCHANGE
    }

    fn lines_alone(&self, pod: &str, (from, to): (Timestamp, Timestamp)) -> Vec<&'a Record> {
        let within = |record: &&&Record| {
            let time = time_of(record);
            record.pod() == pod && from < time && time < to
        };
        let records = self.records.iter().filter(within);
        records
            .filter(|record| is_line_alone(record))
            .copied()
            .collect()
    }
}

fn is_line_alone(record: &Record) -> bool {
    record.units()
        == Units {
            observed: 0,
            logged: 1,
        }
}

/// Access-log lines of a pod whose START_TIME lies between.
fn lines_of(lab: &Lab, pod: &str, (from, to): (Timestamp, Timestamp)) -> usize {
    let lines = lab.pod(pod).container(PROXY).log.lines_of(Stream::Stdout);
    let times = lines.iter().filter_map(|line| {
        let (time, _) = line.strip_prefix('[')?.split_once(']')?;
        time.parse::<Timestamp>().ok()
    });
    times.filter(|time| from < *time && *time < to).count()
}

fn start_ids(records: &Records) -> Vec<String> {
    let ids = records.all().iter().map(|record| record.id());
    let mut starts: Vec<String> = ids
        .map(|id| id.rsplit_once('-').unwrap().0.to_owned())
        .collect();
    starts.dedup();
    starts
}

fn time_of(record: &Record) -> Timestamp {
    record.text("/time").parse().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

/// 160 requests a second on four connections, until it is dropped.
fn keep_alive_load(lab: &Lab) -> Process {
    let url = format!("http://{}:8080/load", lab.pod("b").addresses().v4);
    let words = [
        "h2load", "--h1", "-c", "4", "--rps", "40", "-D", "300", &url,
    ];
    lab.pod("a").spawn(APP, User::APP, words).unwrap()
}

/// Waits for more exchanges.
fn more_exchanges(lab: &Lab, count: usize) {
    let exchanges = || lab.pod("b").nginx_log().map_or(0, |log| log.len());
    let enough = exchanges() + count;
    let deadline = Instant::now() + PATIENCE;
    while exchanges() < enough {
        assert!(Instant::now() < deadline, "no traffic");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until what counts of a start was received.
fn counted(receiver: &Receiver, ready: Timestamp) {
    let enough = ready + WARM_UP + COUNTED + Duration::from_secs(1);
    let is_later = |record: &Record| {
        record.kind() == "http" && record.pod() == "b" && time_of(record) > enough
    };
    receiver
        .wait_for(PATIENCE, "later exchange", |records| {
            records
                .all()
                .last()
                .is_some_and(|last| !last.id().is_empty())
                && records.all().iter().rev().take(200).any(is_later)
        })
        .unwrap();
}

fn get(lab: &Lab, target: &str) {
    let url = format!("http://{}:8080{target}", lab.pod("b").addresses().v4);
    let output = lab.pod("a").run(APP, User::APP, ["curl", "-sS", &url]);
    assert!(output.unwrap().status.success());
}

fn said(agent: &Agent, text: &str) {
    wait(agent, || agent.stderr().unwrap().contains(text));
}

fn wait(agent: &Agent, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{}", agent.stderr().unwrap());
        thread::sleep(Duration::from_millis(20));
    }
}

fn briefs(records: &[&Record]) -> String {
    let briefs: Vec<_> = records
        .iter()
        .take(20)
        .map(|record| record.brief())
        .collect();
    format!("{} records, such as {briefs:#?}", records.len())
}
