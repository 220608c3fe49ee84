//! Requests that are no whole requests.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{PROXY, PodSpec},
};

use crate::stage::{Chapter, Judge, Scenario, judge};

/// How long Envoy may take to write a line: it is flushed within 200 ms.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Requests that are no whole requests",
    scenarios: &[
        Scenario {
            name: "half_head",
            happens: "a client sends half a head and closes; Envoy writes `- -` and `DC`",
            recorded: "client: `matched` 1/1 by the tuple",
            pods: || pods("half"),
            play: half_head,
        },
        Scenario {
            name: "three_bytes",
            happens: "a client sends `GET` and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            pods: || pods("three"),
            play: three_bytes,
        },
    ],
};

/// A client of its own: what it sends has no path to be found by.
fn pods(client: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new("b")]
}

fn half_head(session: &mut Session) -> Result<Judge> {
    send(session, "half", r"GET /half HTTP/1.1\r\nhost: b\r\nx-")?;
    let log = &session.lab.pod("half").container(PROXY).log;
    log.wait_for(PATIENCE, |line| line.contains("\"- - HTTP/1.1\" 0 DC"))?;
    judge(|evidence| {
        let found = evidence.of("half", "half a head", |record| record.units().observed > 0);
        found.are("matched")?.are_as_many_as(1)?.of_units(1, 1)?;
        Ok(())
    })
}

fn three_bytes(session: &mut Session) -> Result<Judge> {
    send(session, "three", "GET")?;
    judge(|evidence| {
        ensure!(evidence.lines("three", "[")?.is_empty());
        let found = evidence.of("three", "three bytes", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("no_request")?
            .of_units(1, 0)?;
        Ok(())
    })
}

/// Sends some bytes to `b` and closes.
fn send(session: &Session, client: &str, text: &str) -> Result<()> {
    let server = format!("{}:8080", session.lab.pod("b").addresses().v4);
    session
        .lab
        .pod(client)
        .client(&["bytes", &server, text, "100"])?;
    Ok(())
}
