//! Clients that write into the log what they like.

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    envoy::Format,
    pod::{APP, PodSpec},
    process::User,
};
use serde_json::json;

use super::tamper::{met, trap};
use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::get,
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Clients that write into the log",
    scenarios: &[
        Scenario {
            name: "shifted_fields",
            happens: "user agents and paths with quotes and blanks shift the fields of text lines",
            recorded: "`matched` or `unverifiable` (`line_ambiguous`) 1/1 each, nobody accused",
            finds: &[("shifter", "MW-009"), ("shifted", "MW-009")],
            pods: || pods("shifter", "shifted"),
            play: shifted_fields,
        },
        Scenario {
            name: "shifted_fields_and_a_removed_line",
            happens: "the same around a request whose line is removed",
            recorded: "that request `unlogged` 1/0, the others as above",
            finds: &[
                ("hider", "MW-004"),
                ("hider", "MW-009"),
                ("hidden", "MW-004"),
                ("hidden", "MW-009"),
            ],
            pods: || pods("hider", "hidden"),
            play: removed_among_shifted,
        },
        Scenario {
            name: "forged_original_path",
            happens: "a client sends x-envoy-original-path, which Envoy logs instead of the path",
            recorded: "client: `mismatched` 1/1; server: `matched` (`rewritten`) with both paths",
            finds: &[("forger", "MW-007")],
            pods: || pods("forger", "forged"),
            play: forged_original_path,
        },
        Scenario {
            name: "quotes_in_json",
            happens: "user agents and paths with quotes, escapes and markup in JSON lines",
            recorded: "`matched` 1/1 each",
            finds: &[],
            pods: || {
                ["quoter", "quoted"]
                    .map(|name| PodSpec::new(name).logging(Format::IstioJson))
                    .to_vec()
            },
            play: quotes_in_json,
        },
    ],
};

/// Values of a header that look like the text around them.
const USER_AGENTS: [&str; 6] = [
    r#"a" "b"#,
    r#"x" "11111111-1111-4111-8111-111111111111" "other" "10.0.0.1:80" outbound|80||x 10.0.0.1:1 10.0.0.2:2 10.0.0.3:3 - default"#,
    r#"" "" "" "" - - - - - -"#,
    r#"" 200 - via_upstream - "-" 0 0 0 0 ""#,
    r#"x" "-" "-" "-" "-" "-" "-" "-"#,
    "</script><script>alert(1)</script>\u{9b}31m\u{202e}",
];

/// Paths that do the same; Envoy takes no blank in one.
const PATHS: [&str; 3] = [r#"/"HTTP/1.1""#, "/a\"-\"-", "/</script>"];

fn pods(client: &str, server: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new(server)]
}

/// One request after the other with each user agent and each path, the meant one between them.
fn send(session: &Session, client: &str, server: &str, meant: &str) -> Result<()> {
    let url = format!("{}:8080", session.lab.pod(server).addresses().v4);
    let mut requests: Vec<_> = USER_AGENTS
        .iter()
        .enumerate()
        .map(|(number, agent)| {
            json!({ "path": format!("/agent/{number}"), "headers": { "user-agent": agent } })
        })
        .collect();
    requests.push(json!({ "path": meant }));
    requests.extend(USER_AGENTS.iter().enumerate().map(|(number, agent)| {
        json!({ "path": format!("/again/{number}"), "headers": { "user-agent": agent } })
    }));
    for path in PATHS {
        requests.push(json!({ "path": path }));
    }
    let words = ["requests", &url, &json!(requests).to_string()];
    let responses = session.lab.pod(client).client(&words)?;
    ensure!(responses.len() == requests.len());
    Ok(())
}

fn shifted_fields(session: &mut Session) -> Result<Judge> {
    send(session, "shifter", "shifted", "/plain")?;
    judge(|evidence| {
        for (pod, side) in [("shifter", "client"), ("shifted", "server")] {
            let all = evidence.of(pod, "requests", |record| record.kind() == "http");
            let count = i64::try_from(2 * USER_AGENTS.len() + PATHS.len() + 1)?;
            all.of_units(count, count)?;
            let unsure = all.of_verdict("unverifiable");
            if !unsure.records.is_empty() {
                unsure.are("unverifiable")?.with_reason("line_ambiguous")?;
            }
            evidence.http(pod, side, "/plain").are("matched")?;
        }
        Ok(())
    })
}

fn removed_among_shifted(session: &mut Session) -> Result<Judge> {
    const MEANT: &str = "/removed";
    let places = [("hider", "client"), ("hidden", "server")];
    let faults = places.map(|(pod, _)| trap(session, pod, 0, MEANT, Fault::Drop));
    send(session, "hider", "hidden", MEANT)?;
    for fault in &faults {
        met(fault)?;
    }
    judge(move |evidence| {
        for (pod, side) in places {
            let meant = evidence.http(pod, side, MEANT);
            meant.are("unlogged")?.of_units(1, 0)?;
            let others = evidence.of(pod, "requests", |record| {
                record.kind() == "http" && record.path() != MEANT
            });
            let count = i64::try_from(2 * USER_AGENTS.len() + PATHS.len())?;
            others.of_units(count, count)?;
            let unsure = others.of_verdict("unverifiable");
            if !unsure.records.is_empty() {
                unsure.are("unverifiable")?.with_reason("line_ambiguous")?;
            }
        }
        Ok(())
    })
}

fn forged_original_path(session: &mut Session) -> Result<Judge> {
    let header = "x-envoy-original-path: /innocent";
    let status = get(session, "forger", "forged", "/guilty", &["-H", header])?;
    ensure!(status == 200, "{status}");
    judge(|evidence| {
        ensure!(evidence.lines("forger", "/guilty")?.is_empty());
        let asked = evidence.http("forger", "client", "/guilty");
        asked.are("mismatched")?.of_units(1, 1)?;
        let served = evidence.http("forged", "server", "/guilty");
        served.are("matched")?.with_reason("rewritten")?;
        for record in [asked.records[0], served.records[0]] {
            ensure!(
                record.differing_fields() == ["url.path"],
                "{}",
                record.line()
            );
        }
        Ok(())
    })
}

fn quotes_in_json(session: &mut Session) -> Result<Judge> {
    send(session, "quoter", "quoted", "/plain")?;
    let url = format!(
        "http://{}:8080/curl",
        session.lab.pod("quoted").addresses().v4
    );
    let agent = r#"{"path":"/forged","response_code":500}"#;
    let words = ["curl", "-sS", "--fail", "-A", agent, &url];
    let output = session.lab.pod("quoter").run(APP, User::APP, words)?;
    ensure!(output.status.success(), "{output:?}");
    judge(|evidence| {
        for pod in ["quoter", "quoted"] {
            let all = evidence.of(pod, "requests", |record| record.kind() == "http");
            let count = i64::try_from(2 * USER_AGENTS.len() + PATHS.len() + 2)?;
            all.are("matched")?.of_units(count, count)?;
        }
        Ok(())
    })
}
