//! HTTP/2 through both sidecars: many streams at once, on connections met from their start and on
//! ones met in the middle. The ground truth is nginx's log, which the project did not write.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{collections::BTreeSet, process::Output, thread, time::Duration};

use lab::{
    Lab, Session,
    agent::{Agent, Config},
    counts::{difference, matched, truth},
    nginx,
    pod::{APP, Pod, PodSpec},
    process::User,
    receiver::Receiver,
    records::{Record, Records},
};

/// Streams that all ask the same: only their number tells whether one is missing.
const SAME: usize = 200_000;
/// Streams that ask for different things at once.
const DISTINCT: usize = 5_000;
/// So many different things.
const PATHS: usize = 100;
/// Agents that come to connections which are in use.
const AGENTS: usize = 3;
/// How long each of them stays.
const STAY: Duration = Duration::from_secs(4);

#[test]
fn every_stream_is_matched_once_at_each_side() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let same = vec![url(b, "/same")];
    h2load(a, &["-n", &SAME.to_string(), "-c", "8", "-m", "100"], &same);
    let distinct: Vec<String> = paths().map(|path| url(b, &path)).collect();
    h2load(
        a,
        &["-n", &DISTINCT.to_string(), "-c", "4", "-m", "100"],
        &distinct,
    );
    let upload = curl(a, &["--data-binary", "a body", &url(b, "/early/upload")]);
    let is_reset = upload.status.code() == Some(STREAM_ERROR);
    assert!(upload.status.success() || is_reset, "{upload:?}");
    for words in [&["--head"][..], &[]] {
        let large = url(b, "/large");
        let output = curl(a, &[words, &[&large]].concat());
        assert!(output.status.success(), "{output:?}");
    }

    // nginx logs a request a little after its answer was received.
    session.settle().unwrap();
    let expected = truth(&b.nginx_log().unwrap());
    let streams: usize = expected.values().sum();
    assert!(streams >= SAME + DISTINCT + 3, "{streams}");
    let outcome = session.finish().unwrap();
    let records = &outcome.records;
    assert_eq!(accused(records), NONE);
    let books = records.audit().unwrap();
    assert!(books.lost.is_empty(), "{books:?}");
    let others = records.find(|record| record.kind() == "http" && record.verdict() != "matched");
    assert!(
        others.is_empty(),
        "{} like {}",
        others.len(),
        others[0].line()
    );
    for (pod, side) in [("a", "client"), ("b", "server")] {
        assert_eq!(difference(&expected, &matched(records, pod, side)), NONE);
    }
    let streams = i64::try_from(streams).unwrap();
    let units = books.units("matched");
    assert_eq!((units.observed, units.logged), (2 * streams, 2 * streams));
}

#[test]
fn an_agent_that_comes_to_connections_in_use_says_nothing_wrong() {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let targets: Vec<String> = paths().map(|path| url(b, &path)).collect();
    let words = ["h2load", "-c", "4", "-m", "20", "--rps=100", "-D", "120"];
    let words = words.into_iter().chain(targets.iter().map(String::as_str));
    let load = a.spawn(APP, User::APP, words).unwrap();

    for number in 0..AGENTS {
        let name = format!("agent-{number}");
        let receiver = Receiver::start(&lab, &name).unwrap();
        let config = Config::delivering_to(&lab, &name, &receiver.endpoint()).unwrap();
        let agent = Agent::start(&lab, &config).unwrap();
        thread::sleep(STAY);
        let ended = agent.stop().unwrap();
        assert!(ended.status.success(), "{}", ended.stderr);
        receiver
            .wait_for_event("closed", Duration::from_secs(30))
            .unwrap();
        let records = receiver.records().unwrap();
        assert_eq!(accused(&records), NONE);
        records.audit().unwrap();
        let known: BTreeSet<_> = truth(&b.nginx_log().unwrap()).into_keys().collect();
        let http = records.find(|record| record.kind() == "http" && record.units().observed == 1);
        assert!(http.len() > 100, "{} exchanges", http.len());
        for record in http {
            assert!(is_possible(record, &known), "{}", record.line());
            // What h2load says of itself is in the table from its first request on.
            let unknown = record.has_reason("hpack_unknown_entry");
            assert!(
                unknown || record.verdict() != "matched",
                "{}",
                record.line()
            );
        }
    }
    drop(load);
}

/// What is null was not decoded; what is there has to be of one exchange.
fn is_possible(record: &Record, known: &BTreeSet<(String, String, u64)>) -> bool {
    let is = |value: &str, truth: &str| value.is_empty() || value == truth;
    known.iter().any(|(method, path, status)| {
        is(record.method(), method)
            && is(record.path(), path)
            && record.status().is_none_or(|found| found == *status)
    })
}

/// Three statuses, bodies of different lengths.
fn paths() -> impl Iterator<Item = String> {
    (0..PATHS).map(|number| match number % 10 {
        0 => format!("/missing/{number}"),
        1 => format!("/fail/{number}"),
        _ => format!("/{}/{number}", "d".repeat(number)),
    })
}

fn url(pod: &Pod, path: &str) -> String {
    format!("http://{}:{}{path}", pod.addresses().v4, nginx::HTTP2_PORT)
}

fn h2load(pod: &Pod, options: &[&str], targets: &[String]) {
    let words = ["h2load"].iter().chain(options).copied();
    let words = words.chain(targets.iter().map(String::as_str));
    let output = pod.run(APP, User::APP, words).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(" 0 errored, 0 timeout"), "{text}");
}

/// What curl ends with when its stream is reset before its body has gone out, which an answer that
/// comes early may bring about.
const STREAM_ERROR: i32 = 92;

fn curl(pod: &Pod, words: &[&str]) -> Output {
    let common = ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null"];
    let words = common.iter().chain(words);
    pod.run(APP, User::APP, words).unwrap()
}

const NONE: Vec<String> = Vec::new();

fn accused(records: &Records) -> Vec<String> {
    records.accusing().into_iter().map(Record::brief).collect()
}
