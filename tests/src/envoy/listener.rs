//! Where the sidecar receives.

use serde_json::{Value, json};

use super::{
    AccessLog, INBOUND_PORT, OUTBOUND_PORT, Peer, Sidecar, address,
    cluster::{INBOUND_PASSTHROUGH, PASSTHROUGH, inbound_name, outbound_name},
    filter_chain::{Http, black_hole, tcp},
    tls::{self, MESH_PROTOCOLS, offered},
    typed,
};

/// What the inspector finds in the first bytes of plain HTTP.
const HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// virtualOutbound: all that the app sends.
pub(super) fn outbound(sidecar: &Sidecar<'_>) -> Value {
    let access_log = sidecar.access_log;
    let mut chains = Vec::new();
    let mut ports: Vec<u16> = Vec::new();
    for peer in sidecar.peers {
        for port in &peer.ports {
            ports.push(*port);
            let to_peer = json!({
                "destination_port": port,
                "prefix_ranges": [
                    { "address_prefix": peer.addresses.v4, "prefix_len": 32 },
                    { "address_prefix": peer.addresses.v6, "prefix_len": 128 },
                ],
            });
            let cluster = outbound_name(peer, *port);
            for protocol in HTTP {
                let filters = http(&cluster, access_log, protocol);
                chains.push(chain(with_protocols(&to_peer, &[protocol]), filters));
            }
            chains.push(chain(to_peer, tcp(&cluster, access_log)));
        }
    }
    // Envoy looks among the chains of a port first and does not come back from there: hosts
    // outside the mesh need a chain for each port that a pod of the mesh has.
    ports.sort_unstable();
    ports.dedup();
    let elsewhere = ports.iter().map(|port| json!({ "destination_port": port }));
    for criteria in elsewhere.chain([json!({})]) {
        let filters = http(PASSTHROUGH, access_log, "http/1.1");
        chains.push(chain(with_protocols(&criteria, &HTTP), filters));
    }
    chains.push(to_itself(OUTBOUND_PORT));
    listener(
        "virtualOutbound",
        OUTBOUND_PORT,
        access_log,
        json!({
            "traffic_direction": "OUTBOUND",
            "filter_chains": chains,
            "default_filter_chain": { "filters": tcp(PASSTHROUGH, access_log) },
        }),
    )
}

/// virtualInbound: all that comes to the pod, from the mesh and from outside.
pub(super) fn inbound(sidecar: &Sidecar<'_>) -> Value {
    let access_log = sidecar.access_log;
    let mut chains = Vec::new();
    let named = sidecar
        .own
        .ports
        .iter()
        .map(|port| (json!({ "destination_port": port }), inbound_name(*port)));
    let others = (json!({}), INBOUND_PASSTHROUGH.to_owned());
    for (criteria, cluster) in named.chain([others]) {
        let http = Http {
            cluster: &cluster,
            access_log,
            edge: false,
            denied: sidecar.denied,
            offered: None,
        };
        let mut encrypted = criteria.clone();
        encrypted["transport_protocol"] = json!("tls");
        let mesh_http = &MESH_PROTOCOLS[1..];
        for (protocols, filters) in [
            (mesh_http, http.filters()),
            (&MESH_PROTOCOLS[..1], tcp(&cluster, access_log)),
        ] {
            let mut chain = chain(with_protocols(&encrypted, protocols), filters);
            chain["transport_socket"] = tls::downstream(sidecar);
            chains.push(chain);
        }
        let mut plain = criteria;
        plain["transport_protocol"] = json!("raw_buffer");
        chains.push(chain(with_protocols(&plain, &HTTP), http.filters()));
        chains.push(chain(plain, tcp(&cluster, access_log)));
    }
    chains.push(to_itself(INBOUND_PORT));
    listener(
        "virtualInbound",
        INBOUND_PORT,
        access_log,
        json!({
            "traffic_direction": "INBOUND",
            "filter_chains": chains,
            "default_filter_chain": { "filters": tcp(INBOUND_PASSTHROUGH, access_log) },
        }),
    )
}

/// A gateway's port.
pub(super) fn gateway(sidecar: &Sidecar<'_>, port: u16, target: &Peer, target_port: u16) -> Value {
    let http = Http {
        cluster: &outbound_name(target, target_port),
        access_log: sidecar.access_log,
        edge: true,
        denied: &[],
        offered: Some(offered(Some("http/1.1"))),
    };
    json!({
        "name": format!("0.0.0.0_{port}"),
        "traffic_direction": "OUTBOUND",
        "address": address("0.0.0.0", port),
        "additional_addresses": [{ "address": address("::", port) }],
        "filter_chains": [{ "filters": http.filters() }],
    })
}

fn listener(name: &str, port: u16, access_log: &AccessLog, mut listener: Value) -> Value {
    listener["name"] = json!(name);
    listener["address"] = address("0.0.0.0", port);
    listener["additional_addresses"] = json!([{ "address": address("::", port) }]);
    listener["listener_filters"] = json!(INSPECTORS.map(|(name, kind)| typed(
        name,
        &format!("extensions.filters.listener.{kind}"),
        json!({}),
    )));
    listener["continue_on_listener_filters_timeout"] = json!(true);
    // Istio logs of a listener itself only that nothing would take the connection.
    let mut log = access_log.config();
    if let Some(log) = log.get_mut(0) {
        log["filter"] = json!({ "response_flag_filter": { "flags": ["NR"] } });
    }
    listener["access_log"] = log;
    listener
}

const INSPECTORS: [(&str, &str); 3] = [
    (
        "envoy.filters.listener.original_dst",
        "original_dst.v3.OriginalDst",
    ),
    (
        "envoy.filters.listener.tls_inspector",
        "tls_inspector.v3.TlsInspector",
    ),
    (
        "envoy.filters.listener.http_inspector",
        "http_inspector.v3.HttpInspector",
    ),
];

/// What was not redirected but sent to the listener itself goes nowhere, and into no log.
fn to_itself(port: u16) -> Value {
    chain(json!({ "destination_port": port }), black_hole())
}

fn http(cluster: &str, access_log: &AccessLog, protocol: &str) -> Value {
    Http {
        cluster,
        access_log,
        edge: false,
        denied: &[],
        offered: Some(offered(Some(protocol))),
    }
    .filters()
}

fn with_protocols(criteria: &Value, protocols: &[&str]) -> Value {
    let mut criteria = criteria.clone();
    criteria["application_protocols"] = json!(protocols);
    criteria
}

fn chain(criteria: Value, filters: Value) -> Value {
    json!({ "filter_chain_match": criteria, "filters": filters })
}
