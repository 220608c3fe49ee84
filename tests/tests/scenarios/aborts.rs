//! Exchanges that somebody left early.

use std::fs;

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, routes},
    },
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, get, matched, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Exchanges that somebody left early",
    scenarios: &[
        Scenario {
            name: "client_leaves",
            happens: "the client leaves after half a second; the app would answer after two",
            recorded: "both sides: `matched` 1/1, `aborted`",
            finds: &[],
            pods,
            play: client_leaves,
        },
        Scenario {
            name: "early_response",
            happens: "the app answers an upload of 20 MB before it has read it",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: early_response,
        },
        Scenario {
            name: "app_closes",
            happens: "the app closes without an answer; its sidecar answers 503 `UC`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| cut(session, "/close/at-once", 503),
        },
        Scenario {
            name: "app_closes_amid_body",
            happens: "the app closes amid the body of its answer",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| cut(session, "/half/body", 200),
        },
        Scenario {
            name: "inbound_timeout",
            happens: "the server's sidecar gives up after half a second: 504 `UT`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("a"), PodSpec::new("hasty").editing(hurry)],
            play: inbound_timeout,
        },
    ],
};

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("b")]
}

fn hurry(config: &mut Value, _: &Sidecar<'_>) {
    for route in routes(config, INBOUND) {
        route["timeout"] = json!("0.5s");
    }
}

fn client_leaves(session: &mut Session) -> Result<Judge> {
    let base = "/slow/2/left";
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "a", "b", &path, &["-m", "0.5"])?;
        ensure!(received == 0, "{path}: expected no answer, got {received}");
        for pod in ["a", "b"] {
            let line = wait_for_line(session, pod, &path)?;
            let is_left = line.contains(" 0 DC ") || line.contains(" 0 DR ");
            ensure!(is_left, "{line}");
        }
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            for (pod, side) in [("a", "client"), ("b", "server")] {
                matched(evidence, pod, side, &path)?;
                evidence.http(pod, side, &path).with_reason("aborted")?;
            }
        }
        Ok(())
    })
}

fn early_response(session: &mut Session) -> Result<Judge> {
    let body = session.lab.directory().join("early-upload");
    fs::write(&body, vec![b'u'; 20_000_000])?;
    let body = format!("@{}", body.display());
    let options = ["-H", "expect:", "--data-binary", &body];
    at_both(session, "/early/upload", 201, &options)
}

/// A request each way, which both sides tell as one.
fn at_both(session: &Session, base: &'static str, status: u16, options: &[&str]) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "a", "b", &path, options)?;
        // Over HTTP/2 a server that closes resets the stream: 502, or amid an answer whose head
        // curl may not have told by then; and curl fails if an upload is answered early.
        let others = [(503, 502), (201, 0), (200, 0)];
        let is_expected = received == status || way.http2 && others.contains(&(status, received));
        ensure!(is_expected, "{path}: expected {status}, got {received}");
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            matched(evidence, "a", "client", &path)?;
            matched(evidence, "b", "server", &path)?;
        }
        Ok(())
    })
}

fn cut(session: &Session, base: &'static str, status: u16) -> Result<Judge> {
    at_both(session, base, status, &[])
}

fn inbound_timeout(session: &mut Session) -> Result<Judge> {
    let path = "/slow/2/timeout";
    let received = get(session, "a", "hasty", path, &[])?;
    ensure!(received == 504, "expected 504, got {received}");
    judge(move |evidence| {
        ensure!(evidence.lines("hasty", " 504 UT ")?.len() == 1);
        matched(evidence, "a", "client", path)?;
        matched(evidence, "hasty", "server", path)
    })
}
