//! Connections that a sidecar takes no further than its listener.

use anyhow::{Result, ensure};
use lab::{
    Session,
    books::Units,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, clusters, listener},
    },
    pod::{PROXY, PodSpec},
};
use serde_json::{Value, json};

use crate::{
    evidence::Found,
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, PATIENCE, Way, endpoint_of, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Connections that go no further than a listener",
    scenarios: &[
        Scenario {
            name: "no_chain_inbound",
            happens: "no filter chain of the server's sidecar takes a connection: its listener logs `NR`",
            recorded: "server: `proxy_answered` 0/1; client: a connection `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("chaining"),
                    PodSpec::new("unchained").editing(|config, _| leave_out(config, INBOUND)),
                ]
            },
            play: |session| no_chain(session, "chaining", "unchained", true),
        },
        Scenario {
            name: "no_chain_outbound",
            happens: "no filter chain of the client's sidecar takes a connection: its listener logs `NR`",
            recorded: "client: a connection `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("unled").editing(|config, _| leave_out(config, OUTBOUND)),
                    PodSpec::new("b"),
                ]
            },
            play: |session| no_chain(session, "unled", "b", false),
        },
        Scenario {
            name: "handshake_without_certificate",
            happens: "a host outside begins TLS with the server's sidecar and has no certificate; Envoy writes a line if it takes the bytes for TCP",
            recorded: "server: that line `matched` 1/1, or `proxy_answered` 0/1 where it does not say how the sidecar reached the app",
            finds: &[],
            // Alone: what is judged is all that a host outside did to it.
            pods: || vec![PodSpec::new("guarded")],
            play: without_certificate,
        },
        Scenario {
            name: "handshake_with_a_stranger",
            happens: "the client's sidecar does not know the certificate of the server's: 503 `UF`",
            recorded: "client: `matched` 1/1; server: nothing",
            finds: &[],
            pods: || vec![PodSpec::new("wary").editing(distrust), PodSpec::new("b")],
            play: with_a_stranger,
        },
    ],
};

/// A port of which no chain of these listeners takes anything.
const PORT: u16 = 7011;
/// What no inspector takes for HTTP or TLS.
const BYTES: &str = r"\x01\x02\x03\x04\x05\x06\x07\x08\n";

/// Leaves only the chains for ports that are named, as where no passthrough is configured.
fn leave_out(config: &mut Value, name: &str) {
    let listener = listener(config, name);
    if let Some(listener) = listener.as_object_mut() {
        listener.remove("default_filter_chain");
    }
    if let Some(chains) = listener["filter_chains"].as_array_mut() {
        chains.retain(|chain| chain["filter_chain_match"]["destination_port"].is_number());
    }
}

fn no_chain(
    session: &Session,
    client: &'static str,
    server: &'static str,
    inbound: bool,
) -> Result<Judge> {
    let proxy = if inbound { server } else { client };
    for family in Family::ALL {
        let to = endpoint_of(family, session.lab.pod(server), PORT);
        let pod = session.lab.pod(client);
        // The sidecar may reset what is sent after it closed.
        let _sent = pod.client(&["bytes", &to, BYTES, "500"]);
        let log = &session.lab.pod(proxy).container(PROXY).log;
        let line = log.wait_for(PATIENCE, |line| line.contains(&format!("{to} ")))?;
        ensure!(line.contains(" 0 NR "), "{line}");
    }
    judge(move |evidence| {
        for pod in [client, server] {
            let found = evidence.of(pod, "connections", |record| {
                record.kind() == "connection"
                    && record.server().is_some_and(|(_, port)| port == PORT)
            });
            if pod == client {
                found.are("matched")?.of_units(2, 2)?;
            } else if inbound {
                found.are("proxy_answered")?.of_units(0, 2)?;
            } else {
                ensure!(found.records.is_empty(), "{server} had connections");
            }
        }
        Ok(())
    })
}

fn without_certificate(session: &mut Session) -> Result<Judge> {
    for way in Way::ALL {
        let to = way.socket(session.lab.pod("guarded").addresses());
        // The protocols by which the sidecar tells requests of its mesh, and bytes.
        for protocol in ["istio-http/1.1", "istio"] {
            let to = to.to_string();
            let words = ["openssl", "s_client", "-connect", &to, "-alpn", protocol];
            // With TLS 1.3 the client does not wait to be refused.
            session.lab.outside().run(words)?;
        }
    }
    // Its sidecar may have reached the app by then, and may have written so in its line.
    judge(|evidence| {
        let lines = evidence.lines("guarded", " inbound|")?.len();
        let reached = |from| Ok::<_, anyhow::Error>(evidence.lines("guarded", from)?.len());
        let reached = reached("127.0.0.6:")? + reached("[::6]:")?;
        let found = evidence.of("guarded", "units", |record| {
            record.units() != Units::default()
        });
        let logged =
            |found: &Found<'_>| -> i64 { found.records.iter().map(|it| it.units().logged).sum() };
        let in_all = (logged(&found), logged(&found.of_verdict("matched")));
        ensure!(
            in_all == (i64::try_from(lines)?, i64::try_from(reached)?),
            "{in_all:?} of {lines} lines, {reached} of which name their way to the app"
        );
        Ok(())
    })
}

/// The other sidecar must be somebody whom it is not.
fn distrust(config: &mut Value, _: &Sidecar<'_>) {
    let in_the_mesh = |cluster: &&mut Value| cluster["transport_socket"].is_object();
    for cluster in clusters(config).iter_mut().filter(in_the_mesh) {
        let context = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
        if let Some(context) = context["validation_context"].as_object_mut() {
            let other = json!([{ "san_type": "URI", "matcher": { "exact": "spiffe://other" } }]);
            context.insert("match_typed_subject_alt_names".to_owned(), other);
        }
    }
}

fn with_a_stranger(session: &mut Session) -> Result<Judge> {
    let base = "/stranger";
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "wary", "b", &path, &[])?;
        ensure!(received == 503, "{path}: expected 503, got {received}");
    }
    judge(move |evidence| {
        for way in Way::ALL {
            let path = way.path(base);
            let lines = evidence.lines("wary", &path)?;
            ensure!(lines.iter().all(|line| line.contains(" UF")), "{lines:?}");
            matched(evidence, "wary", "client", &path)?;
            ensure!(evidence.lines("b", &path)?.is_empty());
        }
        Ok(())
    })
}
