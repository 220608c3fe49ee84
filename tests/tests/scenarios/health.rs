//! What proxies send by themselves: health checks of the hosts of a cluster.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{Sidecar, edit::clusters, fixed_cluster},
    nginx,
    pod::{PROXY, PodSpec},
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::PATIENCE,
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Health checks by Envoy",
    scenarios: &[Scenario {
        name: "health_checks",
        happens: "a sidecar checks the health of another pod over HTTP/1.1, HTTP/2 and TCP: the app is well, the app fails, its sidecar refuses",
        recorded: "server: HTTP checks `matched` 1/1 each, or `proxy_answered` 0/1",
        finds: &[],
        pods: Vec::new,
        play: checked,
    }],
};

/// In the order in which they come: what is checked is there before its first check. An Envoy that
/// is told of all pods takes longer to start than a check may take.
fn pods() -> [PodSpec; 2] {
    let names = ["checked", "checker"];
    let [checked, checker] = names.map(|name| PodSpec::new(name).knowing(names));
    [checked.denying("/denied"), checker.editing(check)]
}

/// What is asked for, and what becomes of it.
const CHECKS: [(&str, &str); 3] = [
    ("/health/up", "matched"),
    ("/fail/health", "matched"),
    ("/denied/health", "proxy_answered"),
];
const CODECS: [&str; 2] = ["HTTP1", "HTTP2"];

fn check(config: &mut Value, sidecar: &Sidecar<'_>) {
    let Some(peer) = sidecar.peers.iter().find(|peer| peer.name == "checked") else {
        return;
    };
    for (port, codec, alpn) in [
        (nginx::HTTP_PORT, CODECS[0], "istio-http/1.1"),
        (nginx::HTTP2_PORT, CODECS[1], "istio-h2"),
    ] {
        let mut cluster = fixed_cluster(sidecar, peer, port);
        let name = format!("checked-{codec}");
        cluster["name"] = json!(name);
        cluster["load_assignment"]["cluster_name"] = json!(name);
        let tls = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
        tls["alpn_protocols"] = json!([alpn]);
        let mut all: Vec<Value> = CHECKS
            .iter()
            .map(|(path, _)| {
                let check =
                    json!({ "path": format!("{path}/{codec}"), "codec_client_type": codec });
                health_check(path, "http_health_check", &check)
            })
            .collect();
        all.push(health_check("tcp", "tcp_health_check", &json!({})));
        cluster["health_checks"] = json!(all);
        clusters(config).push(cluster);
    }
}

fn health_check(name: &str, kind: &str, check: &Value) -> Value {
    json!({
        "name": name,
        "timeout": "1s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
        kind: check,
    })
}

fn checked(session: &mut Session) -> Result<Judge> {
    // Checks begin with the sidecar, and are to begin with the agent there.
    for pod in pods() {
        session.lab.add_pods([pod])?;
    }
    let log = &session.lab.pod("checked").container(PROXY).log;
    for path in paths().map(|(path, _)| path) {
        log.wait_for_count(3, PATIENCE, |line| line.contains(&path))?;
    }
    session.lab.remove_pod("checker");
    judge(|evidence| {
        for (path, verdict) in paths() {
            let found = evidence.of("checked", &path, |record| record.path() == path);
            found.are(verdict)?;
            let count = found.records.len();
            ensure!(count >= 3, "{count} records of {path}");
        }
        evidence.nobody_else_is_accused(&pods())?;
        evidence.findings_are(&pods(), &BTreeSet::new())
    })
}

fn paths() -> impl Iterator<Item = (String, &'static str)> {
    let both = |(base, verdict): (&str, &'static str)| {
        CODECS.map(|codec| (format!("{base}/{codec}"), verdict))
    };
    CHECKS.into_iter().flat_map(both)
}
