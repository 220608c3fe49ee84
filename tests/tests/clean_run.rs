//! Clean traffic of many kinds: everything is matched, nobody is accused, the books add up.
//!
//! All traffic happens in one run; the tests ask each for one promise of it. The ground truth is
//! nginx's log, which the project did not write.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Output,
    sync::LazyLock,
    time::Duration,
};

use lab::{
    Outcome, Session,
    cri::Stream,
    envoy::Format,
    nginx::Exchange,
    pod::{APP, PROXY, Pod, PodSpec},
    process::{Process, User},
    records::{Record, Records},
};
use serde_json::json;

/// Of the requests of the load generators: on 32 connections in all.
const LOAD: usize = 20_000;
/// Connections with one request each.
const SHORT: usize = 2_000;

/// What one side of the books says, or nginx: how often a method, path and status occurred.
type Counts = BTreeMap<(String, String, u64), usize>;

struct Run {
    /// What had come when the clean traffic was over.
    clean: Records,
    /// What b's nginx and the one outside logged until then.
    exchanges: Vec<Exchange>,
    /// What both sidecars wrote until then, but not pilot-agent.
    lines: Vec<String>,
    /// The same after the flat-out load.
    all_lines: usize,
    /// How many requests nginx served in it.
    flat_out: usize,
    outcome: Outcome,
}

static RUN: LazyLock<Run> = LazyLock::new(run);

fn run() -> Run {
    let session = Session::start([
        PodSpec::new("a"),
        PodSpec::new("b")
            .logging(Format::IstioJson)
            .probing(Duration::from_secs(1)),
    ])
    .unwrap();
    let lab = &session.lab;
    let (a, b) = (lab.pod("a"), lab.pod("b"));

    let slow = spawn(a, &["curl", "-sS", &url(b, "/slow/30")]);
    load(&session);
    curl_cases(&session);
    helper_cases(&session);
    ipv6(&session);
    assert_eq!(succeed(slow.output().unwrap()), "after 30 s\n");

    let clean = session.settle().unwrap();
    let exchanges = [b.nginx_log().unwrap(), lab.outside().nginx_log().unwrap()].concat();
    let lines = access_lines(&session);

    let words = [
        "wrk",
        "-t",
        "2",
        "-c",
        "64",
        "-d",
        "8",
        &url(b, "/flat-out"),
    ];
    succeed(a.run(APP, User::APP, words).unwrap());
    session.settle().unwrap();
    let all_lines = access_lines(&session).len();
    let flat_out = b.nginx_log().unwrap();
    let flat_out = flat_out
        .iter()
        .filter(|found| found.path() == "/flat-out")
        .count();
    let outcome = session.finish().unwrap();
    Run {
        clean,
        exchanges,
        lines,
        all_lines,
        flat_out,
        outcome,
    }
}

/// 20,000 requests over 32 connections: one path, many paths, a third behind X-Forwarded-For.
fn load(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let paths = session.lab.directory().join("paths");
    let many: String = (0..500)
        .map(|number| format!("{}\n", url(b, &format!("/distinct/{number}?page={number}"))))
        .collect();
    fs::write(&paths, many).unwrap();
    let third = LOAD / 3;
    let counts = [third, third, LOAD - 2 * third].map(|count| count.to_string());
    let common = |count| ["h2load", "--h1", "-n", count, "-c"];
    let same = url(b, "/identical");
    let forwarded = url(b, "/forwarded");
    let loads = [
        spawn(a, &[&common(&counts[0])[..], &["11", &same]].concat()),
        spawn(
            a,
            &[
                &common(&counts[1])[..],
                &["11", "-i", paths.to_str().unwrap()],
            ]
            .concat(),
        ),
        spawn(
            a,
            &[
                &common(&counts[2])[..],
                &["10", "-H", "x-forwarded-for: 198.51.100.7", &forwarded],
            ]
            .concat(),
        ),
    ];
    for load in loads {
        let report = succeed(load.output().unwrap());
        assert!(
            report.contains(" 0 failed, 0 errored, 0 timeout"),
            "{report}"
        );
    }
}

fn curl_cases(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let curl = |words: &[&str]| {
        let words = [&["curl", "-sS", "-o", "/dev/null"], words].concat();
        succeed(a.run(APP, User::APP, words).unwrap());
    };
    let body = session.lab.directory().join("body");
    fs::write(
        &body,
        "GET /fake-in-file HTTP/1.1\r\nhost: b\r\n\r\n".repeat(50_000),
    )
    .unwrap();
    let upload = format!("@{}", body.display());

    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "expect:",
        &url(b, "/upload/sized"),
    ]);
    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "transfer-encoding: chunked",
        &url(b, "/upload/chunked"),
    ]);
    curl(&["--data-binary", &upload, &url(b, "/upload/continue")]);
    curl(&[
        "--data-binary",
        &upload,
        "-H",
        "expect:",
        &url(b, "/early/big"),
    ]);
    curl(&["--head", &url(b, "/head")]);
    curl(&[&url(b, "/missing?password=hunter2")]);
    curl(&[&url(b, "/fail")]);
    curl(&[&url(b, "/large")]);
    curl(&[&url(b, "/chunked")]);
    curl(&[&url(b, "/drip/20")]);
    // Two requests on one connection.
    curl(&[
        &url(b, "/reused/1"),
        "-o",
        "/dev/null",
        &url(b, "/reused/2"),
    ]);
    let outside = session.lab.outside().addresses();
    curl(&[&format!("http://{}/outside", outside.v4)]);
    curl(&[&format!("http://[{}]/outside-six", outside.v6)]);
}

fn helper_cases(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let server = format!("{}:8080", b.addresses().v4);
    let outside = format!("{}:80", session.lab.outside().addresses().v4);

    assert_eq!(
        a.client(&["pipeline", &server, "/pipeline", "16"])
            .unwrap()
            .len(),
        16
    );
    assert_eq!(
        a.client(&["websocket", &server, "/ws", "20"])
            .unwrap()
            .len(),
        1
    );
    let fake = "GET /fake-in-body HTTP/1.1\r\nhost: b\r\n\r\n".repeat(100);
    let script = json!([
        { "method": "HEAD", "path": "/keep-alive/head" },
        { "path": "/keep-alive/get" },
        { "method": "HEAD", "path": "/large" },
        { "method": "POST", "path": "/upload/fake", "body": fake },
        { "method": "POST", "path": "/upload/fakes", "chunks": [fake, "\r\n0\r\n\r\n", fake] },
        { "method": "PUT", "path": "/keep-alive/put", "body": "x" },
        { "method": "DELETE", "path": "/keep-alive/delete" },
        { "method": "OPTIONS", "path": "/keep-alive/options" },
        { "path": "/keep-alive/forwarded", "headers": { "x-forwarded-for": "198.51.100.7" } },
        { "path": "/keep-alive/id", "headers": { "x-request-id": "chosen-by-the-client" } },
    ]);
    let responses = a
        .client(&["requests", &server, &script.to_string()])
        .unwrap();
    assert_eq!(responses.len(), 10);

    let count = SHORT.to_string();
    let both = format!("{server},{outside}");
    let responses = a.client(&["short", &both, "/short", &count]).unwrap();
    assert!(responses.iter().all(|response| response.status == 200));

    // A begun head has a line without method and path; three bytes have none.
    let half = r"GET /half HTTP/1.1\r\nhost: b\r\nx-";
    a.client(&["bytes", &server, half, "100"]).unwrap();
    a.client(&["bytes", &server, "GET", "100"]).unwrap();
    a.client(&["bytes", &server, "", "0"]).unwrap();
}

fn ipv6(session: &Session) {
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let url = format!("http://[{}]:8080/six", b.addresses().v6);
    let words = ["h2load", "--h1", "-n", "500", "-c", "4", &url];
    succeed(a.run(APP, User::APP, words).unwrap());
}

fn url(pod: &Pod, path: &str) -> String {
    format!("http://{}:8080{path}", pod.addresses().v4)
}

fn spawn(pod: &Pod, words: &[&str]) -> Process {
    pod.spawn(APP, User::APP, words).unwrap()
}

fn succeed(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of both access logs. Other output on that stream is pilot-agent's.
fn access_lines(session: &Session) -> Vec<String> {
    ["a", "b"]
        .into_iter()
        .flat_map(|pod| {
            session
                .lab
                .pod(pod)
                .container(PROXY)
                .log
                .lines_of(Stream::Stdout)
        })
        .filter(|line| line.starts_with("[2") || line.starts_with('{'))
        .collect()
}

/// What nginx says of what came through the sidecar.
fn truth(exchanges: &[Exchange]) -> Counts {
    let mut counts = Counts::new();
    for exchange in exchanges.iter().filter(|found| found.path() != "/healthz") {
        let key = (
            exchange.method().to_owned(),
            exchange.path().to_owned(),
            u64::from(exchange.status),
        );
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// What the matched records of one side say.
fn matched(records: &Records, pod: &str, side: &str) -> Counts {
    let mut counts = Counts::new();
    for record in records.find(|record| {
        record.kind() == "http"
            && record.verdict() == "matched"
            && record.pod() == pod
            && record.side() == side
            && !record.path().is_empty()
    }) {
        let units = record.units();
        assert_eq!((units.observed, units.logged), (1, 1), "{}", record.line());
        let status = record.status().unwrap_or(0);
        let key = (record.method().to_owned(), record.path().to_owned(), status);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// Where two counts differ.
fn difference(expected: &Counts, got: &Counts) -> Vec<String> {
    let keys: BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    keys.into_iter()
        .filter(|key| expected.get(key) != got.get(key))
        .map(|key| {
            format!(
                "{key:?}: expected {:?}, got {:?}",
                expected.get(key),
                got.get(key)
            )
        })
        .collect()
}

fn briefs(records: &[&Record]) -> Vec<String> {
    records
        .iter()
        .take(50)
        .map(|record| record.brief())
        .collect()
}

#[test]
fn every_exchange_is_matched_once_at_the_client() {
    let expected = truth(&RUN.exchanges);
    assert!(expected.values().sum::<usize>() > LOAD + SHORT);
    let got = matched(&RUN.clean, "a", "client");
    assert_eq!(difference(&expected, &got), Vec::<String>::new());
}

#[test]
fn every_exchange_is_matched_once_at_the_server() {
    let at_b: Vec<Exchange> = RUN
        .exchanges
        .iter()
        .filter(|found| found.client.starts_with("127.0.0.6:") || found.client.starts_with("::6:"))
        .cloned()
        .collect();
    assert!(at_b.len() > LOAD);
    let got = matched(&RUN.clean, "b", "server");
    assert_eq!(difference(&truth(&at_b), &got), Vec::<String>::new());
}

#[test]
fn a_begun_head_is_matched_with_its_line() {
    let without_path = RUN
        .lines
        .iter()
        .filter(|line| line.contains("\"- - HTTP/1.1\" 0 DC"));
    assert_eq!(without_path.count(), 1);
    let found = RUN.clean.find(|record| {
        record.kind() == "http" && record.verdict() == "matched" && record.path().is_empty()
    });
    assert_eq!(found.len(), 1, "{:#?}", briefs(&found));
    assert_eq!((found[0].pod(), found[0].side()), ("a", "client"));
}

#[test]
fn no_exchange_is_recorded_that_no_log_explains() {
    let paths: BTreeSet<&str> = RUN.exchanges.iter().map(Exchange::path).collect();
    let strangers = RUN.clean.find(|record| {
        record.kind() == "http" && !record.path().is_empty() && !paths.contains(record.path())
    });
    assert!(strangers.is_empty(), "{:#?}", briefs(&strangers));
    let fakes = RUN
        .clean
        .find(|record| record.line().contains("/fake") || record.line().contains("/frame/"));
    assert!(fakes.is_empty(), "{:#?}", briefs(&fakes));
    let secrets = RUN.clean.find(|record| record.line().contains("hunter2"));
    assert!(secrets.is_empty(), "{:#?}", briefs(&secrets));
}

#[test]
fn nobody_is_accused_and_outside_is_only_what_should_be() {
    let others = RUN.clean.find(|record| {
        let expected = match record.verdict() {
            "" | "matched" => true,
            "outside" => match record.pod() {
                // Three bytes, and nothing.
                "a" => record.has_reason("no_request") || record.has_reason("proxy_leg"),
                "b" => record.has_reason("pilot_agent") || record.has_reason("proxy_leg"),
                _ => false,
            },
            _ => false,
        };
        !expected
    });
    assert!(others.is_empty(), "{:#?}", briefs(&others));
    let no_request = RUN.clean.find(|record| record.has_reason("no_request"));
    let observed: i64 = no_request
        .iter()
        .map(|record| record.units().observed)
        .sum();
    assert_eq!(observed, 2, "{:#?}", briefs(&no_request));
    let probes = RUN
        .exchanges
        .iter()
        .filter(|found| found.path() == "/healthz")
        .count();
    let probed = RUN.clean.find(|record| {
        record.kind() == "http" && record.side() == "server" && record.path() == "/healthz"
    });
    // One may have come between the two readings.
    assert!(
        probed.len().abs_diff(probes) <= 2,
        "{} of {probes}",
        probed.len()
    );
}

#[test]
fn nothing_is_lost_and_the_books_add_up() {
    let books = RUN.clean.audit().unwrap();
    assert!(books.lost.is_empty(), "{books:?}");
    let logged: i64 = books.verdicts.values().map(|units| units.logged).sum();
    assert_eq!(logged, i64::try_from(RUN.lines.len()).unwrap());
    assert_eq!(books.units("unverifiable").observed, 0);
}

#[test]
fn flat_out_nobody_is_accused_and_every_line_is_matched_or_booked_as_lost() {
    let records = &RUN.outcome.records;
    let accusing = records.accusing();
    assert!(
        accusing.is_empty(),
        "{} of {:#?}",
        accusing.len(),
        briefs(&accusing)
    );

    let books = records.audit().unwrap();
    let logged: i64 = books.verdicts.values().map(|units| units.logged).sum();
    assert_eq!(logged, i64::try_from(RUN.all_lines).unwrap(), "{books:?}");
    assert_eq!(
        books.units("matched").logged + books.units("unverifiable").logged,
        logged,
        "{books:?}"
    );
    let lost: i64 = books.lost.values().map(|units| units.logged).sum();
    assert_eq!(lost, books.units("unverifiable").logged, "{books:?}");
    assert!(RUN.flat_out > 1_000, "only {} requests", RUN.flat_out);
    assert!(RUN.outcome.ended.status.success());
    assert!(RUN.outcome.ended.after < Duration::from_secs(5));
}
