//! Lines whose values imitate the format.

use proptest::{
    prelude::{any, prop},
    proptest,
};

use super::{super::ISTIO_TEXT, Format, LineParser, entry, parse};
use crate::envoy::{Content, LogEntry};

/// A line in Istio's text format with some values of the client's.
fn line(path: &str, agent: &str, server_name: &str) -> String {
    format!(
        "[2026-11-22T08:08:17.914Z] \"GET {path} HTTP/1.1\" 200 - via_upstream - \"-\" 0 10 3 2 \
         \"-\" \"{agent}\" \"id\" \"host\" \"10.0.0.2:80\" outbound|80||x 10.0.0.1:1000 \
         10.0.0.2:80 10.0.0.1:2000 {server_name} default"
    )
}

fn ambiguous(line: &str) -> LogEntry {
    match parse("auto", line) {
        Content::Ambiguous(entry) => *entry,
        content => panic!("expected ambiguity, got {content:?}"),
    }
}

#[test]
fn a_path_of_the_clients_own_may_hold_anything() {
    // Envoy logs the header x-envoy-original-path as it came.
    let read = entry(parse("auto", &line("/a b\" 200 -", "curl", "-")));
    assert_eq!(read.path.as_deref(), Some("/a b\" 200 -"));
    assert_eq!(read.response_code, Some(200));
}

#[test]
fn a_path_that_imitates_the_response_hides_nothing() {
    let forged = "/a HTTP/1.1\" 404 NR route_not_found - \"-\" 1 1 1 1 \"x";
    let read = ambiguous(&line(forged, "curl", "-"));
    assert_eq!(read.path, None);
    assert_eq!(read.response_code, None);
    assert_eq!(read.method.as_deref(), Some("GET"));
    assert_eq!(read.upstream_local_address, "10.0.0.1:1000".parse().ok());
    assert_eq!(read.downstream_remote_address, "10.0.0.1:2000".parse().ok());
}

#[test]
fn a_user_agent_that_imitates_the_rest_of_the_line_hides_the_addresses() {
    let forged = "x\" \"i\" \"h\" \"9.9.9.9:9\" c 9.9.9.9:1 9.9.9.9:2 9.9.9.9:3 - d";
    let read = ambiguous(&line("/", forged, "-"));
    assert_eq!(read.path.as_deref(), Some("/"));
    assert_eq!(read.response_code, Some(200));
    // The route can be any text, and so the forged columns may be the true ones.
    assert_eq!(read.upstream_local_address, None);
    assert_eq!(read.downstream_remote_address, None);
}

#[test]
fn a_server_name_with_addresses_is_noticed() {
    // Envoy before 1.31.2 let any server name through (CVE-2024-45808).
    let read = ambiguous(&line("/", "curl", "9.9.9.9:1 9.9.9.9:2 9.9.9.9:3 - d"));
    assert_eq!(read.route_name, None);
    assert_eq!(read.path.as_deref(), Some("/"));
}

#[test]
fn ordinary_browsers_are_no_riddle() {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
    let read = entry(parse("auto", &line("/q\"uo\"", agent, "outbound_.80_._.x")));
    assert_eq!(read.user_agent.as_deref(), Some(agent));
    assert_eq!(read.path.as_deref(), Some("/q\"uo\""));
}

#[test]
fn values_that_are_no_text_are_kept_byte_by_byte() {
    let mut bytes = line("/", "AGENT", "-").into_bytes();
    let at = bytes
        .windows(5)
        .position(|window| window == b"AGENT")
        .unwrap();
    bytes.splice(at..at + 5, *b"\xff\t\x80");
    let mut parser = LineParser::new(Format::compile("auto").unwrap());
    assert_eq!(
        entry(parser.parse(&bytes)).user_agent.as_deref(),
        Some("ÿ\t\u{80}")
    );
}

#[test]
fn a_json_key_that_stands_twice_is_not_believed() {
    // What a format of text that looks like JSON makes of a forged user agent.
    let line = r#"{"method":"GET","path":"/a","user_agent":"x","path":"/b","response_code":200}"#;
    let read = ambiguous(line);
    assert_eq!(read.path, None);
    assert_eq!(read.method.as_deref(), Some("GET"));
    assert_eq!(read.response_code, Some(200));
}

#[test]
fn json_in_a_text_format_is_read_as_text() {
    let format = r#"{"path":"%REQ(:PATH)%","agent":"%REQ(USER-AGENT)%","code":%RESPONSE_CODE%}"#;
    let read = entry(parse(format, r#"{"path":"/a","agent":"x","code":200}"#));
    assert_eq!(read.path.as_deref(), Some("/a"));
    let forged = r#"{"path":"/a","agent":"x","agent":"y","code":200}"#;
    let Content::Ambiguous(read) = parse(format, forged) else {
        panic!("{forged}")
    };
    assert_eq!(read.user_agent, None);
    assert_eq!(read.response_code, Some(200));
}

proptest! {
    #[test]
    fn any_bytes_are_something(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        LineParser::new(Format::compile("auto").unwrap()).parse(&bytes);
    }

    #[test]
    fn any_format_is_compiled_or_refused(format in "[%A-Z_():?0-9a-z \"]{0,60}") {
        if let Ok(format) = Format::compile(&format) {
            LineParser::new(format).parse(b"GET / 200");
        }
    }

    #[test]
    fn damaged_lines_are_never_panics(
        cut in 0..300_usize, byte in any::<u8>(), at in 0..300_usize,
    ) {
        let mut bytes = line("/a", "curl", "-").into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut);
        LineParser::new(Format::compile(ISTIO_TEXT).unwrap()).parse(&bytes);
    }
}
