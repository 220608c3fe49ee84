//! What the sidecar is told to log, and how its log is kept.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    envoy::{
        Format, Sidecar,
        edit::{OUTBOUND, http_managers},
    },
    pod::{APP, PROXY, PodSpec},
    process::User,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{PATIENCE, Way, matched, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What the sidecar logs, and how its log is kept",
    scenarios: &[
        Scenario {
            name: "log_filter",
            happens: "the client's sidecar logs errors only",
            recorded: "client: what is not logged is `unlogged` 1/0, what is logged `matched`",
            finds: &[("filtered", "MW-004")],
            pods: || {
                let filter = json!({ "status_code_filter": { "comparison": {
                    "op": "GE", "value": { "default_value": 400, "runtime_key": "none" },
                } } });
                vec![
                    PodSpec::new("filtered").filtering(filter),
                    PodSpec::new("b"),
                ]
            },
            play: log_filter,
        },
        Scenario {
            name: "log_sampling",
            happens: "the client's sidecar logs about half of the requests, and the last for certain",
            recorded: "client: what is not logged is `unlogged` 1/0, what is logged `matched`",
            finds: &[("sampled", "MW-004")],
            pods: || {
                let half = json!({ "runtime_filter": {
                    "runtime_key": "none",
                    "percent_sampled": { "numerator": 50, "denominator": "HUNDRED" },
                } });
                let last = json!({ "header_filter": {
                    "header": { "name": LAST, "present_match": true },
                } });
                let filter = json!({ "or_filter": { "filters": [half, last] } });
                vec![PodSpec::new("sampled").filtering(filter), PodSpec::new("b")]
            },
            play: log_sampling,
        },
        Scenario {
            name: "logging_off",
            happens: "the client's sidecar logs nothing",
            recorded: "client: `unverifiable` (`no_log`) 1/0 and one finding `MW-001`; server: `matched` 1/1",
            finds: &[("silent", "MW-001")],
            pods: || vec![PodSpec::new("silent").without_log(), PodSpec::new("b")],
            play: logging_off,
        },
        Scenario {
            name: "secrets_in_log",
            happens: "a request has a password in its query, which both sidecars log, in JSON and in text",
            recorded: "both sides: `matched` 1/1; the finding says where, never what",
            finds: &[("leaking", "MW-011"), ("leaked", "MW-011")],
            pods: || {
                vec![
                    PodSpec::new("leaking").logging(Format::IstioJson),
                    PodSpec::new("leaked"),
                ]
            },
            play: secrets_in_log,
        },
        Scenario {
            name: "two_sinks",
            happens: "the client's sidecar writes every line twice",
            recorded: "client: `matched` 1/2 for each request, the second line's record with `repeated`",
            finds: &[],
            pods: || vec![PodSpec::new("doubling").editing(double), PodSpec::new("b")],
            play: two_sinks,
        },
        Scenario {
            name: "two_formats",
            happens: "the client's sidecar writes every line in two formats",
            recorded: "client: `matched` 1/2 for each request",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("bilingual").editing(log_in_two_formats),
                    PodSpec::new("b"),
                ]
            },
            play: two_formats,
        },
        Scenario {
            name: "late_line",
            happens: "the runtime writes a line eight seconds late",
            recorded: "client: `unlogged`, then revised: `matched` 1/1, `late_line`",
            finds: &[],
            pods: || vec![PodSpec::new("tardy"), PodSpec::new("b")],
            play: late_line,
        },
        Scenario {
            name: "json_log",
            happens: "both sidecars log in Istio's JSON format",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("jsonclient").logging(Format::IstioJson),
                    PodSpec::new("jsonserver").logging(Format::IstioJson),
                ]
            },
            play: json_log,
        },
        Scenario {
            name: "rotation",
            happens: "the kubelet rotates and compresses the logs amid a burst of requests",
            recorded: "both sides: every request `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("rotatedclient"), PodSpec::new("rotatedserver")],
            play: rotation,
        },
    ],
};

const SAMPLED: usize = 40;
/// What the last request has: a log that breaks off would have stopped (`MW-003`).
const LAST: &str = "x-last";
const BURST: usize = 6_000;
const ROTATIONS: usize = 5;
/// Longer than `flush` (1 s) and the 2 s that are added to it.
const LATE: Duration = Duration::from_secs(8);

fn log_filter(session: &mut Session) -> Result<Judge> {
    let of = |way: Way| [way.path("/filtered-out"), way.path("/missing/logged")];
    for way in Way::ALL {
        let received = of(way).map(|path| way.get(session, "filtered", "b", &path, &[]));
        let [filtered, logged] = received;
        ensure!((filtered?, logged?) == (200, 404), "{way:?}");
    }
    judge(move |evidence| {
        ensure!(evidence.lines("filtered", "/filtered-out")?.is_empty());
        for [filtered, logged] in Way::ALL.map(of) {
            let found = evidence.http("filtered", "client", &filtered);
            found.are("unlogged")?.of_units(1, 0)?;
            matched(evidence, "b", "server", &filtered)?;
            matched_at_both(evidence, "filtered", "b", &logged)?;
        }
        Ok(())
    })
}

fn log_sampling(session: &mut Session) -> Result<Judge> {
    let of = |number| Way::numbered("/sampled", number);
    let last = format!("{LAST}: yes");
    for number in 0..SAMPLED {
        let (way, path) = of(number);
        let options: &[&str] = match number + 1 {
            SAMPLED => &["-H", &last],
            _ => &[],
        };
        ensure!(way.get(session, "sampled", "b", &path, options)? == 200);
    }
    judge(move |evidence| {
        let mut logged = 0;
        for (_, path) in (0..SAMPLED).map(of) {
            matched(evidence, "b", "server", &path)?;
            if evidence
                .lines("sampled", &format!("{path} HTTP"))?
                .is_empty()
            {
                let found = evidence.http("sampled", "client", &path);
                found.are("unlogged")?.of_units(1, 0)?;
            } else {
                logged += 1;
                matched(evidence, "sampled", "client", &path)?;
            }
        }
        ensure!(
            (1..SAMPLED).contains(&logged),
            "{logged} of {SAMPLED} were logged"
        );
        Ok(())
    })
}

fn logging_off(session: &mut Session) -> Result<Judge> {
    for way in Way::ALL {
        ensure!(way.get(session, "silent", "b", &way.path("/silent"), &[])? == 200);
    }
    judge(|evidence| {
        for path in Way::paths("/silent") {
            let found = evidence.http("silent", "client", &path);
            found
                .are("unverifiable")?
                .with_reason("no_log")?
                .of_units(1, 0)?;
            matched(evidence, "b", "server", &path)?;
        }
        Ok(())
    })
}

fn secrets_in_log(session: &mut Session) -> Result<Judge> {
    const SECRET: &str = "tr0ub4dor-3";
    for way in Way::ALL {
        let target = format!("{}?password={SECRET}", way.path("/leaking"));
        ensure!(way.get(session, "leaking", "leaked", &target, &[])? == 200);
    }
    judge(|evidence| {
        for path in Way::paths("/leaking") {
            matched_at_both(evidence, "leaking", "leaked", &path)?;
        }
        let fields = [
            ("leaking", "path"),
            ("leaked", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"),
        ];
        for (pod, field) in fields {
            ensure!(evidence.lines(pod, SECRET)?.len() == Way::ALL.len());
            let found = evidence
                .records
                .find(|record| record.pod() == pod && record.text("/finding/id") == "MW-011");
            for record in found {
                let place = |name: &str| record.text(&format!("/finding/sensitive/0/{name}"));
                ensure!(
                    (place("field"), place("kind")) == (field.into(), "query_value".into()),
                    "{}",
                    record.line()
                );
            }
        }
        let told = evidence
            .records
            .find(|record| record.line().contains(SECRET));
        ensure!(told.is_empty() && !evidence.ended.stderr.contains(SECRET));
        Ok(())
    })
}

fn double(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, OUTBOUND) {
        if let Some(sinks) = manager["access_log"].as_array_mut() {
            sinks.extend_from_within(..);
        }
    }
}

fn log_in_two_formats(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, OUTBOUND) {
        if let Some(sinks) = manager["access_log"].as_array_mut() {
            let mut other = sinks[0].clone();
            other["typed_config"]["log_format"] = Format::IstioJson.config();
            sinks.push(other);
        }
    }
}

fn two_sinks(session: &mut Session) -> Result<Judge> {
    written_twice(session, "doubling", "/doubled")
}

fn two_formats(session: &mut Session) -> Result<Judge> {
    written_twice(session, "bilingual", "/translated")
}

fn written_twice(session: &Session, client: &'static str, path: &'static str) -> Result<Judge> {
    const REQUESTS: usize = 12;
    let of = move |number| Way::numbered(path, number);
    for (way, path) in (0..REQUESTS).map(of) {
        ensure!(way.get(session, client, "b", &path, &[])? == 200);
    }
    judge(move |evidence| {
        for (_, path) in (0..REQUESTS).map(of) {
            ensure!(evidence.lines(client, &path)?.len() == 2);
            let found = evidence.http(client, "client", &path);
            found.are("matched")?.of_units(1, 2)?;
        }
        Ok(())
    })
}

fn late_line(session: &mut Session) -> Result<Judge> {
    let base = "/tardy";
    ensure!(Way::HTTP1[0].get(session, "tardy", "b", "/in-time", &[])? == 200);
    let log = &session.lab.pod("tardy").container(PROXY).log;
    let first = Way::ALL[0].path(base);
    let delayed = log.inject(0, move |line| line.contains(&first), Fault::Delay(LATE));
    for way in Way::ALL {
        ensure!(way.get(session, "tardy", "b", &way.path(base), &[])? == 200);
    }
    for path in Way::paths(base) {
        wait_for_line(session, "tardy", &path)?;
    }
    judge(move |evidence| {
        ensure!(delayed.line().is_some(), "the line was not delayed");
        // Those behind it are as late.
        for path in Way::paths(base) {
            matched(evidence, "tardy", "client", &path)?;
            let found = evidence.http("tardy", "client", &path);
            found.with_reason("late_line")?;
            let revised: Vec<&str> = found.records[0].revises().collect();
            let mut all = evidence.records.all().iter();
            let accused = all.find(|record| revised.contains(&record.id()));
            ensure!(
                accused.is_some_and(|record| record.verdict() == "unlogged"),
                "{}",
                found.records[0].line()
            );
        }
        Ok(())
    })
}

fn json_log(session: &mut Session) -> Result<Judge> {
    for way in Way::ALL {
        let target = format!("{}?a=\"b\"", way.path("/json"));
        ensure!(way.get(session, "jsonclient", "jsonserver", &target, &[])? == 200);
    }
    judge(|evidence| {
        ensure!(evidence.lines("jsonserver", "{")?.len() == Way::ALL.len());
        let mut paths = Way::paths("/json").into_iter();
        paths.try_for_each(|path| matched_at_both(evidence, "jsonclient", "jsonserver", &path))
    })
}

fn rotation(session: &mut Session) -> Result<Judge> {
    let (client, server) = (
        session.lab.pod("rotatedclient"),
        session.lab.pod("rotatedserver"),
    );
    let ways = [Way::HTTP1[0], Way::HTTP2[1]];
    let loads = ways.map(|way| {
        let (count, to) = (BURST / ways.len(), way.socket(server.addresses()));
        let (count, url) = (
            count.to_string(),
            format!("http://{to}{}", way.path("/rotated")),
        );
        let version = if way.http2 {
            "--no-tls-proto=h2c"
        } else {
            "--h1"
        };
        let words = [
            "h2load", version, "-n", &count, "-c", "4", "--rps", "200", &url,
        ];
        client.spawn(APP, User::APP, words)
    });
    for turn in 1..=ROTATIONS {
        for pod in [client, server] {
            let log = &pod.container(PROXY).log;
            // So many lines were written since the last turn: each file has some.
            let due = turn * BURST / (ROTATIONS + 1);
            log.wait_for_count(due, PATIENCE, |line| line.contains("/rotated/"))?;
            log.rotate()?;
        }
    }
    for load in loads {
        let output = load?.output()?;
        ensure!(output.status.success(), "{output:?}");
    }
    judge(move |evidence| {
        for path in ways.map(|way| way.path("/rotated")) {
            let count = BURST / ways.len();
            ensure!(evidence.nginx("rotatedserver", &path)?.len() == count);
            let count = i64::try_from(count)?;
            for (pod, side) in [("rotatedclient", "client"), ("rotatedserver", "server")] {
                let found = evidence.http(pod, side, &path);
                found.are("matched")?.of_units(count, count)?;
            }
        }
        Ok(())
    })
}
