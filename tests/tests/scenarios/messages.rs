//! The forms that HTTP/1.1 messages take.

use std::fs;

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, clusters, http_managers},
    },
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, endpoint, get, matched, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "The forms that messages take",
    scenarios: &[
        Scenario {
            name: "chunked_both_ways",
            happens: "a chunked upload, and a chunked answer on the same connection",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods,
            play: chunked,
        },
        Scenario {
            name: "head_request",
            happens: "HEAD for a large file, then GET on the same connection",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods,
            play: head_request,
        },
        Scenario {
            name: "no_content",
            happens: "204 and 304, then a body on the same connection",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods,
            play: no_content,
        },
        Scenario {
            name: "continue",
            happens: "the client waits for 100 before it sends the body, and its sidecar says so",
            recorded: "both sides: `matched` 1/1 with the final status",
            finds: &[],
            pods,
            play: |session| expect_continue(session, "a", "b"),
        },
        Scenario {
            name: "continue_through",
            happens: "the same where the sidecars leave it to the app to say 100",
            recorded: "both sides: `matched` 1/1 with the final status",
            finds: &[],
            pods: || {
                ["asking", "asked"]
                    .map(|name| PodSpec::new(name).editing(pass_continue))
                    .into()
            },
            play: |session| expect_continue(session, "asking", "asked"),
        },
        Scenario {
            name: "no_keep_alive",
            happens: "the client asks to close the connection after the answer",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: no_keep_alive,
        },
        Scenario {
            name: "one_request_a_connection",
            happens: "the sidecars close each connection after one request",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods: || {
                ["brief", "briefserver"]
                    .map(|name| PodSpec::new(name).editing(close_after_one))
                    .into()
            },
            play: |session| one_by_one(session, "brief", "briefserver", "/one", &[]),
        },
        Scenario {
            name: "pipelining",
            happens: "the client sends eight requests in one write",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods,
            play: pipelining,
        },
        Scenario {
            name: "websocket",
            happens: "an upgrade; frames that look like requests; the line comes when it closes",
            recorded: "both sides: `matched` 1/1, status 101",
            finds: &[],
            pods,
            play: websocket,
        },
        Scenario {
            name: "refused_upgrade",
            happens: "the app ignores an upgrade and answers 200",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: refused_upgrade,
        },
        Scenario {
            name: "connect",
            happens: "CONNECT, and bytes in the tunnel; the line comes when it closes",
            recorded: "client: `matched` 1/1; server: a connection, `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("tunneling").editing(terminate_connect),
                    PodSpec::new("b"),
                ]
            },
            play: connect,
        },
        Scenario {
            name: "connect_refused",
            happens: "CONNECT where the sidecar has no route for it: 404",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods,
            play: connect_refused,
        },
        Scenario {
            name: "chosen_request_id",
            happens: "the client chooses the x-request-id, in which Envoy changes one character",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("traced").editing(trace), PodSpec::new("b")],
            play: chosen_request_id,
        },
        Scenario {
            name: "forwarded_for",
            happens: "the client sends X-Forwarded-For: no line has the tuple",
            recorded: "both sides: `matched` 1/1 each",
            finds: &[],
            pods,
            play: forwarded_for,
        },
    ],
};

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("b")]
}

/// Plays a script on one connection from `a` to `b`.
fn requests(session: &Session, script: &Value) -> Result<Vec<u16>> {
    let server = endpoint(session, "b", 8080);
    let client = session.lab.pod("a");
    let responses = client.client(&["requests", &server, &script.to_string()])?;
    Ok(responses.iter().map(|response| response.status).collect())
}

fn all_matched(paths: &'static [&'static str]) -> Result<Judge> {
    judge(move |evidence| {
        paths
            .iter()
            .try_for_each(|path| matched_at_both(evidence, "a", "b", path))
    })
}

fn chunked(session: &mut Session) -> Result<Judge> {
    let fake = "GET /fake HTTP/1.1\r\nhost: b\r\n\r\n";
    let script = json!([
        { "method": "POST", "path": "/upload/chunks", "chunks": [fake, "\r\n0\r\n\r\n", fake] },
        { "path": "/drip/3/chunks" },
        { "path": "/after-chunks" },
    ]);
    ensure!(requests(session, &script)? == [201, 200, 200]);
    all_matched(&["/upload/chunks", "/drip/3/chunks", "/after-chunks"])
}

fn head_request(session: &mut Session) -> Result<Judge> {
    let script = json!([{ "method": "HEAD", "path": "/large" }, { "path": "/after-head" }]);
    ensure!(requests(session, &script)? == [200, 200]);
    all_matched(&["/large", "/after-head"])
}

fn no_content(session: &mut Session) -> Result<Judge> {
    let script = json!([
        { "path": "/nothing/at-all" },
        { "path": "/unchanged/since" },
        { "path": "/after-nothing" },
    ]);
    ensure!(requests(session, &script)? == [204, 304, 200]);
    all_matched(&["/nothing/at-all", "/unchanged/since", "/after-nothing"])
}

fn expect_continue(session: &Session, client: &'static str, server: &'static str) -> Result<Judge> {
    let base = "/upload/continued";
    let body = session.lab.directory().join("continued");
    fs::write(&body, vec![b'c'; 100_000])?;
    let body = format!("@{}", body.display());
    let options = ["-H", "expect: 100-continue", "--data-binary", &body];
    for way in Way::ALL {
        let path = way.path(&format!("{base}/{client}"));
        let received = way.get(session, client, server, &path, &options)?;
        ensure!(received == 201, "{path}: expected 201, got {received}");
    }
    judge(move |evidence| {
        for way in Way::ALL {
            let path = way.path(&format!("{base}/{client}"));
            matched_at_both(evidence, client, server, &path)?;
            let status = evidence.http(client, "client", &path).records[0].status();
            ensure!(status == Some(201), "{status:?}");
        }
        Ok(())
    })
}

/// Envoy asks the app whether to go on, instead of saying so itself.
fn pass_continue(config: &mut Value, _: &Sidecar<'_>) {
    for listener in [INBOUND, OUTBOUND] {
        for manager in http_managers(config, listener) {
            manager["proxy_100_continue"] = json!(true);
        }
    }
}

fn no_keep_alive(session: &mut Session) -> Result<Judge> {
    one_by_one(session, "a", "b", "/closing", &["-H", "connection: close"])
}

/// Requests with nothing else on their connections.
fn one_by_one(
    session: &Session,
    client: &'static str,
    server: &'static str,
    base: &'static str,
    options: &[&str],
) -> Result<Judge> {
    const COUNT: usize = 3;
    for way in Way::ALL {
        for number in 0..COUNT {
            let path = way.path(&format!("{base}/{number}"));
            let received = way.get(session, client, server, &path, options)?;
            ensure!(received == 200, "{path}: expected 200, got {received}");
        }
    }
    judge(move |evidence| {
        for way in Way::ALL {
            for number in 0..COUNT {
                let path = way.path(&format!("{base}/{number}"));
                matched_at_both(evidence, client, server, &path)?;
            }
        }
        Ok(())
    })
}

/// Both sidecars close each connection after one request: over HTTP/2 by GOAWAY.
fn close_after_one(config: &mut Value, _: &Sidecar<'_>) {
    for listener in [INBOUND, OUTBOUND] {
        for manager in http_managers(config, listener) {
            manager["common_http_protocol_options"] = json!({ "max_requests_per_connection": 1 });
        }
    }
    for cluster in clusters(config) {
        let options = &mut cluster["typed_extension_protocol_options"];
        let options = &mut options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        options["common_http_protocol_options"] = json!({ "max_requests_per_connection": 1 });
    }
}

fn pipelining(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "b", 8080);
    let client = session.lab.pod("a");
    let responses = client.client(&["pipeline", &server, "/pipelined", "8"])?;
    ensure!(responses.len() == 8);
    judge(|evidence| {
        (0..8).try_for_each(|number| {
            matched_at_both(evidence, "a", "b", &format!("/pipelined/{number}"))
        })
    })
}

fn websocket(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "b", 8080);
    let client = session.lab.pod("a");
    let responses = client.client(&["websocket", &server, "/ws/scenario", "20"])?;
    ensure!(responses.len() == 1 && responses[0].status == 101);
    judge(|evidence| {
        matched_at_both(evidence, "a", "b", "/ws/scenario")?;
        let frames = evidence
            .records
            .find(|record| record.path().starts_with("/frame"));
        ensure!(frames.is_empty(), "a frame was taken for a request");
        let status = evidence.http("a", "client", "/ws/scenario").records[0].status();
        ensure!(status == Some(101), "{status:?}");
        Ok(())
    })
}

fn refused_upgrade(session: &mut Session) -> Result<Judge> {
    let options = ["-H", "upgrade: websocket", "-H", "connection: Upgrade"];
    let received = get(session, "a", "b", "/no-upgrade", &options)?;
    judge(move |evidence| {
        matched(evidence, "a", "client", "/no-upgrade")?;
        matched(evidence, "b", "server", "/no-upgrade")?;
        let status = evidence.http("a", "client", "/no-upgrade").records[0].status();
        ensure!(
            status == Some(u64::from(received)),
            "{status:?}, not {received}"
        );
        Ok(())
    })
}

/// CONNECT ends at the sidecar, which opens a connection to where the client's was meant to go.
fn terminate_connect(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, OUTBOUND) {
        manager["upgrade_configs"] = json!([{ "upgrade_type": "CONNECT" }]);
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        let Some(routes) = routes else { continue };
        let Some(mut route) = routes.last().cloned() else {
            continue;
        };
        route["match"] = json!({ "connect_matcher": {} });
        route["route"]["upgrade_configs"] =
            json!([{ "upgrade_type": "CONNECT", "connect_config": {} }]);
        routes.insert(0, route);
    }
}

/// The port of the echo at the end of the tunnel.
const TUNNELED_PORT: u16 = 7003;

fn connect(session: &mut Session) -> Result<Judge> {
    let _echo = session.lab.pod("b").serve("echo", TUNNELED_PORT)?;
    let server = endpoint(session, "b", TUNNELED_PORT);
    let text =
        format!(r"CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n\r\n\x01\x02\x03 in the tunnel\n");
    let client = session.lab.pod("tunneling");
    client.client(&["bytes", &server, &text, "300"])?;
    wait_for_line(session, "tunneling", "\"CONNECT ")?;
    judge(|evidence| {
        let found = evidence.of("tunneling", "units", |record| record.units().observed > 0);
        found.are("matched")?.are_as_many_as(1)?.of_units(1, 1)?;
        ensure!(
            found.records[0].method() == "CONNECT",
            "{}",
            found.records[0].line()
        );
        let found = evidence.of("b", "tunnel", |record| {
            record.kind() == "connection"
                && record
                    .server()
                    .is_some_and(|(_, port)| port == TUNNELED_PORT)
        });
        found.are("matched")?.of_units(1, 1)?;
        Ok(())
    })
}

fn connect_refused(session: &mut Session) -> Result<Judge> {
    let server = endpoint(session, "b", 8080);
    let text = r"CONNECT refused.host:443 HTTP/1.1\r\nhost: refused.host:443\r\n\r\n";
    session
        .lab
        .pod("a")
        .client(&["bytes", &server, text, "300"])?;
    wait_for_line(session, "a", "refused.host:443")?;
    judge(|evidence| {
        let found = evidence.of("a", "CONNECT", |record| record.method() == "CONNECT");
        found.are("matched")?.of_units(1, 1)?;
        Ok(())
    })
}

/// With this, Envoy writes into the id whether it traces the request.
fn trace(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, OUTBOUND) {
        manager["tracing"] = json!({ "random_sampling": { "value": 100.0 } });
    }
}

fn chosen_request_id(session: &mut Session) -> Result<Judge> {
    let path = "/chosen-id";
    let id = "x-request-id: 11111111-2222-4333-8444-555555555555";
    let received = get(session, "traced", "b", path, &["-H", id])?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(move |evidence| {
        let lines = evidence.lines("traced", path)?;
        let kept = lines.iter().any(|line| line.contains("2222-4333-8444"));
        ensure!(!kept, "Envoy kept the id: {lines:?}");
        matched_at_both(evidence, "traced", "b", path)
    })
}

fn forwarded_for(session: &mut Session) -> Result<Judge> {
    let headers = json!({ "x-forwarded-for": "198.51.100.7" });
    let script: Vec<Value> = (0..20)
        .map(|number| json!({ "path": format!("/forwarded/{number}"), "headers": headers }))
        .collect();
    requests(session, &json!(script))?;
    judge(|evidence| {
        ensure!(evidence.lines("b", " 198.51.100.7:0 ")?.len() >= 20);
        (0..20).try_for_each(|number| {
            matched_at_both(evidence, "a", "b", &format!("/forwarded/{number}"))
        })
    })
}
