//! Where the sidecar connects to.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use super::{Peer, Sidecar, address, tls};

/// A cluster that leads out of the mesh.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
/// A cluster without an endpoint.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
/// The pod's own ports that its service does not name.
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// The name of the cluster for a port of a peer.
pub(super) fn outbound_name(peer: &Peer, port: u16) -> String {
    format!("outbound|{port}||{}", peer.host)
}

/// The name of the cluster for a port of the pod itself.
pub(super) fn inbound_name(port: u16) -> String {
    format!("inbound|{port}||")
}

/// All clusters of a sidecar. Each connects to where the connection was meant to go.
pub(super) fn all(sidecar: &Sidecar<'_>) -> Vec<Value> {
    let mut black_hole = cluster(BLACK_HOLE);
    black_hole["type"] = json!("STATIC");
    let mut clusters = vec![
        black_hole,
        original_destination(PASSTHROUGH),
        from_loopback(original_destination(INBOUND_PASSTHROUGH)),
    ];
    for port in &sidecar.own.ports {
        clusters.push(from_loopback(original_destination(&inbound_name(*port))));
    }
    for peer in sidecar.peers {
        for port in &peer.ports {
            let mut cluster = original_destination(&outbound_name(peer, *port));
            cluster["transport_socket"] = tls::upstream(sidecar, peer, *port);
            clusters.push(cluster);
        }
    }
    clusters
}

/// A cluster with one address, as a gateway has them.
pub(super) fn fixed(
    sidecar: &Sidecar<'_>,
    peer: &Peer,
    port: u16,
    destination: SocketAddrV4,
) -> Value {
    let name = outbound_name(peer, port);
    let host = address(&destination.ip().to_string(), destination.port());
    let mut cluster = cluster(&name);
    cluster["type"] = json!("STATIC");
    cluster["load_assignment"] = json!({
        "cluster_name": name,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": host } }] }],
    });
    cluster["transport_socket"] = tls::upstream(sidecar, peer, port);
    cluster
}

fn original_destination(name: &str) -> Value {
    let mut cluster = cluster(name);
    cluster["type"] = json!("ORIGINAL_DST");
    cluster["lb_policy"] = json!("CLUSTER_PROVIDED");
    cluster
}

fn cluster(name: &str) -> Value {
    json!({
        "name": name,
        "connect_timeout": "2s",
        "circuit_breakers": { "thresholds": [{
            "max_connections": u32::MAX,
            "max_pending_requests": u32::MAX,
            "max_requests": u32::MAX,
            "max_retries": u32::MAX,
        }] },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": {},
                },
            },
        },
    })
}

/// The proxy speaks to its own pod from an address that the nat rules let pass.
fn from_loopback(mut cluster: Value) -> Value {
    cluster["upstream_bind_config"] = json!({
        "source_address": { "address": "127.0.0.6", "port_value": 0 },
        "extra_source_addresses": [{ "address": { "address": "::6", "port_value": 0 } }],
    });
    cluster
}
