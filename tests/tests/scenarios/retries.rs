//! One request, several attempts.

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, OUTBOUND, routes},
        fixed_cluster,
    },
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "One request, several attempts",
    scenarios: &[
        Scenario {
            name: "outbound_retry",
            happens: "the client's sidecar tries three times until the app answers with 200",
            recorded: "client: `matched` 1/1; server: each attempt `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("retrying").editing(retry), PodSpec::new("b")],
            play: outbound_retry,
        },
        Scenario {
            name: "outbound_retries_in_vain",
            happens: "it tries three times and the app answers with 500 each time",
            recorded: "client: `matched` 1/1; server: each attempt `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("retrying").editing(retry), PodSpec::new("b")],
            play: outbound_retries_in_vain,
        },
        Scenario {
            name: "outbound_hedge",
            happens: "the client's sidecar starts further attempts while the first is under way",
            recorded: "client: `matched` 1/1; server: each attempt `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("hedging").editing(hedge), PodSpec::new("b")],
            play: outbound_hedge,
        },
        Scenario {
            name: "inbound_retry",
            happens: "the server's sidecar tries three times until the app answers with 200",
            recorded: "client: `matched` 1/1; server: `matched` (`retried`) 3/1 in all, a record each",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("retried").editing(retry_inbound),
                ]
            },
            play: inbound_retry,
        },
        Scenario {
            name: "inbound_retries_in_vain",
            happens: "it tries three times and the app answers with 500 each time",
            recorded: "client: `matched` 1/1; server: `matched` (`retried`) 3/1 in all, a record each",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("retried").editing(retry_inbound),
                ]
            },
            play: inbound_retries_in_vain,
        },
        Scenario {
            name: "inbound_retry_after_reset",
            happens: "it tries three times and the app closes without an answer each time",
            recorded: "client: `matched` 1/1; server: `matched` (`retried`) 3/1 in all, a record each",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("a"),
                    PodSpec::new("retried").editing(retry_inbound),
                ]
            },
            play: |session| attempted_inbound(session, "/close/inbound", 503),
        },
        Scenario {
            name: "mirror",
            happens: "the client's sidecar sends a shadow of the request",
            recorded: "client: `matched` 1/1; server: request and shadow `matched` 1/1 each",
            finds: &[],
            pods: || vec![PodSpec::new("mirroring").editing(mirror), PodSpec::new("b")],
            play: mirrored,
        },
    ],
};

fn retry(config: &mut Value, _: &Sidecar<'_>) {
    for route in routes(config, OUTBOUND) {
        route["retry_policy"] = json!({ "retry_on": "5xx", "num_retries": 2 });
    }
}

fn retry_inbound(config: &mut Value, _: &Sidecar<'_>) {
    for route in routes(config, INBOUND) {
        route["retry_policy"] = json!({ "retry_on": "5xx,reset", "num_retries": 2 });
    }
}

fn hedge(config: &mut Value, _: &Sidecar<'_>) {
    for route in routes(config, OUTBOUND) {
        route["retry_policy"] =
            json!({ "retry_on": "5xx", "num_retries": 2, "per_try_timeout": "0.4s" });
        route["hedge_policy"] = json!({ "hedge_on_per_try_timeout": true });
    }
}

/// A shadow has no connection of its own downstream, so its cluster has to know where to go.
fn mirror(config: &mut Value, sidecar: &Sidecar<'_>) {
    for peer in sidecar.peers.iter().filter(|peer| peer.name == "b") {
        let mut cluster = fixed_cluster(sidecar, peer, 8080);
        cluster["name"] = json!("shadow");
        cluster["load_assignment"]["cluster_name"] = json!("shadow");
        // What a request tells its own connection, it does not tell its shadow's.
        let tls = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
        tls["alpn_protocols"] = json!(["istio-http/1.1", "istio", "http/1.1"]);
        if let Some(clusters) = config["static_resources"]["clusters"].as_array_mut() {
            clusters.push(cluster);
        }
    }
    for route in routes(config, OUTBOUND) {
        route["request_mirror_policies"] = json!([{ "cluster": "shadow" }]);
    }
}

fn outbound_retry(session: &mut Session) -> Result<Judge> {
    attempted(session, "retrying", "/flaky/2/outbound", 200, 3)
}

fn outbound_retries_in_vain(session: &mut Session) -> Result<Judge> {
    attempted(session, "retrying", "/fail/outbound", 500, 3)
}

fn inbound_retry(session: &mut Session) -> Result<Judge> {
    attempted_inbound(session, "/flaky/2/inbound", 200)
}

fn inbound_retries_in_vain(session: &mut Session) -> Result<Judge> {
    attempted_inbound(session, "/fail/inbound", 500)
}

/// One exchange at the client, one line and three exchanges at the server.
fn attempted_inbound(session: &Session, base: &'static str, status: u16) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "a", "retried", &path, &[])?;
        // An HTTP/2 server that closes resets the stream: 502.
        let is_expected = received == status || way.http2 && status == 503 && received == 502;
        ensure!(is_expected, "{path}: expected {status}, got {received}");
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            let served = evidence.nginx("retried", &path)?.len();
            ensure!(served == 3, "the app had {path} {served} times");
            ensure!(evidence.lines("retried", &path)?.len() == 1);
            matched(evidence, "a", "client", &path)?;
            let found = evidence.http("retried", "server", &path);
            found
                .are("matched")?
                .with_reason("retried")?
                .of_units(3, 1)?;
        }
        Ok(())
    })
}

fn outbound_hedge(session: &mut Session) -> Result<Judge> {
    attempted(session, "hedging", "/slow/1/hedge", 200, 3)
}

fn mirrored(session: &mut Session) -> Result<Judge> {
    attempted(session, "mirroring", "/mirrored", 200, 2)
}

/// One exchange at the client, `attempts` at `b`.
fn attempted(
    session: &Session,
    client: &'static str,
    base: &'static str,
    status: u16,
    attempts: i64,
) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, client, "b", &path, &[])?;
        ensure!(
            received == status,
            "{path}: expected {status}, got {received}"
        );
    }
    judge(move |evidence| {
        for path in Way::ALL.map(|way| way.path(base)) {
            let served = evidence.nginx("b", &path)?.len();
            ensure!(
                i64::try_from(served)? == attempts,
                "the app had {path} {served} times"
            );
            matched(evidence, client, "client", &path)?;
            let found = evidence.http("b", "server", &path);
            found.are("matched")?.of_units(attempts, attempts)?;
        }
        Ok(())
    })
}
