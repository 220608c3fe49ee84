//! Answers that Envoy gives by itself.

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{APP, PodSpec},
    process::User,
};

use crate::stage::{Chapter, Judge, Scenario, judge};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Answers that Envoy gives by itself",
    scenarios: &[
        Scenario {
            name: "inbound_refusal",
            happens: "the server's sidecar refuses a request with 403",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            pods,
            play: inbound_refusal,
        },
        Scenario {
            name: "inbound_refusal_forwarded",
            happens: "the same with X-Forwarded-For, where the line shows that address and port 0",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            pods,
            play: inbound_refusal_forwarded,
        },
    ],
};

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("deny").denying("/denied")]
}

fn inbound_refusal(session: &mut Session) -> Result<Judge> {
    refused(session, "/denied/plain", &[])
}

fn inbound_refusal_forwarded(session: &mut Session) -> Result<Judge> {
    refused(
        session,
        "/denied/forwarded",
        &["-H", "x-forwarded-for: 198.51.100.7"],
    )
}

fn refused(session: &Session, path: &'static str, options: &[&str]) -> Result<Judge> {
    let address = session.lab.pod("deny").addresses().v4;
    let url = format!("http://{address}:8080{path}");
    let words = ["curl", "-sS", "-w", "%{http_code}", &url];
    let words = words.iter().chain(options);
    let output = session.lab.pod("a").run(APP, User::APP, words)?;
    ensure!(output.stdout == b"403", "{output:?}");
    judge(move |evidence| {
        ensure!(evidence.nginx("deny", path)?.is_empty());
        evidence
            .http("deny", "server", path)
            .are("proxy_answered")?
            .of_units(0, 1)?;
        evidence
            .http("a", "client", path)
            .are("matched")?
            .of_units(1, 1)?;
        Ok(())
    })
}
