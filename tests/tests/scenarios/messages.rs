//! The forms that HTTP/1.1 messages take.

use std::fs;

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, clusters, http_managers},
    },
    pod::{PROXY, PodSpec},
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{
        Family, PATIENCE, Way, endpoint, endpoint_of, matched, matched_at_both, wait_for_line,
    },
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

/// Plays a script on one connection from `a` to `b`, over each family: requests whose paths have
/// the way behind them, with the statuses that they are answered with.
fn over_http1(session: &Session, script: impl Fn(Way) -> Vec<(Value, u16)>) -> Result<Judge> {
    let mut paths: Vec<String> = Vec::new();
    for way in Way::HTTP1 {
        let (script, expected): (Vec<Value>, Vec<u16>) = script(way).into_iter().unzip();
        for request in &script {
            let path = request["path"].as_str();
            paths.push(path.context("a request without a path")?.to_owned());
        }
        let server = way.socket(session.lab.pod("b").addresses()).to_string();
        let client = session.lab.pod("a");
        let responses = client.client(&["requests", &server, &json!(script).to_string()])?;
        let received: Vec<u16> = responses.iter().map(|response| response.status).collect();
        ensure!(received == expected, "{way:?}: {received:?}");
    }
    judge(move |evidence| {
        let mut paths = paths.iter();
        paths.try_for_each(|path| matched_at_both(evidence, "a", "b", path))
    })
}

/// The same over HTTP/2, by curl.
fn over_http2(
    session: &Session,
    requests: &'static [(&'static str, &'static [&'static str], u16)],
) -> Result<Judge> {
    for way in Way::HTTP2 {
        for (base, options, expected) in requests {
            let received = way.get(session, "a", "b", &way.path(base), options)?;
            ensure!(received == *expected, "{way:?} {base}: {received}");
        }
    }
    judge(move |evidence| {
        for (base, ..) in requests {
            for way in Way::HTTP2 {
                matched_at_both(evidence, "a", "b", &way.path(base))?;
            }
        }
        Ok(())
    })
}

fn both(one: Judge, other: Judge) -> Result<Judge> {
    judge(move |evidence| {
        one(evidence)?;
        other(evidence)
    })
}

fn chunked(session: &mut Session) -> Result<Judge> {
    let fake = "GET /fake HTTP/1.1\r\nhost: b\r\n\r\n";
    let chunks = json!([fake, "\r\n0\r\n\r\n", fake]);
    over_http1(session, |way| {
        let upload = way.path("/upload/chunks");
        vec![
            (
                json!({ "method": "POST", "path": upload, "chunks": chunks }),
                201,
            ),
            (json!({ "path": way.path("/drip/3/chunks") }), 200),
            (json!({ "path": way.path("/after-chunks") }), 200),
        ]
    })
}

fn head_request(session: &mut Session) -> Result<Judge> {
    let http1 = over_http1(session, |way| {
        vec![
            (json!({ "method": "HEAD", "path": way.path("/large") }), 200),
            (json!({ "path": way.path("/after-head") }), 200),
        ]
    })?;
    both(http1, over_http2(session, &[("/large", &["-I"], 200)])?)
}

fn no_content(session: &mut Session) -> Result<Judge> {
    let http1 = over_http1(session, |way| {
        vec![
            (json!({ "path": way.path("/nothing/at-all") }), 204),
            (json!({ "path": way.path("/unchanged/since") }), 304),
            (json!({ "path": way.path("/after-nothing") }), 200),
        ]
    })?;
    let http2 = over_http2(
        session,
        &[
            ("/nothing/at-all", &[], 204),
            ("/unchanged/since", &[], 304),
        ],
    )?;
    both(http1, http2)
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
    let client = session.lab.pod("a");
    for way in Way::HTTP1 {
        let server = way.socket(session.lab.pod("b").addresses()).to_string();
        let path = way.path("/pipelined");
        let responses = client.client(&["pipeline", &server, &path, "8"])?;
        ensure!(responses.len() == 8);
    }
    judge(|evidence| {
        for path in Way::HTTP1.map(|way| way.path("/pipelined")) {
            for number in 0..8 {
                matched_at_both(evidence, "a", "b", &format!("{path}/{number}"))?;
            }
        }
        Ok(())
    })
}

fn websocket(session: &mut Session) -> Result<Judge> {
    let client = session.lab.pod("a");
    for way in Way::HTTP1 {
        let server = way.socket(session.lab.pod("b").addresses()).to_string();
        let path = way.path("/ws/scenario");
        let responses = client.client(&["websocket", &server, &path, "20"])?;
        ensure!(responses.len() == 1 && responses[0].status == 101);
    }
    judge(|evidence| {
        let frames = evidence
            .records
            .find(|record| record.path().starts_with("/frame"));
        ensure!(frames.is_empty(), "a frame was taken for a request");
        for path in Way::HTTP1.map(|way| way.path("/ws/scenario")) {
            matched_at_both(evidence, "a", "b", &path)?;
            let status = evidence.http("a", "client", &path).records[0].status();
            ensure!(status == Some(101), "{status:?}");
        }
        Ok(())
    })
}

fn refused_upgrade(session: &mut Session) -> Result<Judge> {
    let options = ["-H", "upgrade: websocket", "-H", "connection: Upgrade"];
    let mut all = Vec::new();
    for way in Way::HTTP1 {
        let path = way.path("/no-upgrade");
        let received = way.get(session, "a", "b", &path, &options)?;
        all.push((path, received));
    }
    judge(move |evidence| {
        for (path, received) in all {
            matched(evidence, "a", "client", &path)?;
            matched(evidence, "b", "server", &path)?;
            let status = evidence.http("a", "client", &path).records[0].status();
            ensure!(
                status == Some(u64::from(received)),
                "{status:?}, not {received}"
            );
        }
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
    let client = session.lab.pod("tunneling");
    for family in Family::ALL {
        let server = endpoint_of(family, session.lab.pod("b"), TUNNELED_PORT);
        let head = format!(r"CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n\r\n");
        let text = head + r"\x01\x02\x03 in the tunnel\n";
        client.client(&["bytes", &server, &text, "300"])?;
    }
    let log = &client.container(PROXY).log;
    log.wait_for_count(2, PATIENCE, |line| line.contains("\"CONNECT "))?;
    judge(|evidence| {
        let found = evidence.of("tunneling", "units", |record| record.units().observed > 0);
        found.are("matched")?.are_as_many_as(2)?.of_units(2, 2)?;
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
        found.are("matched")?.of_units(2, 2)?;
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
    let id = "x-request-id: 11111111-2222-4333-8444-555555555555";
    for way in Way::ALL {
        let received = way.get(session, "traced", "b", &way.path("/chosen-id"), &["-H", id])?;
        ensure!(received == 200, "expected 200, got {received}");
    }
    judge(move |evidence| {
        let lines = evidence.lines("traced", "/chosen-id")?;
        let kept = lines.iter().any(|line| line.contains("2222-4333-8444"));
        ensure!(!kept, "Envoy kept the id: {lines:?}");
        let mut paths = Way::paths("/chosen-id").into_iter();
        paths.try_for_each(|path| matched_at_both(evidence, "traced", "b", &path))
    })
}

fn forwarded_for(session: &mut Session) -> Result<Judge> {
    let headers = json!({ "x-forwarded-for": "198.51.100.7" });
    let http1 = over_http1(session, |way| {
        let paths = (0..20).map(|number| way.path(&format!("/forwarded/{number}")));
        let requests = paths.map(|path| (json!({ "path": path, "headers": headers }), 200));
        requests.collect()
    })?;
    let http2 = over_http2(
        session,
        &[("/forwarded", &["-H", "x-forwarded-for: 198.51.100.7"], 200)],
    )?;
    judge(|evidence| {
        ensure!(evidence.lines("b", " 198.51.100.7:0 ")?.len() >= 2 * 20 + 2);
        both(http1, http2)?(evidence)
    })
}
