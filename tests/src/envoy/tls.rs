//! Mutual TLS between sidecars.

use serde_json::{Value, json};

use super::{Peer, Sidecar, typed};

/// The ALPN values by which an inbound listener knows its own mesh.
pub(super) const MESH_PROTOCOLS: [&str; 4] =
    ["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// What a sidecar offers for each protocol that the inspector found; none: bytes.
pub(super) fn offered(protocol: Option<&str>) -> &'static str {
    match protocol {
        Some("h2c") => "istio-h2,istio,h2",
        Some("http/1.0") => "istio-http/1.0,istio,http/1.0",
        Some(_) => "istio-http/1.1,istio,http/1.1",
        None => "istio",
    }
}

/// The client's side: the peer must be who it should be.
pub(super) fn upstream(sidecar: &Sidecar<'_>, peer: &Peer, port: u16) -> Value {
    let mut common = common(sidecar);
    common["validation_context"]["match_typed_subject_alt_names"] =
        json!([{ "san_type": "URI", "matcher": { "exact": peer.identity } }]);
    typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({
            "common_tls_context": common,
            "sni": format!("outbound_.{port}_._.{}", peer.host),
        }),
    )
}

/// The server's side: any workload of the mesh may come.
pub(super) fn downstream(sidecar: &Sidecar<'_>) -> Value {
    let mut common = common(sidecar);
    common["validation_context"]["match_typed_subject_alt_names"] =
        json!([{ "san_type": "URI", "matcher": { "prefix": "spiffe://cluster.local/" } }]);
    // The first of these that the client offers wins; "istio" stands for bytes.
    common["alpn_protocols"] = json!(["h2", "http/1.1", "http/1.0", "istio"]);
    typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({ "common_tls_context": common, "require_client_certificate": true }),
    )
}

fn common(sidecar: &Sidecar<'_>) -> Value {
    json!({
        // Istio's own; Envoy's client would go no further than 1.2.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [{
            "certificate_chain": { "filename": sidecar.certificate.certificate },
            "private_key": { "filename": sidecar.certificate.key },
        }],
        "validation_context": { "trusted_ca": { "filename": sidecar.authority } },
    })
}
