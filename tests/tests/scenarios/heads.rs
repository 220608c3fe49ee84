//! Requests that Envoy never took for whole ones.

use anyhow::{Result, ensure};
use lab::{Session, pod::PodSpec};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{endpoint, matched, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Requests that Envoy never took for whole ones",
    scenarios: &[
        Scenario {
            name: "half_head",
            happens: "the client sends half a head and closes; the line says `- -` and `0 DC`",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("half"),
            play: |session| {
                let head = r"GET /half HTTP/1.1\r\nhost: b\r\nx-";
                with_a_line(session, "half", head, "\"- - HTTP/1.1\" 0 DC")
            },
        },
        Scenario {
            name: "malformed_head",
            happens: "the client sends a header without a colon; the line says `- -` and 400",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("malformed"),
            play: |session| {
                let head = r"GET /malformed HTTP/1.1\r\nhost: b\r\nno colon here\r\n\r\n";
                with_a_line(session, "malformed", head, "\"- - HTTP/1.1\" 400 DPE")
            },
        },
        Scenario {
            name: "old_protocol",
            happens: "the client speaks HTTP/1.0; the line says `- -` and 426",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("old"),
            play: |session| {
                let head = r"GET /old HTTP/1.0\r\n\r\n";
                with_a_line(session, "old", head, "\"- - HTTP/1.1\" 426 DPE")
            },
        },
        Scenario {
            name: "huge_head",
            happens: "the client sends a head of 70 kB; the line says `- -` and 431",
            recorded: "client: `matched` 1/1 by the tuple",
            finds: &[],
            pods: || pods("huge"),
            play: |session| {
                let value = "v".repeat(70_000);
                let head = format!(r"GET /huge HTTP/1.1\r\nhost: b\r\nx-huge: {value}\r\n\r\n");
                with_a_line(session, "huge", &head, "\"- - HTTP/1.1\" 431 DPE")
            },
        },
        Scenario {
            name: "three_bytes",
            happens: "the client sends `GET` and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("three"),
            play: |session| without_a_line(session, "three", "GET"),
        },
        Scenario {
            name: "half_request_line",
            happens: "the client sends `GET /half-a-line` and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("line"),
            play: |session| without_a_line(session, "line", "GET /half-a-line"),
        },
        Scenario {
            name: "nothing_sent",
            happens: "the client connects and closes; Envoy writes nothing",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: || pods("nothing"),
            play: |session| without_a_line(session, "nothing", ""),
        },
        Scenario {
            name: "fin_with_request",
            happens: "the client half-closes right after its request; Envoy drops some of those unread",
            recorded: "client: without a line `outside` 1/0, `no_request`; with one `matched` 1/1",
            finds: &[],
            pods: || pods("eager"),
            play: fin_with_request,
        },
    ],
};

/// A client of its own: what it sends has no path to be found by.
fn pods(client: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new("b")]
}

fn with_a_line(
    session: &Session,
    client: &'static str,
    head: &str,
    line: &'static str,
) -> Result<Judge> {
    send(session, client, head)?;
    wait_for_line(session, client, line)?;
    judge(move |evidence| {
        let found = evidence.of(client, "units", |record| record.units().observed > 0);
        found.are("matched")?.are_as_many_as(1)?.of_units(1, 1)?;
        Ok(())
    })
}

fn without_a_line(session: &Session, client: &'static str, text: &str) -> Result<Judge> {
    send(session, client, text)?;
    judge(move |evidence| {
        ensure!(evidence.lines(client, "[2")?.is_empty(), "there is a line");
        let found = evidence.of(client, "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("no_request")?
            .of_units(1, 0)?;
        Ok(())
    })
}

const EAGER: usize = 60;

fn fin_with_request(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "b", 8080);
    let count = EAGER.to_string();
    let client = session.lab.pod("eager");
    client.client(&["half-close", &server, "/eager", &count])?;
    judge(|evidence| {
        let mut logged = 0;
        for number in 0..EAGER {
            let path = format!("/eager/{number}");
            if evidence.lines("eager", &format!("{path} HTTP"))?.is_empty() {
                let found = evidence.http("eager", "client", &path);
                found
                    .are("outside")?
                    .with_reason("no_request")?
                    .of_units(1, 0)?;
            } else {
                logged += 1;
                matched(evidence, "eager", "client", &path)?;
            }
        }
        ensure!(logged < EAGER, "Envoy read all of them");
        Ok(())
    })
}

/// Sends some bytes to `b`, waits a moment and closes.
fn send(session: &Session, client: &str, text: &str) -> Result<()> {
    let server = endpoint(session, "b", 8080);
    session
        .lab
        .pod(client)
        .client(&["bytes", &server, text, "200"])?;
    Ok(())
}
