//! Plaintext where mutual TLS should be, and a line about another server.

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    envoy::Sidecar,
    pod::{PROXY, PodSpec},
};
use serde_json::Value;

use super::tamper::met;
use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    tls::{SERVER_NAME, TLS_PORT, ask_over_tls, of_app, serve_tls},
    traffic::{get, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "TLS that is left out, or told otherwise",
    scenarios: &[
        Scenario {
            name: "plaintext_leg",
            happens: "a sidecar is made to send in plaintext to another, which takes it; its log says nothing of it",
            recorded: "both sides: `matched` 1/1 each; the sender's leg: `tls.established` is false",
            finds: &[("plain", "MW-112")],
            pods: || {
                vec![
                    PodSpec::new("plain").editing(without_tls),
                    PodSpec::new("permissive"),
                ]
            },
            play: plaintext_leg,
        },
        Scenario {
            name: "forged_server_name",
            happens: "the server name is changed in the line of a connection on which the app speaks TLS",
            recorded: "client: `mismatched` 1/1, which names the field; server: `matched`",
            finds: &[("asker", "MW-007")],
            pods: || {
                vec![
                    PodSpec::new("asker"),
                    PodSpec::new("tlsserver").naming(TLS_PORT),
                ]
            },
            play: forged_server_name,
        },
    ],
};

/// As a DestinationRule with `tls: { mode: DISABLE }` does it.
fn without_tls(config: &mut Value, _: &Sidecar<'_>) {
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        if let Some(cluster) = cluster.as_object_mut() {
            cluster.remove("transport_socket");
        }
    }
}

fn plaintext_leg(session: &mut Session) -> Result<Judge> {
    for number in 0..3 {
        let path = format!("/plain/{number}");
        ensure!(get(session, "plain", "permissive", &path, &[])? == 200);
    }
    wait_for_line(session, "permissive", "/plain/2")?;
    judge(|evidence| {
        for number in 0..3 {
            let path = format!("/plain/{number}");
            matched_at_both(evidence, "plain", "permissive", &path)?;
        }
        let found = evidence
            .records
            .find(|record| record.kind() == "finding" && record.text("/finding/id") == "MW-112");
        let last = found.last().map(|record| record.value());
        let named = last
            .as_ref()
            .and_then(|last| last["finding"]["records"].as_array());
        let named = named.map_or(&[][..], Vec::as_slice);
        ensure!(!named.is_empty(), "no record is named");
        for id in named {
            let named = evidence
                .records
                .find(|record| Some(record.id()) == id.as_str());
            let [record] = named[..] else {
                anyhow::bail!("{id} was not received once");
            };
            let value = record.value();
            ensure!(
                record.side() == "proxy"
                    && record.pod() == "plain"
                    && record.kind() == "connection"
                    && value["attributes"]["tls.established"] == false,
                "{}",
                record.line()
            );
        }
        Ok(())
    })
}

fn forged_server_name(session: &mut Session) -> Result<Judge> {
    let _server = serve_tls(session, "tlsserver")?;
    let (name, other) = (SERVER_NAME.to_lowercase(), "elsewhere.example");
    let is_meant = {
        let name = name.clone();
        move |line: &str| line.contains(&name)
    };
    let fault = Fault::Edit(Box::new(move |line| line.replace(&name, other)));
    let log = &session.lab.pod("asker").container(PROXY).log;
    let fault = log.inject(0, is_meant, fault);
    ask_over_tls(session, "asker", "tlsserver")?;
    met(&fault)?;
    judge(move |evidence| {
        let found = of_app(evidence, "asker");
        found.are("mismatched")?.are_as_many_as(1)?.of_units(1, 1)?;
        let fields = found.records[0].differing_fields();
        ensure!(
            fields == ["tls.client.server_name"],
            "{}",
            found.records[0].line()
        );
        ensure!(found.records[0].text("/differences/0/log") == other);
        of_app(evidence, "tlsserver")
            .are("matched")?
            .of_units(1, 1)?;
        Ok(())
    })
}
