//! Traffic that no redirection covers: UDP, QUIC, raw sockets.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    network::Addresses,
    pod::{APP, PROXY, Pod, PodSpec, wait_for_datagram_socket},
    process::{Process, User},
    records::Record,
};

use crate::{
    evidence::Found,
    stage::{Chapter, Judge, Scenario, judge},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Datagrams and raw sockets, which no sidecar sees",
    scenarios: &[
        Scenario {
            name: "unproxied_udp",
            happens: "an app exchanges datagrams with a host outside, over IPv4 and IPv6",
            recorded: "client: `bypassed` 1/0 each, with the bytes of both ways",
            finds: &[("talker", "MW-109")],
            pods: || vec![PodSpec::new("talker")],
            play: unproxied_udp,
        },
        Scenario {
            name: "unproxied_udp_inbound",
            happens: "a host outside sends an app datagrams, over IPv4 and IPv6, and has answers",
            recorded: "server: `bypassed` 1/0 each",
            finds: &[("taker", "MW-109")],
            pods: || vec![PodSpec::new("taker")],
            play: unproxied_udp_inbound,
        },
        Scenario {
            name: "unproxied_quic",
            happens: "an app sends an Initial packet of QUIC, versions 1 and 2, over IPv4 and IPv6",
            recorded: "client: `bypassed` 1/0 each, `network.protocol.name` quic",
            finds: &[("quick", "MW-110")],
            pods: || vec![PodSpec::new("quick")],
            play: unproxied_quic,
        },
        Scenario {
            name: "public_resolver",
            happens: "an app asks a public resolver for a name, over IPv4 and IPv6",
            recorded: "client: `bypassed` 1/0 each",
            finds: &[("leak", "MW-109")],
            pods: || vec![PodSpec::new("leak")],
            play: public_resolver,
        },
        Scenario {
            name: "raw_socket",
            happens: "a program with NET_RAW makes a raw socket of each family",
            recorded: "client: a connection of 0/0 each, `bypassed`",
            finds: &[("crafty", "MW-114")],
            pods: || vec![PodSpec::new("crafty")],
            play: raw_socket,
        },
    ],
};

/// The odd ones, of which none accuses.
pub(crate) const ODDITIES: Chapter = Chapter {
    title: "Datagrams that are nobody's fault",
    scenarios: &[
        Scenario {
            name: "cluster_dns",
            happens: "an app asks a resolver at a private address, over IPv4 and IPv6",
            recorded: "client: `outside` 1/0 each, `dns`",
            finds: &[],
            pods: || vec![PodSpec::new("asker")],
            play: cluster_dns,
        },
        Scenario {
            name: "redirected_dns",
            happens: "an app's question to a public resolver is redirected to pilot-agent (15053)",
            recorded: "client: `outside` 1/0, `dns`, with the answer's bytes",
            finds: &[],
            pods: || vec![PodSpec::new("captured")],
            play: redirected_dns,
        },
        Scenario {
            name: "internal_datagrams",
            happens: "two programs of a pod exchange datagrams on `127.0.0.1` and `::1`",
            recorded: "client: `outside` 1/0 each, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("chatty")],
            play: internal_datagrams,
        },
    ],
};

/// A question for the address of example.com.
const QUESTION: &str =
    r"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
const QUESTION_BYTES: u64 = 29;

/// Long headers with two connection ids of eight bytes (RFC 9000 section 17.2.2, RFC 9369).
const QUIC: [&str; 2] = [
    r"\xc3\x00\x00\x00\x01\x0812345678\x0887654321\x00\x44\x9e",
    r"\xd3\x6b\x33\x43\xcf\x0812345678\x0887654321\x00\x44\x9e",
];
/// The least that a client's first datagram has (RFC 9000 section 14.1).
const QUIC_BYTES: &str = "1200";

/// Where documentation has its addresses (RFC 5737, RFC 3849).
const PUBLIC: [&str; 2] = ["203.0.113.53:53", "[2001:db8::53]:53"];

const PORT: u16 = 4000;

fn both(addresses: Addresses, port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::new(addresses.v4.into(), port),
        SocketAddr::new(addresses.v6.into(), port),
    ]
}

/// Sends `text` from the app, filled up to `bytes`, for so many answers.
fn send(pod: &Pod, to: &str, text: &str, bytes: &str, answers: &str) -> Result<()> {
    let words = ["datagrams", to, text, bytes, answers];
    ensure!(pod.client(&words)?.is_empty());
    Ok(())
}

/// A program outside that answers datagrams.
fn answers_outside(session: &Session, pod: &str, port: u16) -> Result<Process> {
    let helper = session.lab.pod(pod).helper().to_owned();
    let port_word = port.to_string();
    let words = [
        helper.as_os_str(),
        "serve".as_ref(),
        "datagrams".as_ref(),
        port_word.as_ref(),
    ];
    let server = session.lab.outside().place(User::ROOT).spawn(words)?;
    wait_for_datagram_socket(server.id(), port)?;
    Ok(server)
}

/// The one record of a flow that is a unit, with this peer.
fn flow<'a>(
    evidence: &'a crate::evidence::Evidence,
    pod: &str,
    side: &'static str,
    peer: SocketAddr,
) -> Result<Found<'a>> {
    let found = evidence.of(pod, &format!("flows with {peer}"), |record| {
        let of_peer = match side {
            "client" => ("/attributes/server.address", "/attributes/server.port"),
            _ => ("/attributes/client.address", "/attributes/client.port"),
        };
        let value = record.value();
        let address = value["attributes"][of_peer.0.trim_start_matches("/attributes/")].as_str();
        let port = value["attributes"][of_peer.1.trim_start_matches("/attributes/")].as_u64();
        record.kind() == "connection"
            && record.side() == side
            && record.units().observed > 0
            && address == Some(&peer.ip().to_string())
            && (side == "server" || port == Some(peer.port().into()))
            && value["attributes"]["network.transport"] == "udp"
    });
    ensure!(
        found.records.len() == 1,
        "{} flows with {peer}",
        found.records.len()
    );
    Ok(found)
}

fn has_bytes(found: &Found<'_>, sent: u64, received: u64) -> Result<()> {
    for record in &found.records {
        let connection = &record.value()["connection"];
        ensure!(
            connection["bytes_sent"] == sent && connection["bytes_received"] == received,
            "{}",
            record.line()
        );
    }
    Ok(())
}

fn unproxied_udp(session: &mut Session) -> Result<Judge> {
    let server = answers_outside(session, "talker", PORT)?;
    let peers = both(session.lab.outside().addresses(), PORT);
    for to in peers {
        send(
            session.lab.pod("talker"),
            &to.to_string(),
            "stolen",
            "0",
            "3",
        )?;
    }
    drop(server);
    judge(move |evidence| {
        for to in peers {
            let found = flow(evidence, "talker", "client", to)?;
            found.are("bypassed")?.of_units(1, 0)?;
            has_bytes(&found, 18, 18)?;
        }
        Ok(())
    })
}

fn unproxied_udp_inbound(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("taker");
    let helper = pod.helper().to_owned();
    let port = PORT.to_string();
    let server = pod.spawn(
        APP,
        User::APP,
        [
            helper.as_os_str(),
            "serve".as_ref(),
            "datagrams".as_ref(),
            port.as_ref(),
        ],
    )?;
    wait_for_datagram_socket(server.id(), PORT)?;
    for to in both(pod.addresses(), PORT) {
        let to = to.to_string();
        let words = ["datagrams", &to, "unasked", "0", "2"];
        let words = [helper.to_str().context("a path of text")?]
            .into_iter()
            .chain(words);
        let output = session.lab.outside().run(words)?;
        ensure!(output.status.success(), "{output:?}");
    }
    drop(server);
    let peers = both(session.lab.outside().addresses(), 0);
    judge(move |evidence| {
        for from in peers {
            let found = flow(evidence, "taker", "server", from)?;
            found.are("bypassed")?.of_units(1, 0)?;
            has_bytes(&found, 14, 14)?;
        }
        Ok(())
    })
}

fn unproxied_quic(session: &mut Session) -> Result<Judge> {
    let mut peers = Vec::new();
    for (packet, port) in QUIC.iter().zip([443, 8443]) {
        for to in both(session.lab.outside().addresses(), port) {
            send(
                session.lab.pod("quick"),
                &to.to_string(),
                packet,
                QUIC_BYTES,
                "0",
            )?;
            peers.push(to);
        }
    }
    judge(move |evidence| {
        for to in peers {
            let found = flow(evidence, "quick", "client", to)?;
            found.are("bypassed")?.of_units(1, 0)?;
            has_bytes(&found, 1200, 0)?;
            for record in &found.records {
                let protocol = &record.value()["attributes"]["network.protocol.name"];
                ensure!(protocol == "quic", "{}", record.line());
            }
        }
        Ok(())
    })
}

fn public_resolver(session: &mut Session) -> Result<Judge> {
    for to in PUBLIC {
        send(session.lab.pod("leak"), to, QUESTION, "0", "0")?;
    }
    judge(|evidence| {
        for to in PUBLIC {
            let found = flow(evidence, "leak", "client", to.parse()?)?;
            found.are("bypassed")?.of_units(1, 0)?;
            has_bytes(&found, QUESTION_BYTES, 0)?;
        }
        Ok(())
    })
}

fn raw_socket(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("crafty");
    let words = [pod.helper().as_os_str(), "raw-sockets".as_ref()];
    let output = pod.run(APP, User::ROOT, words)?;
    ensure!(output.status.success(), "{output:?}");
    judge(|evidence| {
        let found = evidence.of("crafty", "raw sockets", Record::accuses);
        found.are("bypassed")?.of_units(0, 0)?;
        let protocols: Vec<String> = found
            .records
            .iter()
            .map(|record| record.text("/attributes/network.protocol.name"))
            .collect();
        ensure!(protocols == ["icmp", "icmpv6"], "{protocols:?}");
        for record in &found.records {
            ensure!(
                record.value()["workload"]["user.id"] == 0,
                "{}",
                record.line()
            );
        }
        Ok(())
    })
}

fn is_outside(found: &Found<'_>, reason: &str) -> Result<()> {
    found.are("outside")?.with_reason(reason)?.of_units(1, 0)?;
    Ok(())
}

fn cluster_dns(session: &mut Session) -> Result<Judge> {
    let server = answers_outside(session, "asker", 53)?;
    let resolvers = both(session.lab.outside().addresses(), 53);
    for to in resolvers {
        send(
            session.lab.pod("asker"),
            &to.to_string(),
            QUESTION,
            "0",
            "1",
        )?;
    }
    drop(server);
    judge(move |evidence| {
        for to in resolvers {
            let found = flow(evidence, "asker", "client", to)?;
            is_outside(&found, "dns")?;
            has_bytes(&found, QUESTION_BYTES, QUESTION_BYTES)?;
        }
        Ok(())
    })
}

fn redirected_dns(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("captured");
    let rule = "iptables -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053";
    let output = pod.run(APP, User::ROOT, rule.split(' '))?;
    ensure!(output.status.success(), "{output:?}");
    let words = [
        pod.helper().as_os_str(),
        "serve".as_ref(),
        "datagrams".as_ref(),
        "15053".as_ref(),
    ];
    let server = pod.spawn(PROXY, User::PROXY, words)?;
    wait_for_datagram_socket(server.id(), 15053)?;
    send(pod, PUBLIC[0], QUESTION, "0", "1")?;
    drop(server);
    judge(|evidence| {
        let found = evidence.of("captured", "flows", |record| record.units().observed > 0);
        is_outside(&found, "dns")?;
        ensure!(found.records.len() == 1, "{:?}", found.records);
        has_bytes(&found, QUESTION_BYTES, QUESTION_BYTES)
    })
}

fn internal_datagrams(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("chatty");
    let port = PORT.to_string();
    let words = [
        pod.helper().as_os_str(),
        "serve".as_ref(),
        "datagrams".as_ref(),
        port.as_ref(),
    ];
    let server = pod.spawn(APP, User::APP, words)?;
    wait_for_datagram_socket(server.id(), PORT)?;
    let peers: [SocketAddr; 2] = ["127.0.0.1:4000".parse()?, "[::1]:4000".parse()?];
    for to in peers {
        send(pod, &to.to_string(), "psst", "0", "2")?;
    }
    drop(server);
    judge(move |evidence| {
        for to in peers {
            let found = flow(evidence, "chatty", "client", to)?;
            is_outside(&found, "pod_internal")?;
            has_bytes(&found, 8, 8)?;
        }
        Ok(())
    })
}
