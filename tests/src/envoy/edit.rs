//! Places in a sidecar's configuration that one wants to change.

use serde_json::{Value, json};

/// The listener of what the app sends.
pub const OUTBOUND: &str = "virtualOutbound";
/// The listener of what the app receives.
pub const INBOUND: &str = "virtualInbound";

/// A listener by its name.
///
/// # Panics
///
/// If there is none.
pub fn listener<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let listeners = config["static_resources"]["listeners"].as_array_mut();
    let mut listeners = listeners.into_iter().flatten();
    match listeners.find(|listener| listener["name"] == name) {
        Some(listener) => listener,
        None => panic!("the configuration has no listener {name}"),
    }
}

/// The HTTP connection managers of a listener.
pub fn http_managers<'a>(config: &'a mut Value, listener: &str) -> Vec<&'a mut Value> {
    filters(
        config,
        listener,
        "envoy.filters.network.http_connection_manager",
    )
}

/// The TCP proxies of a listener.
pub fn tcp_proxies<'a>(config: &'a mut Value, listener: &str) -> Vec<&'a mut Value> {
    filters(config, listener, "envoy.filters.network.tcp_proxy")
}

/// The action `route` of each last route, which takes everything.
pub fn routes<'a>(config: &'a mut Value, listener: &str) -> Vec<&'a mut Value> {
    http_managers(config, listener)
        .into_iter()
        .filter_map(|manager| {
            let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
            let last = routes.as_array_mut().and_then(|routes| routes.last_mut());
            last.map(|route| &mut route["route"])
        })
        .collect()
}

/// Puts a route for paths with this prefix before all others: like the last, which takes
/// everything, but for what `change` makes of it.
pub fn add_route(config: &mut Value, listener: &str, prefix: &str, change: impl Fn(&mut Value)) {
    for manager in http_managers(config, listener) {
        let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
        let Some(routes) = routes.as_array_mut() else {
            continue;
        };
        let Some(mut route) = routes.last().cloned() else {
            continue;
        };
        route["match"] = json!({ "prefix": prefix });
        change(&mut route);
        routes.insert(0, route);
    }
}

/// Puts a filter before all others of a listener's HTTP connection managers.
pub fn add_http_filter(config: &mut Value, listener: &str, filter: &Value) {
    for manager in http_managers(config, listener) {
        if let Some(filters) = manager["http_filters"].as_array_mut() {
            filters.insert(0, filter.clone());
        }
    }
}

/// The clusters.
///
/// # Panics
///
/// If there are none.
pub fn clusters(config: &mut Value) -> &mut Vec<Value> {
    match config["static_resources"]["clusters"].as_array_mut() {
        Some(clusters) => clusters,
        None => panic!("the configuration has no clusters"),
    }
}

/// A copy of a cluster under another name.
///
/// # Panics
///
/// If there is none.
pub fn copy_of_cluster(config: &mut Value, name: &str, new_name: &str) -> Value {
    let mut clusters = clusters(config).iter();
    match clusters.find(|cluster| cluster["name"] == name) {
        Some(cluster) => {
            let mut copy = cluster.clone();
            copy["name"] = json!(new_name);
            copy
        }
        None => panic!("the configuration has no cluster {name}"),
    }
}

fn filters<'a>(config: &'a mut Value, name: &str, filter: &str) -> Vec<&'a mut Value> {
    let Some(listener) = listener(config, name).as_object_mut() else {
        return Vec::new();
    };
    let mut chains = Vec::new();
    for (key, value) in listener {
        match (key.as_str(), value) {
            ("filter_chains", Value::Array(all)) => chains.extend(all),
            ("default_filter_chain", chain) => chains.push(chain),
            _ => {}
        }
    }
    chains
        .into_iter()
        .filter_map(|chain| chain["filters"].as_array_mut())
        .flatten()
        .filter(|found| found["name"] == filter)
        .map(|found| &mut found["typed_config"])
        .collect()
}
