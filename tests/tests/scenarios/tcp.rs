//! What is carried as bytes.

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, listener, tcp_proxies},
    },
    pod::PodSpec,
    records::Record,
};
use serde_json::{Value, json};

use crate::{
    evidence::{Evidence, Found},
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, endpoint, endpoint_of, get, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What is carried as bytes",
    scenarios: &[
        Scenario {
            name: "tcp_bytes",
            happens: "three connections of each family with 100 kB each way; the lines count the bytes",
            recorded: "both sides: connections, `matched` 1/1 each",
            finds: &[],
            pods: || vec![PodSpec::new("a"), PodSpec::new("echo").naming(MESH_PORT)],
            play: |session| transferred(session, ["a", "echo"], MESH_PORT),
        },
        Scenario {
            name: "tcp_passthrough",
            happens: "the same to a port that no service names, for which the sidecar has no mutual TLS",
            recorded: "both sides: connections, `matched` 1/1 each",
            finds: &[],
            pods: || vec![PodSpec::new("passer"), PodSpec::new("passed")],
            play: |session| transferred(session, ["passer", "passed"], UNNAMED_PORT),
        },
        Scenario {
            name: "http_as_tcp",
            happens: "three requests on a connection that both sidecars carry as bytes",
            recorded: "both sides: a connection `matched` 1/1, `logged_as_tcp`; its `http` records 0/0",
            finds: &[("bytesclient", "MW-010"), ("bytesserver", "MW-010")],
            pods: || {
                vec![
                    PodSpec::new("bytesclient").editing(carry_bytes),
                    PodSpec::new("bytesserver").editing(carry_bytes),
                ]
            },
            play: http_as_tcp,
        },
        Scenario {
            name: "http_as_tcp_beside_http",
            happens: "a sidecar carries a port as HTTP for one client, as bytes for another who stays",
            recorded: "server: `unlogged`, then revised: a connection `matched` 1/1, `logged_as_tcp`, `late_line`",
            finds: &[("rawclient", "MW-010"), ("mixed", "MW-010")],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("rawclient").editing(carry_bytes),
                    PodSpec::new("mixed"),
                ]
            },
            play: http_as_tcp_beside_http,
        },
        Scenario {
            name: "bytes_to_http_app",
            happens: "the client sends bytes to a port for HTTP; the app answers 400 all the same",
            recorded: "both sides: a connection `matched` 1/1, `logged_as_tcp`",
            finds: &[("a", "MW-010"), ("b", "MW-010")],
            pods: || vec![PodSpec::new("a"), PodSpec::new("b")],
            play: bytes_to_http_app,
        },
        Scenario {
            name: "tcp_flag_dt",
            happens: "a connection reaches the longest duration that a sidecar allows: `DT`",
            recorded: "both sides: connections, `matched` 1/1 each",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("sitter"),
                    PodSpec::new("shortlived").editing(|config, _| end_soon(config, OUTBOUND)),
                    PodSpec::new("sitterecho").naming(HASTY_PORT),
                    PodSpec::new("hastyecho")
                        .naming(HASTY_PORT)
                        .editing(|config, _| end_soon(config, INBOUND)),
                ]
            },
            play: longest_duration,
        },
        Scenario {
            name: "tcp_refused_outside",
            happens: "nobody listens at the host outside the mesh",
            recorded: "client: a connection, `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("a")],
            play: refused_outside,
        },
        Scenario {
            name: "tcp_refused_by_app",
            happens: "nobody listens on the port of the app",
            recorded: "server: `proxy_answered` 0/1; client: a connection, `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("refuser").naming(CLOSED_PORT),
                ]
            },
            play: refused_by_app,
        },
    ],
};

const MESH_PORT: u16 = 7001;
const UNNAMED_PORT: u16 = 7002;
/// Where connections last half a second.
const HASTY_PORT: u16 = 7012;
/// Client and server, and whose sidecar it is that ends them.
const HASTY: [(&str, &str, &str); 2] = [
    ("shortlived", "sitterecho", "shortlived"),
    ("sitter", "hastyecho", "hastyecho"),
];
/// Nobody listens there, in pods and outside.
const CLOSED_PORT: u16 = 9996;
/// What no inspector takes for HTTP or TLS, long enough for both to say so.
const BYTES: &str = r"\x01\x02\x03\x04\x05\x06\x07\x08\n";

/// Leaves only the chains that carry bytes, as for a service whose port is named `tcp-…`.
fn carry_bytes(config: &mut Value, _: &Sidecar<'_>) {
    for name in [OUTBOUND, INBOUND] {
        let listener = listener(config, name);
        if let Some(chains) = listener["filter_chains"].as_array_mut() {
            chains.retain(|chain| !chain.to_string().contains("http_connection_manager"));
        }
        if let Some(filters) = listener["listener_filters"].as_array_mut() {
            filters.retain(|filter| filter["name"] != "envoy.filters.listener.http_inspector");
        }
    }
}

fn connections<'a>(evidence: &'a Evidence, pod: &str, port: u16) -> Found<'a> {
    evidence.of(pod, "connections", move |record: &Record| {
        record.kind() == "connection" && record.server().is_some_and(|(_, found)| found == port)
    })
}

fn transferred(session: &Session, pods: [&'static str; 2], port: u16) -> Result<Judge> {
    let [client, server] = pods;
    let server = session.lab.pod(server);
    let _echo = server.serve("echo", port)?;
    let client = session.lab.pod(client);
    for family in Family::ALL {
        let to = endpoint_of(family, server, port);
        client.client(&["transfer", &to, "3", "100000"])?;
    }
    judge(move |evidence| {
        for pod in pods {
            let lines = evidence.lines(pod, " 100000 100000 ")?;
            let of_port = format!(":{port} ");
            let lines = lines.iter().filter(|line| line.contains(&of_port)).count();
            ensure!(lines == 6, "{pod} has {lines} lines");
            let found = connections(evidence, pod, port);
            found.are("matched")?.are_as_many_as(6)?.of_units(6, 6)?;
        }
        Ok(())
    })
}

fn end_soon(config: &mut Value, name: &str) {
    for proxy in tcp_proxies(config, name) {
        proxy["max_downstream_connection_duration"] = json!("0.5s");
    }
}

fn longest_duration(session: &mut Session) -> Result<Judge> {
    for (client, server, proxy) in HASTY {
        let _echo = session.lab.pod(server).serve("echo", HASTY_PORT)?;
        for family in Family::ALL {
            let to = endpoint_of(family, session.lab.pod(server), HASTY_PORT);
            let client = session.lab.pod(client);
            client.client(&["bytes", &to, BYTES, "1500"])?;
            let line = wait_for_line(session, proxy, &format!("{to} "))?;
            ensure!(line.contains(" DT "), "{line}");
        }
    }
    judge(|evidence| {
        for (client, server, _) in HASTY {
            for pod in [client, server] {
                let found = connections(evidence, pod, HASTY_PORT);
                found.are("matched")?.are_as_many_as(2)?.of_units(2, 2)?;
            }
        }
        Ok(())
    })
}

fn http_as_tcp(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "bytesserver", 8080);
    let script = json!([
        { "path": "/as-tcp" },
        { "path": "/as-tcp" },
        { "method": "POST", "path": "/upload/as-tcp", "body": "some" },
    ]);
    let client = session.lab.pod("bytesclient");
    client.client(&["requests", &server, &script.to_string()])?;
    wait_for_line(session, "bytesserver", "\"- - -\" 0 ")?;
    judge(|evidence| {
        for (pod, side) in [("bytesclient", "client"), ("bytesserver", "server")] {
            let found = connections(evidence, pod, 8080);
            found
                .are("matched")?
                .with_reason("logged_as_tcp")?
                .are_as_many_as(1)?
                .of_units(1, 1)?;
            evidence
                .http(pod, side, "/as-tcp")
                .are("matched")?
                .are_as_many_as(2)?
                .of_units(0, 0)?;
            evidence
                .http(pod, side, "/upload/as-tcp")
                .are("matched")?
                .of_units(0, 0)?;
        }
        Ok(())
    })
}

fn http_as_tcp_beside_http(session: &mut Session) -> Result<Judge> {
    ensure!(get(session, "a", "mixed", "/as-http", &[])? == 200);
    let server = endpoint(session, "mixed", 8080);
    let head = r"GET /beside HTTP/1.1\r\nhost: mixed\r\n\r\n";
    // Past the time by which the line of an exchange must have come.
    let client = session.lab.pod("rawclient");
    client.client(&["bytes", &server, head, "8000"])?;
    wait_for_line(session, "mixed", "\"- - -\" 0 ")?;
    judge(|evidence| {
        matched_at_both(evidence, "a", "mixed", "/as-http")?;
        let found = evidence.of("mixed", "revisions", |record| {
            record.has_reason("logged_as_tcp")
        });
        found
            .are("matched")?
            .with_reason("late_line")?
            .of_units(1, 1)?;
        Ok(())
    })
}

fn bytes_to_http_app(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "b", 8080);
    let client = session.lab.pod("a");
    // The app closes, but the connection stays for as long as the client holds it.
    client.client(&["bytes", &server, BYTES, "8000"])?;
    wait_for_line(session, "b", "\"- - -\" 0 ")?;
    judge(|evidence| {
        ensure!(
            evidence.nginx("b", "")?.len() == 1,
            "the app had no such request"
        );
        for pod in ["a", "b"] {
            let found = evidence.of(pod, "units", |record| {
                record.has_reason("logged_as_tcp") && record.units().observed > 0
            });
            found.are("matched")?.of_units(1, 1)?;
        }
        Ok(())
    })
}

fn refused_outside(session: &mut Session) -> Result<Judge> {
    let server = format!("{}:{CLOSED_PORT}", session.lab.outside().addresses().v4);
    session
        .lab
        .pod("a")
        .client(&["bytes", &server, BYTES, "500"])?;
    let line = wait_for_line(session, "a", &format!("{server} "))?;
    ensure!(line.contains("UF"), "{line}");
    judge(|evidence| {
        let found = evidence.of("a", "connections", |record| {
            record.kind() == "connection" && record.server() == Some(("10.77.0.99", CLOSED_PORT))
        });
        found.are("matched")?.of_units(1, 1)?;
        Ok(())
    })
}

fn refused_by_app(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "refuser", CLOSED_PORT);
    session
        .lab
        .pod("a")
        .client(&["bytes", &server, BYTES, "500"])?;
    let line = wait_for_line(session, "refuser", &format!("{server} "))?;
    ensure!(line.contains("UF"), "{line}");
    judge(|evidence| {
        let at_app = connections(evidence, "refuser", CLOSED_PORT);
        at_app.are("proxy_answered")?.of_units(0, 1)?;
        let address = |record: &Record| record.server().map(|(host, _)| host.to_owned());
        let found = evidence.of("a", "connections", |record| {
            record.kind() == "connection"
                && record.server().is_some_and(|(_, port)| port == CLOSED_PORT)
                && address(record).as_deref() != Some("10.77.0.99")
        });
        found.are("matched")?.of_units(1, 1)?;
        Ok(())
    })
}
