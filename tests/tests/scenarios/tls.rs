//! What the hellos of TLS say: between sidecars, and of apps that speak it themselves.

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::Sidecar,
    pod::{APP, PodSpec, wait_for_listener},
    process::{Process, User},
    records::Record,
};
use serde_json::{Value, json};

use crate::{
    evidence::{Evidence, Found},
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{curl, endpoint, get, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "TLS, between sidecars and of apps themselves",
    scenarios: &[
        Scenario {
            name: "tls_posture",
            happens: "a request over a leg of mutual TLS, which both sidecars close behind it",
            recorded: "both sides: `matched` 1/1; both legs: version, cipher, server name and what ALPN offers",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("posture").editing(close_legs),
                    PodSpec::new("b"),
                ]
            },
            play: posture,
        },
        Scenario {
            name: "app_tls",
            happens: "the app speaks TLS itself, which both sidecars carry as bytes, within their own",
            recorded: "both sides: a connection `matched` 1/1 with the app's own version and server name",
            finds: &[],
            pods: || vec![PodSpec::new("a"), PodSpec::new("tlsapp").naming(TLS_PORT)],
            play: app_tls,
        },
    ],
};

/// Where an app speaks TLS.
pub(crate) const TLS_PORT: u16 = 7443;

/// The name that the client asks for.
pub(crate) const SERVER_NAME: &str = "shop.example";

/// Each connection to another pod carries one request.
fn close_legs(config: &mut Value, _: &Sidecar<'_>) {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        cluster["typed_extension_protocol_options"][options]["common_http_protocol_options"] =
            json!({ "max_requests_per_connection": 1 });
    }
}

/// Serves TLS in a pod's app until it is dropped.
pub(crate) fn serve_tls(session: &Session, pod: &str) -> Result<Process> {
    let identity = &session.lab.certificates().collector;
    let (certificate, key) = (&identity.certificate, &identity.key);
    let port = TLS_PORT.to_string();
    let words = [
        "openssl".as_ref(),
        "s_server".as_ref(),
        "-quiet".as_ref(),
        "-www".as_ref(),
        "-accept".as_ref(),
        port.as_ref(),
        "-cert".as_ref(),
        certificate.as_os_str(),
        "-key".as_ref(),
        key.as_os_str(),
    ];
    let server = session.lab.pod(pod).spawn(APP, User::APP, words)?;
    wait_for_listener(server.id(), TLS_PORT)?;
    Ok(server)
}

/// Asks for a page over TLS.
pub(crate) fn ask_over_tls(session: &Session, client: &str, server: &str) -> Result<()> {
    let address = session.lab.pod(server).addresses().v4;
    let url = format!("https://{SERVER_NAME}:{TLS_PORT}/");
    let resolve = format!("{SERVER_NAME}:{TLS_PORT}:{address}");
    // What it would offer in ALPN the sidecar would take for HTTP.
    let words = ["-k", "--no-alpn", "--resolve", &resolve, &url];
    let status = curl(session.lab.pod(client), &words)?;
    ensure!(status == 200, "the app answered {status}");
    Ok(())
}

fn tls_of(record: &Record) -> Vec<(String, Value)> {
    let value = record.value();
    let attributes = value["attributes"].as_object();
    let all = attributes.into_iter().flatten();
    all.filter(|(name, _)| name.starts_with("tls."))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn posture(session: &mut Session) -> Result<Judge> {
    ensure!(get(session, "posture", "b", "/posture", &[])? == 200);
    let client = session.lab.pod("posture").addresses().v4.to_string();
    wait_for_line(session, "b", "/posture")?;
    judge(move |evidence| {
        matched_at_both(evidence, "posture", "b", "/posture")?;
        let expected = json!({
            "tls.cipher": "TLS_AES_128_GCM_SHA256",
            "tls.client.next_protocols": ["istio-http/1.1", "istio", "http/1.1"],
            "tls.client.server_name": "outbound_.8080_._.b.shop.svc.cluster.local",
            "tls.protocol.name": "tls",
            "tls.protocol.version": "1.3",
        });
        for pod in ["posture", "b"] {
            let legs = evidence.records.find(|record| {
                record.pod() == pod
                    && record.kind() == "connection"
                    && record.side() == "proxy"
                    && record.text("/attributes/client.address") == client
                    && !record.text("/attributes/tls.client.server_name").is_empty()
            });
            ensure!(legs.len() == 1, "{pod} has {} legs with TLS", legs.len());
            let told: Value = tls_of(legs[0]).into_iter().collect();
            ensure!(told == expected, "{pod}: {told}");
        }
        Ok(())
    })
}

fn app_tls(session: &mut Session) -> Result<Judge> {
    let _server = serve_tls(session, "tlsapp")?;
    ask_over_tls(session, "a", "tlsapp")?;
    let line = wait_for_line(session, "a", &endpoint(session, "tlsapp", TLS_PORT))?;
    ensure!(line.contains(SERVER_NAME), "{line}");
    judge(|evidence| {
        for pod in ["a", "tlsapp"] {
            let found = of_app(evidence, pod);
            found.are("matched")?.are_as_many_as(1)?.of_units(1, 1)?;
            let told: Value = tls_of(found.records[0]).into_iter().collect();
            let expected = json!({
                "tls.cipher": "TLS_AES_256_GCM_SHA384",
                "tls.client.server_name": SERVER_NAME,
                "tls.protocol.name": "tls",
                "tls.protocol.version": "1.3",
            });
            ensure!(told == expected, "{pod}: {told}");
        }
        Ok(())
    })
}

/// The connections on which an app speaks TLS.
pub(crate) fn of_app<'a>(evidence: &'a Evidence, pod: &str) -> Found<'a> {
    evidence.of(pod, "connections", |record| {
        record.kind() == "connection" && record.server().is_some_and(|(_, port)| port == TLS_PORT)
    })
}
