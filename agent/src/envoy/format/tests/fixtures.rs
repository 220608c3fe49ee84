//! Every line of two sidecars' logs, in both of Istio's formats.

use serde_json::Value;

use super::{entry, parse};
use crate::envoy::{Content, LogEntry};

const TEXT: [&str; 2] = [
    include_str!("../../testdata/istio-text-pod-a.cri.log"),
    include_str!("../../testdata/istio-text-pod-b.cri.log"),
];
const JSON: [&str; 2] = [
    include_str!("../../testdata/istio-json-pod-a.cri.log"),
    include_str!("../../testdata/istio-json-pod-b.cri.log"),
];

/// The lines without their CRI framing.
fn contents(files: [&str; 2]) -> impl Iterator<Item = &str> {
    files
        .into_iter()
        .flat_map(str::lines)
        .map(|line| line.splitn(4, ' ').nth(3).unwrap())
}

/// An entry from texts by key of Istio's JSON format, put together without the parser.
fn expected(text: impl Fn(&str) -> Option<String>) -> LogEntry {
    let number = |key: &str| text(key).map(|number| number.parse::<u64>().unwrap());
    let address = |key: &str| text(key).map(|address| address.parse().unwrap());
    let time: jiff::Timestamp = text("start_time").unwrap().parse().unwrap();
    LogEntry {
        downstream_peer: None,
        upstream_peer: None,
        start_time: Some(crate::timestamp::Timestamp(
            time.as_nanosecond().try_into().unwrap(),
        )),
        start_time_precision_nanoseconds: 1_000_000,
        method: text("method"),
        path: text("path"),
        path_without_query: false,
        protocol: text("protocol"),
        can_speak_http: true,
        response_code: number("response_code").map(|code| code.try_into().unwrap()),
        response_flags: text("response_flags"),
        response_code_details: text("response_code_details"),
        bytes_received: number("bytes_received"),
        bytes_sent: number("bytes_sent"),
        duration_milliseconds: number("duration"),
        x_forwarded_for: text("x_forwarded_for"),
        user_agent: text("user_agent"),
        request_id: text("request_id"),
        authority: text("authority"),
        upstream_host: text("upstream_host"),
        upstream_cluster: text("upstream_cluster"),
        upstream_local_address: address("upstream_local_address"),
        downstream_local_address: address("downstream_local_address"),
        downstream_remote_address: address("downstream_remote_address"),
        downstream_direct_remote_address: None,
        requested_server_name: text("requested_server_name"),
        upstream_transport_failure_reason: text("upstream_transport_failure_reason"),
        connection_termination_details: text("connection_termination_details"),
        route_name: text("route_name"),
        grpc_status: None,
        attempts: None,
        access_log_type: None,
    }
}

fn something(text: &str) -> Option<String> {
    (text != "-").then(|| text.to_owned())
}

#[test]
fn json_lines() {
    for format in ["auto", "istio-json"] {
        for line in contents(JSON) {
            let object: Value = serde_json::from_str(line).unwrap();
            let meant = expected(|key| match &object[key] {
                Value::Null => None,
                Value::String(text) => something(text),
                value => Some(value.to_string()),
            });
            assert_eq!(entry(parse(format, line)), meant, "{line}");
        }
    }
}

#[test]
fn json_lines_of_strings_in_any_order() {
    for line in contents(JSON) {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let members = object.iter().rev().map(|(key, value)| match value {
            Value::Null => format!("\"{key}\":\"-\""),
            Value::String(_) => format!("\"{key}\":{value}"),
            value => format!("\"{key}\":\"{value}\""),
        });
        let reversed = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        assert_eq!(parse("auto", &reversed), parse("auto", line), "{line}");
    }
}

/// The columns of a line in which no value holds a quote, by quotes and spaces alone.
fn columns(line: &str) -> Vec<&str> {
    let mut columns = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            columns.push(part);
        } else {
            columns.extend(part.split(' ').filter(|column| !column.is_empty()));
        }
    }
    columns
}

#[test]
fn text_lines() {
    let keys = [
        "start_time",
        "request",
        "response_code",
        "response_flags",
        "response_code_details",
        "connection_termination_details",
        "upstream_transport_failure_reason",
        "bytes_received",
        "bytes_sent",
        "duration",
        "upstream_service_time",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
        "upstream_cluster",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
        "requested_server_name",
        "route_name",
    ];
    let mut read = 0;
    for format in ["auto", "istio-text"] {
        for line in contents(TEXT).filter(|line| !line.contains("/inject")) {
            let columns = columns(line);
            assert_eq!(columns.len(), keys.len(), "{line}");
            let column = |key: &str| columns[keys.iter().position(|it| *it == key).unwrap()];
            let meant = expected(|key| match key {
                "method" => something(column("request").split(' ').next().unwrap()),
                "path" => something(column("request").split(' ').nth(1).unwrap()),
                "protocol" => something(column("request").split(' ').nth(2).unwrap()),
                "start_time" => Some(column(key).trim_matches(['[', ']']).to_owned()),
                key => something(column(key)),
            });
            assert_eq!(entry(parse(format, line)), meant, "{line}");
            read += 1;
        }
    }
    assert_eq!(read, 2 * (19 - 1 + 15 - 1));
}

/// A user agent of `evil" "x" "0 10.0.0.1:1 - -`: where the three client-chosen columns end
/// cannot be known, all else can.
#[test]
fn text_line_with_forged_columns() {
    let lines: Vec<&str> = contents(TEXT)
        .filter(|line| line.contains("/inject"))
        .collect();
    assert_eq!(lines.len(), 2);
    for (line, cluster) in lines.iter().zip(["mesh", "inbound"]) {
        let Content::Ambiguous(entry) = parse("auto", line) else {
            panic!("{line}")
        };
        assert_eq!(entry.x_forwarded_for, None);
        assert_eq!(entry.user_agent, None);
        assert_eq!(entry.request_id, None);
        assert_eq!(entry.method.as_deref(), Some("GET"));
        assert_eq!(entry.path.as_deref(), Some("/inject"));
        assert_eq!(entry.protocol.as_deref(), Some("HTTP/1.1"));
        assert_eq!(entry.response_code, Some(200));
        assert_eq!(entry.response_code_details.as_deref(), Some("via_upstream"));
        assert_eq!(
            (entry.bytes_received, entry.bytes_sent),
            (Some(0), Some(11))
        );
        assert_eq!(entry.authority.as_deref(), Some("10.77.0.12:8080"));
        assert_eq!(entry.upstream_host.as_deref(), Some("10.77.0.12:8080"));
        assert_eq!(entry.upstream_cluster.as_deref(), Some(cluster));
        assert_eq!(
            entry.downstream_local_address,
            "10.77.0.12:8080".parse().ok()
        );
        assert!(entry.upstream_local_address.is_some());
        assert!(entry.downstream_remote_address.is_some());
        assert_eq!(entry.route_name.as_deref(), Some("default"));
    }
}
