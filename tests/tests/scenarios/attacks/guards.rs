//! Traffic while the sidecar is not there, a log that stops, and doors that no app may touch.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    envoy::ADMIN_PORT,
    pod::{APP, PodSpec},
    process::User,
    records::Record,
};

use super::tamper::{met, trap};
use crate::{
    evidence::Evidence,
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, Way, curl, get, matched, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Sidecars that are not there, silenced, or touched",
    scenarios: &[
        Scenario {
            name: "before_sidecar",
            happens: "an app reaches an excluded port before its sidecar listens for the first time",
            recorded: "client: `bypassed` 1/0",
            finds: &[],
            pods: Vec::new,
            play: |session| before_sidecar(session, "hasty", Family::V4),
        },
        Scenario {
            name: "before_sidecar_ipv6",
            happens: "the same over IPv6",
            recorded: "client: `bypassed` 1/0",
            finds: &[],
            pods: Vec::new,
            play: |session| before_sidecar(session, "sixhasty", Family::V6),
        },
        Scenario {
            name: "after_sidecar",
            happens: "an app reaches an excluded port after its sidecar was killed",
            recorded: "client: `bypassed` 1/0",
            finds: &[("widow", "MW-108")],
            pods: || {
                vec![
                    PodSpec::new("widow").excluding_outbound(9001),
                    PodSpec::new("server"),
                ]
            },
            play: |session| after_sidecar(session, "widow", Family::V4),
        },
        Scenario {
            name: "after_sidecar_ipv6",
            happens: "the same over IPv6",
            recorded: "client: `bypassed` 1/0",
            finds: &[("sixwidow", "MW-108")],
            pods: || {
                vec![
                    PodSpec::new("sixwidow").excluding_outbound(9001),
                    PodSpec::new("server"),
                ]
            },
            play: |session| after_sidecar(session, "sixwidow", Family::V6),
        },
        Scenario {
            name: "redirection_removed",
            happens: "somebody with NET_ADMIN takes a host out of the redirection that the sidecar held before",
            recorded: "client: the request before `matched`, the connection after `bypassed` 1/0",
            finds: &[("robber", "MW-101")],
            pods: || vec![PodSpec::new("robber")],
            play: |session| redirection_removed(session, "robber", Family::V4),
        },
        Scenario {
            name: "redirection_removed_ipv6",
            happens: "the same over IPv6",
            recorded: "client: the request before `matched`, the connection after `bypassed` 1/0",
            finds: &[("sixrobber", "MW-101")],
            pods: || vec![PodSpec::new("sixrobber")],
            play: |session| redirection_removed(session, "sixrobber", Family::V6),
        },
        Scenario {
            name: "log_silence",
            happens: "a log that had lines gets none any more for eight requests",
            recorded: "client: the eight `unlogged` 1/0 each",
            finds: &[("muzzled", "MW-003")],
            pods: || vec![PodSpec::new("muzzled"), PodSpec::new("server")],
            play: log_silence,
        },
        Scenario {
            name: "admin_port",
            happens: "an app asks its sidecar's administration for its configuration",
            recorded: "`outside`, `pod_internal`",
            finds: &[("prober", "MW-111")],
            pods: || vec![PodSpec::new("prober")],
            play: admin_port,
        },
    ],
};

/// Requests without a line.
const SILENCED: usize = 8;

/// The connection of a pod to `to` was its only bypass.
fn bypassed(evidence: &Evidence, pod: &str, to: SocketAddr) -> Result<()> {
    let went_there = |record: &Record| record.server() == Some((&to.ip().to_string(), to.port()));
    evidence
        .of(pod, &format!("connections to {to}"), |record| {
            went_there(record) && record.kind() == "connection" && record.accuses()
        })
        .are("bypassed")?
        .of_units(1, 0)?;
    Ok(())
}

fn outside(session: &Session, family: Family, port: u16) -> SocketAddr {
    (family.of(session.lab.outside().addresses()), port).into()
}

fn before_sidecar(session: &mut Session, name: &'static str, family: Family) -> Result<Judge> {
    let to = outside(session, family, 9001);
    let url = format!("http://{to}/taken");
    let words = ["curl", "-sS", "--fail", &url];
    let pod = move || PodSpec::new(name).excluding_outbound(9001);
    session
        .lab
        .add_pods([pod().running_early(APP, User::APP, &words)])?;
    judge(move |evidence| {
        bypassed(evidence, name, to)?;
        evidence.nobody_else_is_accused(&[pod()])?;
        evidence.findings_are(&[pod()], &[(name, "MW-107")].into())
    })
}

fn after_sidecar(session: &mut Session, pod: &'static str, family: Family) -> Result<Judge> {
    let way = Way {
        http2: false,
        family,
    };
    ensure!(way.get(session, pod, "server", "/before", &[])? == 200);
    wait_for_line(session, pod, "/before")?;
    session.lab.pod_mut(pod).envoy()?.kill();
    let to = outside(session, family, 9001);
    let url = format!("http://{to}/taken");
    ensure!(curl(session.lab.pod(pod), &[&url])? == 200);
    judge(move |evidence| bypassed(evidence, pod, to))
}

fn redirection_removed(session: &Session, name: &'static str, family: Family) -> Result<Judge> {
    let to = outside(session, family, 80);
    let url = format!("http://{to}/robbed");
    let pod = session.lab.pod(name);
    ensure!(curl(pod, &[&url])? == 200);
    let address = to.ip().to_string();
    let program = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let rule = [
        program, "-t", "nat", "-I", "OUTPUT", "-d", &address, "-j", "RETURN",
    ];
    let output = pod.run(APP, User::ROOT, rule)?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(curl(pod, &[&url])? == 200);
    judge(move |evidence| {
        matched(evidence, name, "client", "/robbed")?;
        bypassed(evidence, name, to)
    })
}

fn log_silence(session: &mut Session) -> Result<Judge> {
    ensure!(get(session, "muzzled", "server", "/spoken", &[])? == 200);
    for number in 0..SILENCED {
        let path = format!("/silenced/{number}");
        let fault = trap(session, "muzzled", 0, &path, Fault::Drop);
        ensure!(get(session, "muzzled", "server", &path, &[])? == 200);
        met(&fault)?;
    }
    judge(|evidence| {
        matched(evidence, "muzzled", "client", "/spoken")?;
        for number in 0..SILENCED {
            evidence
                .http("muzzled", "client", &format!("/silenced/{number}"))
                .are("unlogged")?
                .of_units(1, 0)?;
        }
        Ok(())
    })
}

fn admin_port(session: &mut Session) -> Result<Judge> {
    let url = format!("http://127.0.0.1:{ADMIN_PORT}/config_dump");
    ensure!(curl(session.lab.pod("prober"), &[&url])? == 200);
    judge(|evidence| {
        evidence
            .http("prober", "client", "/config_dump")
            .are("outside")?
            .with_reason("pod_internal")?
            .of_units(1, 0)?;
        Ok(())
    })
}
