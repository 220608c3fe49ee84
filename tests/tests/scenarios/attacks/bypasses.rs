//! Traffic that its sidecar never touched.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{APP, PROXY, Pod, PodSpec},
    process::User,
    records::Record,
};

use crate::stage::{Chapter, Judge, Scenario, judge};

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
            play: |session| {
                let to = SocketAddr::new(session.lab.outside().addresses().v4.into(), 9001);
                excluded(session, "thief", to)
            },
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
            play: |session| {
                let to = SocketAddr::new(session.lab.outside().addresses().v4.into(), 80);
                excluded(session, "ranger", to)
            },
        },
        Scenario {
            name: "excluded_inbound_port",
            happens: "a connection from outside to a port of the app that is excluded from redirection",
            recorded: "server: `bypassed` 1/0",
            finds: &[("vault", "MW-102")],
            pods: || vec![PodSpec::new("vault").excluding_inbound(9100)],
            play: excluded_inbound_port,
        },
        Scenario {
            name: "refused",
            happens: "a connection past the sidecar is refused",
            recorded: "client: `outside` (`no_request`) 1/0",
            finds: &[],
            pods: || vec![PodSpec::new("refused")],
            play: refused,
        },
        Scenario {
            name: "proxys_container",
            happens: "another program connects from the proxy's container",
            recorded: "client: `bypassed` (`from_proxy_container`) 1/0",
            finds: &[],
            pods: Vec::new,
            play: proxys_container,
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
            play: shared_source_port,
        },
        Scenario {
            name: "hidden_among_many",
            happens: "one connection passes the sidecar by among a thousand requests that do not",
            recorded: "client: that one `bypassed` 1/0, the thousand `matched`",
            finds: &[("crowd", "MW-103")],
            pods: || vec![PodSpec::new("crowd"), PodSpec::new("server")],
            play: hidden_among_many,
        },
        Scenario {
            name: "straight_to_the_proxy",
            happens: "an app connects to 127.0.0.1:15001 and 127.0.0.1:15006 itself, where nothing is carried on",
            recorded: "client: `unlogged` 1/0 each",
            finds: &[("straight", "MW-004")],
            pods: || vec![PodSpec::new("straight"), PodSpec::new("server")],
            play: straight_to_the_proxy,
        },
    ],
};

fn thief() -> Vec<PodSpec> {
    vec![
        PodSpec::new("thief").excluding_outbound(9001),
        PodSpec::new("server"),
    ]
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
    let to = SocketAddr::new(session.lab.outside().addresses().v4.into(), 80);
    direct(session, "thief", User::PROXY, to)
}

fn over_ipv6(session: &mut Session) -> Result<Judge> {
    let address = session.lab.outside().addresses().v6;
    let as_proxy = direct(session, "thief", User::PROXY, (address, 80).into())?;
    let to_excluded = excluded(session, "thief", (address, 9001).into())?;
    judge(|evidence| {
        as_proxy(evidence)?;
        to_excluded(evidence)
    })
}

fn excluded_inbound_port(session: &mut Session) -> Result<Judge> {
    let to = SocketAddr::new(session.lab.pod("vault").addresses().v4.into(), 9100);
    let url = format!("http://{to}/taken");
    let output = session.lab.outside().run(["curl", "-sS", "--fail", &url])?;
    ensure!(output.status.success(), "{output:?}");
    judge(move |evidence| {
        evidence
            .of("vault", "connections in", |record| {
                record.side() == "server"
            })
            .are("bypassed")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn refused(session: &mut Session) -> Result<Judge> {
    let to = SocketAddr::new(session.lab.outside().addresses().v4.into(), 81);
    let pod = session.lab.pod("refused");
    ensure!(get(pod, APP, User::PROXY, to).is_err());
    judge(|evidence| {
        evidence
            .of("refused", "connections", |record| record.side() == "client")
            .are("outside")?
            .with_reason("no_request")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn proxys_container(session: &mut Session) -> Result<Judge> {
    // Which thread group is the proxy is known of pods that came after the agent.
    session.lab.add_pods([PodSpec::new("hijacked")])?;
    let to = SocketAddr::new(session.lab.outside().addresses().v4.into(), 80);
    get(session.lab.pod("hijacked"), PROXY, User::PROXY, to)?;
    judge(move |evidence| {
        evidence
            .of("hijacked", "connections", |record| went_to(record, to))
            .are("bypassed")?
            .with_reason("from_proxy_container")?
            .of_units(1, 0)?;
        let pods = [PodSpec::new("hijacked")];
        evidence.nobody_else_is_accused(&pods)?;
        evidence.findings_are(&pods, &[("hijacked", "MW-104")].into())
    })
}

fn shared_source_port(session: &mut Session) -> Result<Judge> {
    let outside = session.lab.outside().addresses().v4;
    let server = session.lab.pod("server").addresses().v4;
    let sharer = session.lab.pod("sharer");
    get(sharer, APP, User::APP, (server, 8080).into())?;
    let both = format!("{server}:8080,{outside}:9001");
    let responses = session
        .lab
        .pod("sharer")
        .client(&["reuseport", &both, "/shared"])?;
    ensure!(responses.len() == 2);
    judge(move |evidence| {
        let to = SocketAddr::new(outside.into(), 9001);
        let found = evidence.of("sharer", "connections out", |record| went_to(record, to));
        found.are("bypassed")?.of_units(1, 0)?;
        let port = |record: &Record| record.value()["attributes"]["client.port"].as_u64();
        let carried = evidence.http("sharer", "client", "/shared/0");
        carried.are("matched")?.of_units(1, 1)?;
        ensure!(port(carried.records[0]) == port(found.records[0]));
        evidence
            .http("server", "server", "/shared/0")
            .are("matched")?;
        Ok(())
    })
}

fn hidden_among_many(session: &mut Session) -> Result<Judge> {
    let lab = &session.lab;
    let url = format!("http://{}:8080/crowd", lab.pod("server").addresses().v4);
    let words = ["h2load", "--h1", "-n", "1000", "-c", "10", &url];
    let crowd = lab.pod("crowd");
    let load = crowd.spawn(APP, User::APP, words)?;
    let to = SocketAddr::new(lab.outside().addresses().v4.into(), 80);
    get(crowd, APP, User::PROXY, to)?;
    let output = load.output()?;
    ensure!(output.status.success(), "{output:?}");
    judge(move |evidence| {
        evidence
            .of("crowd", "connections out", |record| went_to(record, to))
            .are("bypassed")?
            .of_units(1, 0)?;
        for (pod, side) in [("crowd", "client"), ("server", "server")] {
            let found = evidence.http(pod, side, "/crowd");
            found.are("matched")?.of_units(1000, 1000)?;
        }
        Ok(())
    })
}

fn straight_to_the_proxy(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("straight");
    for port in [15001, 15006] {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        ensure!(get(pod, APP, User::APP, to).is_err());
    }
    let server = session.lab.pod("server").addresses().v4;
    get(pod, APP, User::APP, (server, 8080).into())?;
    judge(move |evidence| {
        for port in [15001, 15006] {
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            evidence
                .of("straight", &format!("records of {to}"), |record| {
                    went_to(record, to)
                })
                .are("unlogged")?
                .of_units(1, 0)?;
        }
        evidence
            .http("straight", "client", "/taken")
            .of_verdict("matched")
            .of_units(1, 1)?;
        Ok(())
    })
}
