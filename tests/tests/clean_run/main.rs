//! Clean traffic of many kinds: everything is matched, nobody is accused, the books add up.
//!
//! All traffic happens in one run; the tests ask each for one promise of it. The ground truth is
//! nginx's log, which the project did not write.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

mod traffic;

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use jiff::Timestamp;
use lab::{
    Outcome, Session,
    counts::{difference, matched, truth},
    cri::Stream,
    envoy::Format,
    nginx::Exchange,
    pod::{APP, PROXY, PodSpec},
    process::User,
    records::{Record, Records},
};
use traffic::{LOAD, SHORT, curl_cases, helper_cases, ipv6, load, spawn, succeed, url};

struct Run {
    /// When the agent was ready. The app was probed before.
    ready: Timestamp,
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
    let ready = Timestamp::now();
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
        ready,
        clean,
        exchanges,
        lines,
        all_lines,
        flat_out,
        outcome,
    }
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
        .filter(|found| {
            found.path() == "/healthz" && found.time >= RUN.ready.as_duration().as_secs_f64()
        })
        .count();
    let since_ready = |record: &Record| {
        let time = record.text("/time").parse::<Timestamp>();
        time.is_ok_and(|time| time >= RUN.ready)
    };
    let probed = RUN.clean.find(|record| {
        record.kind() == "http"
            && record.side() == "server"
            && record.path() == "/healthz"
            && since_ready(record)
    });
    // One may have been on its way when the agent was ready, and one between the two readings.
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
