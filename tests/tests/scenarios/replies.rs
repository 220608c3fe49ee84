//! Answers that Envoy gives by itself.

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, http_managers},
    },
    network::Addresses,
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched, matched_at_both},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Answers that Envoy gives by itself",
    scenarios: &[
        Scenario {
            name: "inbound_refusal",
            happens: "the server's sidecar refuses a request with 403 (RBAC)",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| answered(session, "/rbac/plain", 403, &[]),
        },
        Scenario {
            name: "inbound_refusal_forwarded",
            happens: "the same with X-Forwarded-For, where the line has that address and port 0",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| answered(session, "/rbac/forwarded", 403, &FORWARDED),
        },
        Scenario {
            name: "inbound_rate_limit",
            happens: "the server's sidecar lets one request pass and refuses the next with 429",
            recorded: "the first: `matched`; the next, server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| {
                // Each version has a port, and a limit, of its own.
                let ways = [Way::HTTP1[0], Way::HTTP2[0]];
                for way in ways {
                    let path = way.path("/limited/first");
                    let first = way.get(session, "a", "strict", &path, &[])?;
                    ensure!(first == 200, "{path}: expected 200, got {first}");
                }
                let next = answered(session, "/limited/next", 429, &[])?;
                judge(move |evidence| {
                    for path in ways.map(|way| way.path("/limited/first")) {
                        matched_at_both(evidence, "a", "strict", &path)?;
                    }
                    next(evidence)
                })
            },
        },
        Scenario {
            name: "inbound_rate_limit_forwarded",
            happens: "the same with X-Forwarded-For",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| answered(session, "/never/forwarded", 429, &FORWARDED),
        },
        Scenario {
            name: "inbound_no_route",
            happens: "the server's sidecar has no route for the host and answers 404",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| answered(session, "/no-route/plain", 404, &["-H", "host: nowhere"]),
        },
        Scenario {
            name: "inbound_no_route_forwarded",
            happens: "the same with X-Forwarded-For",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods,
            play: |session| {
                let options = [&FORWARDED[..], &["-H", "host: nowhere"]].concat();
                answered(session, "/no-route/forwarded", 404, &options)
            },
        },
        Scenario {
            name: "inbound_app_refuses_connection",
            happens: "nobody listens on the port of the app; its sidecar answers 503",
            recorded: "server: `proxy_answered` 0/1; client: `matched`",
            finds: &[],
            pods: || vec![PodSpec::new("a"), PodSpec::new("idle").naming(CLOSED_PORT)],
            play: inbound_app_refuses_connection,
        },
        Scenario {
            name: "outbound_refusal",
            happens: "the client's own sidecar refuses a request with 403",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("walled").editing(wall), PodSpec::new("b")],
            play: |session| outbound(session, "/wall/plain", &[]),
        },
        Scenario {
            name: "outbound_refusal_forwarded",
            happens: "the same with X-Forwarded-For",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("walled").editing(wall), PodSpec::new("b")],
            play: |session| outbound(session, "/wall/forwarded", &FORWARDED),
        },
        Scenario {
            name: "outbound_host_refuses_connection",
            happens: "nobody listens at the host outside the mesh; the sidecar answers 503",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("a")],
            play: outbound_host_refuses_connection,
        },
    ],
};

const FORWARDED: [&str; 2] = ["-H", "x-forwarded-for: 198.51.100.7"];

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("strict").editing(refuse)]
}

/// RBAC for `/rbac`, one request an hour for `/limited`, none for `/never`, no route for `nowhere`.
fn refuse(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, INBOUND) {
        let rbac = json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": { "action": "DENY", "policies": { "denied": {
                    "permissions": [{ "url_path": { "path": { "prefix": "/rbac" } } }],
                    "principals": [{ "any": true }],
                } } },
            },
        });
        let limit = json!({
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": { "@type": LIMIT, "stat_prefix": "limit" },
        });
        if let Some(filters) = manager["http_filters"].as_array_mut() {
            filters.splice(0..0, [rbac, limit]);
        }
        let Some(hosts) = manager["route_config"]["virtual_hosts"].as_array_mut() else {
            continue;
        };
        let all = hosts[0]["routes"][0].clone();
        let limited = [("/limited", 1), ("/never", 0)].map(|(prefix, tokens)| {
            let mut route = all.clone();
            route["match"] = json!({ "prefix": prefix });
            route["typed_per_filter_config"] =
                json!({ "envoy.filters.http.local_ratelimit": limit_to(tokens) });
            route
        });
        if let Some(routes) = hosts[0]["routes"].as_array_mut() {
            routes.splice(0..0, limited);
        }
        hosts.push(json!({ "name": "nowhere", "domains": ["nowhere"], "routes": [] }));
    }
}

const LIMIT: &str =
    "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// So many requests an hour; none: the filter refuses all (one token is spent on nothing).
fn limit_to(tokens: u32) -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "@type": LIMIT,
        "stat_prefix": "limit",
        "token_bucket": { "max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "3600s" },
        "filter_enabled": always,
        "filter_enforced": always,
    })
}

fn wall(config: &mut Value, _: &Sidecar<'_>) {
    for manager in http_managers(config, OUTBOUND) {
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        if let Some(routes) = routes {
            let refusal = json!({ "status": 403, "body": { "inline_string": "no" } });
            routes.insert(
                0,
                json!({ "match": { "prefix": "/wall" }, "direct_response": refusal }),
            );
        }
    }
}

/// The sidecar of `strict` answers.
fn answered(session: &Session, base: &'static str, status: u16, options: &[&str]) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "a", "strict", &path, options)?;
        ensure!(
            received == status,
            "{path}: expected {status}, got {received}"
        );
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            let served = evidence.nginx("strict", &path)?;
            ensure!(served.is_empty(), "the app had {path}");
            let found = evidence.http("strict", "server", &path);
            found.are("proxy_answered")?.of_units(0, 1)?;
            matched(evidence, "a", "client", &path)?;
        }
        Ok(())
    })
}

fn outbound(session: &Session, base: &'static str, options: &[&str]) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "walled", "b", &path, options)?;
        ensure!(received == 403, "{path}: expected 403, got {received}");
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            ensure!(evidence.nginx("b", &path)?.is_empty(), "the app had {path}");
            matched(evidence, "walled", "client", &path)?;
        }
        Ok(())
    })
}

fn inbound_app_refuses_connection(session: &mut Session) -> Result<Judge> {
    let base = "/refused-by-app";
    let to = session.lab.pod("idle").addresses();
    refused_connections(session, to, base)?;
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            let found = evidence.http("idle", "server", &path);
            found.are("proxy_answered")?.of_units(0, 1)?;
            matched(evidence, "a", "client", &path)?;
        }
        Ok(())
    })
}

fn outbound_host_refuses_connection(session: &mut Session) -> Result<Judge> {
    let base = "/refused-outside";
    let to = session.lab.outside().addresses();
    refused_connections(session, to, base)?;
    judge(move |evidence| {
        let mut paths = Way::ALL.map(|way| way.path(base)).into_iter();
        paths.try_for_each(|path| matched(evidence, "a", "client", &path))
    })
}

/// A sidecar answers 503 where nobody listens.
fn refused_connections(session: &Session, to: Addresses, base: &str) -> Result<()> {
    for way in Way::ALL {
        let path = way.path(base);
        let to = (way.family.of(to), CLOSED_PORT).into();
        let received = way.ask(session.lab.pod("a"), to, &path, &[])?;
        ensure!(received == 503, "{path}: expected 503, got {received}");
    }
    Ok(())
}

/// Nobody listens there, in pods and outside.
const CLOSED_PORT: u16 = 9997;
