//! How a sidecar is brought to set each flag.

use lab::envoy::edit::{
    INBOUND, add_http_filter, add_route, clusters, copy_of_cluster, http_managers,
};
use serde_json::{Value, json};

use super::MUTE_PORT;

/// Nobody listens there, in pods and outside.
const CLOSED_PORT: u16 = 9994;

/// A route, a filter and a cluster for each flag. `own`: the cluster of the app.
pub(super) fn provoke(config: &mut Value, listener: &str, own: &str) {
    add_clusters(config, own);
    for (prefix, cluster) in [
        ("/uo", "full"),
        ("/uh", "BlackHoleCluster"),
        ("/uf", "closed"),
        ("/do", "overloaded"),
        ("/udo", "drowned"),
    ] {
        add_route(config, listener, prefix, |route| {
            route["route"]["cluster"] = json!(cluster);
        });
    }
    add_route(config, listener, "/nc", |route| {
        route["route"] = json!({ "cluster_header": "x-lab-cluster" });
    });
    for prefix in ["/slow/2/ut", "/drip/200/ut"] {
        add_route(config, listener, prefix, |route| {
            route["route"]["timeout"] = json!("0.5s");
        });
    }
    add_route(config, listener, "/slow/2/si", |route| {
        route["route"]["idle_timeout"] = json!("0.5s");
    });
    for prefix in ["/slow/2/umsdr", "/drip/200/umsdr"] {
        add_route(config, listener, prefix, |route| {
            route["route"]["cluster"] = json!("brief");
        });
    }
    for prefix in ["/slow/2/msd", "/drip/200/msd"] {
        add_route(config, listener, prefix, |route| {
            route["route"]["max_stream_duration"] = json!({ "max_stream_duration": "0.5s" });
        });
    }
    add_faults(config, listener);
    add_services(config, listener);
    add_health(config, listener);
}

fn add_clusters(config: &mut Value, own: &str) {
    let mut brief = copy_of_cluster(config, own, "brief");
    brief["typed_extension_protocol_options"][OPTIONS]["common_http_protocol_options"] =
        json!({ "max_stream_duration": "0.5s" });
    let mut full = copy_of_cluster(config, "PassthroughCluster", "full");
    full["circuit_breakers"] =
        json!({ "thresholds": [{ "max_pending_requests": 0, "max_requests": 0 }] });
    let mut closed = copy_of_cluster(config, "BlackHoleCluster", "closed");
    closed["load_assignment"] = to_loopback("closed");
    // All but one in a million, and all.
    let dropping = [("overloaded", 999_999), ("drowned", 1_000_000)].map(|(name, numerator)| {
        let mut cluster = closed.clone();
        cluster["name"] = json!(name);
        cluster["load_assignment"] = to_loopback(name);
        let dropped = json!({ "numerator": numerator, "denominator": "MILLION" });
        cluster["load_assignment"]["policy"] =
            json!({ "drop_overloads": [{ "category": "lab", "drop_percentage": dropped }] });
        cluster
    });
    let mut grpc = closed.clone();
    grpc["name"] = json!("limits");
    grpc["load_assignment"] = to_loopback("limits");
    grpc["typed_extension_protocol_options"] = json!({ OPTIONS: {
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": { "http2_protocol_options": {} },
    } });
    clusters(config).extend([brief, full, closed, grpc]);
    clusters(config).extend(dropping);
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn to_loopback(name: &str) -> Value {
    let address =
        json!({ "socket_address": { "address": "127.0.0.1", "port_value": CLOSED_PORT } });
    json!({
        "cluster_name": name,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
    })
}

fn add_faults(config: &mut Value, listener: &str) {
    const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    const NAME: &str = "envoy.filters.http.fault";
    let filter = json!({ "name": NAME, "typed_config": { "@type": FAULT } });
    add_http_filter(config, listener, &filter);
    let always = json!({ "numerator": 100, "denominator": "HUNDRED" });
    let abort = json!({ "@type": FAULT, "abort": { "http_status": 418, "percentage": always } });
    let delay = json!({ "@type": FAULT, "delay": { "fixed_delay": "0.3s", "percentage": always } });
    for (prefix, fault) in [("/fi", abort), ("/di", delay)] {
        add_route(config, listener, prefix, |route| {
            route["typed_per_filter_config"] = json!({ NAME: fault });
        });
    }
}

/// Services that are not there, each asked for one path alone.
fn add_services(config: &mut Value, listener: &str) {
    const AUTHORIZATION: &str = "envoy.filters.http.ext_authz";
    const LIMITS: &str = "envoy.filters.http.ratelimit";
    let authorization = json!({
        "name": AUTHORIZATION,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": { "envoy_grpc": { "cluster_name": "limits" }, "timeout": "1s" },
        },
    });
    add_http_filter(config, listener, &authorization);
    let limits = json!({
        "name": LIMITS,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": "lab",
            "failure_mode_deny": true,
            "timeout": "1s",
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": "limits" } },
            },
        },
    });
    add_http_filter(config, listener, &limits);
    add_route(config, listener, "/rlse", |route| {
        route["route"]["rate_limits"] =
            json!([{ "actions": [{ "generic_key": { "descriptor_value": "lab" } }] }]);
    });
    let disabled = json!({ AUTHORIZATION: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "disabled": true,
    } });
    for manager in http_managers(config, listener) {
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        for route in routes.into_iter().flatten() {
            if let (Some(all), Some(own)) = (
                disabled.as_object(),
                or_empty(&mut route["typed_per_filter_config"]).as_object_mut(),
            ) {
                own.extend(all.clone());
            }
        }
    }
    add_route(config, listener, "/uaex", |route| {
        route["typed_per_filter_config"] = json!({});
    });
}

/// `/lh` asks for the health of a cluster without hosts.
fn add_health(config: &mut Value, listener: &str) {
    let filter = json!({
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": false,
            "headers": [{ "name": ":path", "string_match": { "prefix": "/lh" } }],
            "cluster_min_healthy_percentages": { "BlackHoleCluster": { "value": 50 } },
        },
    });
    add_http_filter(config, listener, &filter);
}

fn or_empty(value: &mut Value) -> &mut Value {
    if value.is_null() {
        *value = json!({});
    }
    value
}

pub(super) fn check_headers(config: &mut Value, listener: &str) {
    for manager in http_managers(config, listener) {
        manager["internal_address_config"] =
            json!({ "cidr_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }] });
        if let Some(router) = manager["http_filters"]
            .as_array_mut()
            .and_then(|filters| filters.last_mut())
        {
            router["typed_config"]["strict_check_headers"] = json!(["x-envoy-max-retries"]);
        }
    }
}

/// The sidecar asks its app's HTTP/2 connections for a sign of life, and waits half a second for
/// an answer over HTTP/1.
pub(super) fn lose_patience(config: &mut Value) {
    let own = format!("inbound|{MUTE_PORT}||");
    for cluster in clusters(config)
        .iter_mut()
        .filter(|it| it["name"] == own.as_str())
    {
        let options = &mut cluster["typed_extension_protocol_options"][OPTIONS];
        options["use_downstream_protocol_config"]["http2_protocol_options"] =
            json!({ "connection_keepalive": { "interval": "0.3s", "timeout": "0.3s" } });
    }
    add_route(config, INBOUND, "/mute", |route| {
        route["route"]["timeout"] = json!("2s");
    });
}
