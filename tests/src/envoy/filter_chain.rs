//! What the sidecar does with a connection.

use serde_json::{Value, json};

use super::{AccessLog, cluster::BLACK_HOLE, tls, typed};

/// HTTP: one route to one cluster.
pub(super) struct Http<'a> {
    pub(super) cluster: &'a str,
    pub(super) access_log: &'a AccessLog,
    /// The header that shows the client's address is written, not believed: a gateway's setting.
    pub(super) edge: bool,
    /// Path prefixes that are refused with 403.
    pub(super) denied: &'a [String],
    /// What the connection to the next sidecar offers; none: there is no next sidecar.
    pub(super) offered: Option<&'static str>,
}

impl Http<'_> {
    pub(super) fn filters(&self) -> Value {
        let mut routes: Vec<Value> = self
            .denied
            .iter()
            .map(|prefix| {
                json!({ "match": { "prefix": prefix }, "direct_response": { "status": 403 } })
            })
            .collect();
        routes.push(json!({
            "name": "default",
            "match": { "prefix": "/" },
            "route": { "cluster": self.cluster, "timeout": "0s" },
        }));
        let router = typed(
            "envoy.filters.http.router",
            "extensions.filters.http.router.v3.Router",
            json!({}),
        );
        let manager = json!({
            "stat_prefix": self.cluster,
            "codec_type": "AUTO",
            "use_remote_address": self.edge,
            "normalize_path": true,
            "merge_slashes": true,
            "stream_idle_timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "http_filters": [router],
            "access_log": self.access_log.config(),
            "route_config": {
                "name": self.cluster,
                "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
            },
        });
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            manager,
        );
        match self.offered {
            Some(protocols) => json!([offer(protocols), manager]),
            None => json!([manager]),
        }
    }
}

/// Bytes: carried to one cluster.
pub(super) fn tcp(cluster: &str, access_log: &AccessLog) -> Value {
    json!([
        offer(tls::offered(None)),
        typed(
            "envoy.filters.network.tcp_proxy",
            "extensions.filters.network.tcp_proxy.v3.TcpProxy",
            json!({
                "stat_prefix": cluster,
                "cluster": cluster,
                "idle_timeout": "0s",
                "access_log": access_log.config(),
            }),
        ),
    ])
}

/// Bytes that are carried nowhere.
pub(super) fn black_hole() -> Value {
    json!([typed(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({ "stat_prefix": BLACK_HOLE, "cluster": BLACK_HOLE }),
    )])
}

/// Sets the ALPN of connections upstream, as Istio's own filter does.
fn offer(protocols: &str) -> Value {
    typed(
        "envoy.filters.network.set_filter_state",
        "extensions.filters.network.set_filter_state.v3.Config",
        json!({ "on_new_connection": [{
            "object_key": "envoy.network.application_protocols",
            "format_string": { "text_format_source": { "inline_string": protocols } },
            "shared_with_upstream": "ONCE",
        }] }),
    )
}
