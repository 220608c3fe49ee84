//! Traffic that its sidecar never touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{APP, PROXY, Pod, PodSpec},
    process::User,
    records::Record,
};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::Family,
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Traffic that passes its sidecar by",
    scenarios: &[
        Scenario {
            name: "proxys_user",
            happens: "a tool runs in the app's container as the proxy's user 1337",
            recorded: "client: `bypassed` 1/0 with that user",
            finds: &[("thief", "MW-103")],
            pods: thief,
            play: proxys_user,
        },
        Scenario {
            name: "excluded_port",
            happens: "a connection to a port that is excluded from redirection",
            recorded: "client: `bypassed` 1/0",
            finds: &[("thief", "MW-105")],
            pods: thief,
            play: |session| excluded(session, "thief", outside(session, Family::V4, 9001)),
        },
        Scenario {
            name: "over_ipv6",
            happens: "the same over IPv6, as the proxy's user and to an excluded port",
            recorded: "client: `bypassed` 1/0 each",
            finds: &[("thief", "MW-103"), ("thief", "MW-105")],
            pods: thief,
            play: over_ipv6,
        },
        Scenario {
            name: "excluded_range",
            happens: "a connection to an address range that is excluded from redirection",
            recorded: "client: `bypassed` 1/0",
            finds: &[("ranger", "MW-105")],
            pods: || {
                vec![
                    PodSpec::new("ranger").excluding_outbound_range("10.77.0.96/28"),
                    PodSpec::new("server"),
                ]
            },
            play: |session| excluded(session, "ranger", outside(session, Family::V4, 80)),
        },
        Scenario {
            name: "excluded_range_ipv6",
            happens: "the same over IPv6",
            recorded: "client: `bypassed` 1/0",
            finds: &[("sixranger", "MW-105")],
            pods: || {
                vec![
                    PodSpec::new("sixranger").excluding_outbound_range("fd77::90/124"),
                    PodSpec::new("server"),
                ]
            },
            play: |session| excluded(session, "sixranger", outside(session, Family::V6, 80)),
        },
        Scenario {
            name: "excluded_inbound_port",
            happens: "a connection from outside to a port of the app that is excluded from redirection",
            recorded: "server: `bypassed` 1/0",
            finds: &[("vault", "MW-102")],
            pods: || vec![PodSpec::new("vault").excluding_inbound(9100)],
            play: |session| excluded_inbound_port(session, "vault", Family::V4),
        },
        Scenario {
            name: "excluded_inbound_port_ipv6",
            happens: "the same over IPv6",
            recorded: "server: `bypassed` 1/0",
            finds: &[("sixvault", "MW-102")],
            pods: || vec![PodSpec::new("sixvault").excluding_inbound(9100)],
            play: |session| excluded_inbound_port(session, "sixvault", Family::V6),
        },
        Scenario {
            name: "refused",
            happens: "a connection past the sidecar is refused",
            recorded: "client: `outside` (`no_request`) 1/0",
            finds: &[],
            pods: || vec![PodSpec::new("refused")],
            play: |session| refused(session, "refused", Family::V4),
        },
        Scenario {
            name: "refused_ipv6",
            happens: "the same over IPv6",
            recorded: "client: `outside` (`no_request`) 1/0",
            finds: &[],
            pods: || vec![PodSpec::new("sixrefused")],
            play: |session| refused(session, "sixrefused", Family::V6),
        },
        Scenario {
            name: "proxys_container",
            happens: "another program connects from the proxy's container",
            recorded: "client: `bypassed` (`from_proxy_container`) 1/0",
            finds: &[],
            pods: Vec::new,
            play: |session| proxys_container(session, "hijacked", Family::V4),
        },
        Scenario {
            name: "proxys_container_ipv6",
            happens: "the same over IPv6",
            recorded: "client: `bypassed` (`from_proxy_container`) 1/0",
            finds: &[],
            pods: Vec::new,
            play: |session| proxys_container(session, "sixhijacked", Family::V6),
        },
        Scenario {
            name: "shared_source_port",
            happens: "two sockets share a source port (SO_REUSEPORT), one of them passes the sidecar by",
            recorded: "client: that one `bypassed` 1/0, the request of the other `matched`",
            finds: &[("sharer", "MW-105")],
            pods: || {
                vec![
                    PodSpec::new("sharer").excluding_outbound(9001),
                    PodSpec::new("server"),
                ]
            },
            play: |session| shared_source_port(session, "sharer", Family::V4),
        },
        Scenario {
            name: "shared_source_port_ipv6",
            happens: "the same over IPv6",
            recorded: "client: that one `bypassed` 1/0, the request of the other `matched`",
            finds: &[("sixsharer", "MW-105")],
            pods: || {
                vec![
                    PodSpec::new("sixsharer").excluding_outbound(9001),
                    PodSpec::new("server"),
                ]
            },
            play: |session| shared_source_port(session, "sixsharer", Family::V6),
        },
        Scenario {
            name: "hidden_among_many",
            happens: "one connection passes the sidecar by among a thousand requests that do not",
            recorded: "client: that one `bypassed` 1/0, the thousand `matched`",
            finds: &[("crowd", "MW-103")],
            pods: || vec![PodSpec::new("crowd"), PodSpec::new("server")],
            play: |session| hidden_among_many(session, "crowd", Family::V4),
        },
        Scenario {
            name: "hidden_among_many_ipv6",
            happens: "the same over IPv6",
            recorded: "client: that one `bypassed` 1/0, the thousand `matched`",
            finds: &[("sixcrowd", "MW-103")],
            pods: || vec![PodSpec::new("sixcrowd"), PodSpec::new("server")],
            play: |session| hidden_among_many(session, "sixcrowd", Family::V6),
        },
        Scenario {
            name: "straight_to_the_proxy",
            happens: "an app connects to 127.0.0.1:15001 and 127.0.0.1:15006 itself, where nothing is carried on",
            recorded: "client: `unlogged` 1/0 each",
            finds: &[("straight", "MW-004")],
            pods: || vec![PodSpec::new("straight"), PodSpec::new("server")],
            play: |session| straight_to_the_proxy(session, "straight", Ipv4Addr::LOCALHOST.into()),
        },
        Scenario {
            name: "straight_to_the_proxy_ipv6",
            happens: "the same to [::1]:15001 and [::1]:15006",
            recorded: "client: `unlogged` 1/0 each",
            finds: &[("sixstraight", "MW-004")],
            pods: || vec![PodSpec::new("sixstraight"), PodSpec::new("server")],
            play: |session| {
                straight_to_the_proxy(session, "sixstraight", Ipv6Addr::LOCALHOST.into())
            },
        },
    ],
};

fn thief() -> Vec<PodSpec> {
    vec![
        PodSpec::new("thief").excluding_outbound(9001),
        PodSpec::new("server"),
    ]
}

fn outside(session: &Session, family: Family, port: u16) -> SocketAddr {
    (family.of(session.lab.outside().addresses()), port).into()
}

/// Gets a page, whatever the proxy makes of it.
fn get(pod: &Pod, container: &str, user: User, to: SocketAddr) -> Result<()> {
    let url = format!("http://{to}/taken");
    let output = pod.run(container, user, ["curl", "-sS", "--fail", &url])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn went_to(record: &Record, to: SocketAddr) -> bool {
    record.server() == Some((&to.ip().to_string(), to.port()))
}

/// A connection straight to `to`.
fn direct(session: &Session, pod: &'static str, user: User, to: SocketAddr) -> Result<Judge> {
    get(session.lab.pod(pod), APP, user, to)?;
    judge(move |evidence| {
        let found = evidence.of(pod, &format!("connections to {to}"), |record| {
            went_to(record, to) && record.side() == "client"
        });
        found.are("bypassed")?.of_units(1, 0)?;
        for record in &found.records {
            let told = &record.value()["workload"]["user.id"];
            ensure!(*told == user.0, "{}", record.line());
        }
        Ok(())
    })
}

/// The same beside a request that the sidecar holds, to the same family: so it is an exclusion.
fn excluded(session: &Session, pod: &'static str, to: SocketAddr) -> Result<Judge> {
    let server = session.lab.pod("server").addresses();
    let server: IpAddr = if to.is_ipv6() {
        server.v6.into()
    } else {
        server.v4.into()
    };
    get(session.lab.pod(pod), APP, User::APP, (server, 8080).into())?;
    direct(session, pod, User::APP, to)
}

fn proxys_user(session: &mut Session) -> Result<Judge> {
    direct(
        session,
        "thief",
        User::PROXY,
        outside(session, Family::V4, 80),
    )
}

fn over_ipv6(session: &mut Session) -> Result<Judge> {
    let as_proxy = direct(
        session,
        "thief",
        User::PROXY,
        outside(session, Family::V6, 80),
    )?;
    let to_excluded = excluded(session, "thief", outside(session, Family::V6, 9001))?;
    judge(|evidence| {
        as_proxy(evidence)?;
        to_excluded(evidence)
    })
}

fn excluded_inbound_port(session: &Session, pod: &'static str, family: Family) -> Result<Judge> {
    let to = SocketAddr::new(family.of(session.lab.pod(pod).addresses()), 9100);
    let url = format!("http://{to}/taken");
    let output = session.lab.outside().run(["curl", "-sS", "--fail", &url])?;
    ensure!(output.status.success(), "{output:?}");
    judge(move |evidence| {
        evidence
            .of(pod, "connections in", |record| record.side() == "server")
            .are("bypassed")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn refused(session: &Session, pod: &'static str, family: Family) -> Result<Judge> {
    let to = outside(session, family, 81);
    ensure!(get(session.lab.pod(pod), APP, User::PROXY, to).is_err());
    judge(move |evidence| {
        evidence
            .of(pod, "connections", |record| record.side() == "client")
            .are("outside")?
            .with_reason("no_request")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn proxys_container(session: &mut Session, pod: &'static str, family: Family) -> Result<Judge> {
    // Which thread group is the proxy is known of pods that came after the agent.
    session.lab.add_pods([PodSpec::new(pod)])?;
    let to = outside(session, family, 80);
    get(session.lab.pod(pod), PROXY, User::PROXY, to)?;
    judge(move |evidence| {
        evidence
            .of(pod, "connections", |record| went_to(record, to))
            .are("bypassed")?
            .with_reason("from_proxy_container")?
            .of_units(1, 0)?;
        let pods = [PodSpec::new(pod)];
        evidence.nobody_else_is_accused(&pods)?;
        evidence.findings_are(&pods, &[(pod, "MW-104")].into())
    })
}

fn shared_source_port(session: &Session, pod: &'static str, family: Family) -> Result<Judge> {
    let to = outside(session, family, 9001);
    let server = SocketAddr::new(family.of(session.lab.pod("server").addresses()), 8080);
    let sharer = session.lab.pod(pod);
    get(sharer, APP, User::APP, server)?;
    let both = format!("{server},{to}");
    let responses = sharer.client(&["reuseport", &both, "/shared"])?;
    ensure!(responses.len() == 2);
    judge(move |evidence| {
        let found = evidence.of(pod, "connections out", |record| went_to(record, to));
        found.are("bypassed")?.of_units(1, 0)?;
        let port = |record: &Record| record.value()["attributes"]["client.port"].as_u64();
        let carried = evidence.http(pod, "client", "/shared/0");
        carried.are("matched")?.of_units(1, 1)?;
        ensure!(port(carried.records[0]) == port(found.records[0]));
        evidence
            .http("server", "server", "/shared/0")
            .are("matched")?;
        Ok(())
    })
}

fn hidden_among_many(session: &Session, pod: &'static str, family: Family) -> Result<Judge> {
    let lab = &session.lab;
    let path = format!("/{pod}");
    let server = SocketAddr::new(family.of(lab.pod("server").addresses()), 8080);
    let url = format!("http://{server}{path}");
    let words = ["h2load", "--h1", "-n", "1000", "-c", "10", &url];
    let crowd = lab.pod(pod);
    let load = crowd.spawn(APP, User::APP, words)?;
    let to = outside(session, family, 80);
    get(crowd, APP, User::PROXY, to)?;
    let output = load.output()?;
    ensure!(output.status.success(), "{output:?}");
    judge(move |evidence| {
        evidence
            .of(pod, "connections out", |record| went_to(record, to))
            .are("bypassed")?
            .of_units(1, 0)?;
        for (name, side) in [(pod, "client"), ("server", "server")] {
            let found = evidence.http(name, side, &path);
            found.are("matched")?.of_units(1000, 1000)?;
        }
        Ok(())
    })
}

fn straight_to_the_proxy(session: &Session, name: &'static str, itself: IpAddr) -> Result<Judge> {
    let pod = session.lab.pod(name);
    for port in [15001, 15006] {
        let to = SocketAddr::new(itself, port);
        ensure!(get(pod, APP, User::APP, to).is_err());
    }
    let addresses = session.lab.pod("server").addresses();
    let family = if itself.is_ipv6() {
        Family::V6
    } else {
        Family::V4
    };
    get(pod, APP, User::APP, (family.of(addresses), 8080).into())?;
    judge(move |evidence| {
        for port in [15001, 15006] {
            let to = SocketAddr::new(itself, port);
            evidence
                .of(name, &format!("records of {to}"), |record| {
                    went_to(record, to)
                })
                .are("unlogged")?
                .of_units(1, 0)?;
        }
        evidence
            .http(name, "client", "/taken")
            .of_verdict("matched")
            .of_units(1, 1)?;
        Ok(())
    })
}
