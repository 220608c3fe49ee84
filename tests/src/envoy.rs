//! The sidecar: a real Envoy with the configuration that Istio would give it.

mod access_log;
mod cluster;
pub mod edit;
mod filter_chain;
mod listener;
mod tls;

use std::{net::SocketAddrV4, path::Path};

use serde_json::{Value, json};

pub use access_log::{AccessLog, Format};

use crate::{certificate::Identity, network::Addresses};

/// Where Envoy receives what leaves the pod.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where Envoy receives what enters the pod.
pub const INBOUND_PORT: u16 = 15006;
/// Envoy's own administration interface, within the pod.
pub const ADMIN_PORT: u16 = 15000;

/// A meshed pod as its neighbours' sidecars know it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The pod.
    pub name: String,
    /// Its service: `b.shop.svc.cluster.local`.
    pub host: String,
    /// Its SPIFFE identity.
    pub identity: String,
    /// Where it is.
    pub addresses: Addresses,
    /// The ports that its service names.
    pub ports: Vec<u16>,
}

/// What one Envoy needs to know.
pub struct Sidecar<'a> {
    /// The pod it stands beside.
    pub own: &'a Peer,
    /// The other pods of the mesh.
    pub peers: &'a [Peer],
    /// Its certificate.
    pub certificate: &'a Identity,
    /// The mesh's authority.
    pub authority: &'a Path,
    /// What it logs.
    pub access_log: &'a AccessLog,
    /// Path prefixes that the inbound side refuses by itself, with 403.
    pub denied: &'a [String],
}

/// The configuration of a sidecar.
#[must_use]
pub fn sidecar(sidecar: &Sidecar<'_>) -> Value {
    configuration(
        &sidecar.own.host,
        vec![listener::outbound(sidecar), listener::inbound(sidecar)],
        cluster::all(sidecar),
    )
}

/// The configuration of a gateway: it listens in plain text and forwards to `target`, a pod of
/// `peers`.
#[must_use]
pub fn gateway(sidecar: &Sidecar<'_>, port: u16, target: &Peer, target_port: u16) -> Value {
    let address = SocketAddrV4::new(target.addresses.v4, target_port);
    configuration(
        &sidecar.own.host,
        vec![listener::gateway(sidecar, port, target, target_port)],
        vec![cluster::fixed(sidecar, target, target_port, address)],
    )
}

fn configuration(host: &str, listeners: Vec<Value>, clusters: Vec<Value>) -> Value {
    json!({
        "node": { "id": format!("sidecar~{host}"), "cluster": host },
        "admin": { "address": address("127.0.0.1", ADMIN_PORT) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

/// A cluster that leads to one port of a pod whatever the connection was meant for.
#[must_use]
pub fn fixed_cluster(sidecar: &Sidecar<'_>, peer: &Peer, port: u16) -> Value {
    let address = SocketAddrV4::new(peer.addresses.v4, port);
    cluster::fixed(sidecar, peer, port, address)
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// An extension's configuration: Envoy names its type by URL.
fn typed(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.{kind}"));
    json!({ "name": name, "typed_config": config })
}
