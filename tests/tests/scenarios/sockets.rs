//! Addresses and ports that are shared, remapped, or of the other family.

use anyhow::{Result, ensure};
use lab::{Session, pod::PodSpec};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{curl, endpoint, matched, matched_at_both},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Ports that are shared or remapped, and the other family",
    scenarios: &[
        Scenario {
            name: "shared_port",
            happens: "two sockets with one local port (SO_REUSEPORT), both intercepted",
            recorded: "client: `matched` 1/1 each",
            finds: &[],
            pods,
            play: shared_port,
        },
        Scenario {
            name: "short_connections",
            happens: "400 short connections to two destinations, of which REDIRECT remaps some",
            recorded: "client: `matched` 1/1 each",
            finds: &[],
            pods,
            play: short_connections,
        },
        Scenario {
            name: "ipv6_request",
            happens: "a request over IPv6",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| ipv6(session, "/six", 200, &[]),
        },
        Scenario {
            name: "ipv6_outside",
            happens: "a request over IPv6 to a host outside the mesh",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods,
            play: ipv6_outside,
        },
        Scenario {
            name: "ipv6_refusal",
            happens: "the server's sidecar refuses a request over IPv6 with 403",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("sixdeny").denying("/denied"),
                ]
            },
            play: ipv6_refusal,
        },
        Scenario {
            name: "ipv6_internal",
            happens: "an app speaks with itself on `::1`",
            recorded: "`outside`, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("sixinner")],
            play: ipv6_internal,
        },
    ],
};

const SHORT: usize = 400;

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("b")]
}

fn shared_port(session: &mut Session) -> Result<Judge> {
    let outside = format!("{}:80", session.lab.outside().addresses().v4);
    let both = format!("{},{outside}", endpoint(session, "b", 8080));
    let responses = session
        .lab
        .pod("a")
        .client(&["reuseport", &both, "/shared"])?;
    ensure!(responses.iter().all(|response| response.status == 200));
    judge(|evidence| {
        matched_at_both(evidence, "a", "b", "/shared/0")?;
        matched(evidence, "a", "client", "/shared/1")
    })
}

fn short_connections(session: &mut Session) -> Result<Judge> {
    let outside = format!("{}:80", session.lab.outside().addresses().v4);
    let both = format!("{},{outside}", endpoint(session, "b", 8080));
    let count = SHORT.to_string();
    let responses = session
        .lab
        .pod("a")
        .client(&["short", &both, "/brief", &count])?;
    ensure!(responses.len() == SHORT);
    judge(|evidence| {
        for number in 0..SHORT {
            let path = format!("/brief/{number}");
            matched(evidence, "a", "client", &path)?;
            if number % 2 == 0 {
                matched(evidence, "b", "server", &path)?;
            }
        }
        Ok(())
    })
}

fn ipv6(session: &Session, path: &'static str, status: u16, options: &[&str]) -> Result<Judge> {
    let url = format!(
        "http://[{}]:8080{path}",
        session.lab.pod("b").addresses().v6
    );
    let received = curl(session.lab.pod("a"), &[&[url.as_str()], options].concat())?;
    ensure!(received == status, "expected {status}, got {received}");
    judge(move |evidence| matched_at_both(evidence, "a", "b", path))
}

fn ipv6_outside(session: &mut Session) -> Result<Judge> {
    let url = format!(
        "http://[{}]/six-outside",
        session.lab.outside().addresses().v6
    );
    let received = curl(session.lab.pod("a"), &[&url])?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| matched(evidence, "a", "client", "/six-outside"))
}

fn ipv6_refusal(session: &mut Session) -> Result<Judge> {
    let path = "/denied/six";
    let url = format!(
        "http://[{}]:8080{path}",
        session.lab.pod("sixdeny").addresses().v6
    );
    let received = curl(session.lab.pod("a"), &[&url])?;
    ensure!(received == 403, "expected 403, got {received}");
    judge(move |evidence| {
        let found = evidence.http("sixdeny", "server", path);
        found.are("proxy_answered")?.of_units(0, 1)?;
        matched(evidence, "a", "client", path)
    })
}

fn ipv6_internal(session: &mut Session) -> Result<Judge> {
    let received = curl(
        session.lab.pod("sixinner"),
        &["http://[::1]:8080/six-inner"],
    )?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| {
        let found = evidence.of("sixinner", "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("pod_internal")?
            .of_units(1, 0)?;
        Ok(())
    })
}
