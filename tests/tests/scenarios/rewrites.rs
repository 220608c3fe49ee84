//! Requests and answers that a sidecar changes on their way, out and in.

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::edit::{INBOUND, OUTBOUND, add_route},
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What a sidecar rewrites",
    scenarios: &[
        Scenario {
            name: "prefix_rewrite",
            happens: "a sidecar replaces the prefix of the path",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/old", "/new"),
        },
        Scenario {
            name: "regex_rewrite",
            happens: "a sidecar replaces what a regular expression finds in the path",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/swap/one/two", "/swapped/two/one"),
        },
        Scenario {
            name: "host_rewrite",
            happens: "a sidecar replaces the host, and logs the new one",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/host", "/host"),
        },
        Scenario {
            name: "host_rewrite_by_header",
            happens: "a sidecar takes the host from a header",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/header-host", "/header-host"),
        },
        Scenario {
            name: "headers_rewritten",
            happens: "a sidecar adds and removes headers of the request and of the answer, those that it logs too",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/headers", "/headers"),
        },
        Scenario {
            name: "request_id_removed",
            happens: "a sidecar removes the x-request-id",
            recorded: RECORDED,
            finds: &[],
            pods,
            play: |session| rewritten(session, "/anonymous", "/anonymous"),
        },
        Scenario {
            name: "redirect",
            happens: "a sidecar answers with a redirection",
            recorded: "out: client `matched` 1/1; in: server `proxy_answered` 0/1, client `matched` 1/1",
            finds: &[],
            pods,
            play: redirected,
        },
    ],
};

const RECORDED: &str = "out: client `matched` 1/1; in: server `matched` 1/1; `rewritten` where the line says otherwise";

/// Client, server, and which of both rewrites.
const LEGS: [(&str, &str, &str); 2] = [("rewriting", "b", "out"), ("a", "rewritten", "in")];

fn pods() -> Vec<PodSpec> {
    vec![
        PodSpec::new("a"),
        PodSpec::new("b"),
        PodSpec::new("rewriting").editing(|config, _| rewrite(config, OUTBOUND)),
        PodSpec::new("rewritten").editing(|config, _| rewrite(config, INBOUND)),
    ]
}

fn rewrite(config: &mut Value, listener: &str) {
    add_route(config, listener, "/old", |route| {
        route["route"]["prefix_rewrite"] = json!("/new");
    });
    add_route(config, listener, "/swap/", |route| {
        route["route"]["regex_rewrite"] = json!({
            "pattern": { "regex": "^/swap/([^/]*)/([^/]*)" },
            "substitution": r"/swapped/\2/\1",
        });
    });
    add_route(config, listener, "/host", |route| {
        route["route"]["host_rewrite_literal"] = json!("other.example");
    });
    add_route(config, listener, "/header-host", |route| {
        route["route"]["host_rewrite_header"] = json!("x-host");
    });
    add_route(config, listener, "/headers", |route| {
        let header = |key: &str, value: &str| {
            json!({
                "header": { "key": key, "value": value },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            })
        };
        route["request_headers_to_add"] = json!([
            header("user-agent", "another"),
            header("x-forwarded-for", "203.0.113.9"),
            header("x-added", "1"),
        ]);
        route["request_headers_to_remove"] = json!(["accept"]);
        route["response_headers_to_add"] = json!([header("x-added", "1")]);
        route["response_headers_to_remove"] =
            json!(["content-type", "x-envoy-upstream-service-time"]);
    });
    add_route(config, listener, "/anonymous", |route| {
        route["request_headers_to_remove"] = json!(["x-request-id"]);
    });
    add_route(config, listener, "/moved", |route| {
        *route = json!({
            "match": route["match"],
            "redirect": { "prefix_rewrite": "/elsewhere", "response_code": "FOUND" },
        });
    });
}

/// The client asks for `asked`, and the app has `had`.
fn rewritten(session: &Session, asked: &'static str, had: &'static str) -> Result<Judge> {
    for (client, server, direction) in LEGS {
        for way in Way::ALL {
            let path = way.path(&format!("{asked}/{direction}"));
            let received = way.get(
                session,
                client,
                server,
                &path,
                &["-H", "x-host: one.example"],
            )?;
            ensure!(received == 200, "{path}: expected 200, got {received}");
        }
    }
    judge(move |evidence| {
        for (client, server, direction) in LEGS {
            for way in Way::ALL {
                let of_app = way.path(&format!("{had}/{direction}"));
                let served = evidence.nginx(server, &of_app)?.len();
                ensure!(served == 1, "the app had {of_app} {served} times");
                let of_client = way.path(&format!("{asked}/{direction}"));
                matched(evidence, client, "client", &of_client)?;
                matched(evidence, server, "server", &of_app)?;
            }
        }
        Ok(())
    })
}

fn redirected(session: &mut Session) -> Result<Judge> {
    for (client, server, direction) in LEGS {
        for way in Way::ALL {
            let path = way.path(&format!("/moved/{direction}"));
            let received = way.get(session, client, server, &path, &[])?;
            ensure!(received == 302, "{path}: expected 302, got {received}");
        }
    }
    judge(|evidence| {
        for (client, server, direction) in LEGS {
            for way in Way::ALL {
                let path = way.path(&format!("/moved/{direction}"));
                matched(evidence, client, "client", &path)?;
                if direction == "in" {
                    let found = evidence.http(server, "server", &path);
                    found.are("proxy_answered")?.of_units(0, 1)?;
                }
            }
        }
        Ok(())
    })
}
