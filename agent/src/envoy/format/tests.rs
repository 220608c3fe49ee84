mod fixtures;
mod hostile;
mod sensitive;

use serde_json::json;

use super::{Format, LineParser};
use crate::envoy::{Content, LogEntry};

fn parse(format: &str, line: &str) -> Content {
    LineParser::new(Format::compile(format).unwrap()).parse(line.as_bytes())
}

fn entry(content: Content) -> LogEntry {
    match content {
        Content::Entry(entry) => *entry,
        content => panic!("expected an entry, got {content:?}"),
    }
}

#[test]
fn other_output_of_the_container_is_other() {
    for line in [
        "",
        "2026-11-22T08:08:17.146322Z\tinfo\tEnvoy command: [-c etc/istio/proxy/envoy-rev0.json]",
        "2026-11-22T08:08:17.216837Z     info    xdsproxy        connected to upstream XDS server",
        "[2026-11-22 08:08:17.919][12][info][main] [source/server/server.cc:449] starting",
        "[Envoy (Epoch 0)] [2026-11-22 07:23:09.372][20][info][upstream] cds: add 23 cluster(s)",
        "2026-11-22T08:08:17.1Z\twarning\tenvoy config\tgRPC config stream closed\tthread=18",
        r#"{"level":"info","time":"2026-11-22T08:08:17Z","scope":"xdsproxy","msg":"connected"}"#,
        r#"{"Timestamp":"2026-11-22 08:08:17","ThreadId":"18","Level":"info","Message":"x"}"#,
        "Caught Segmentation fault, suspect faulting address 0x0",
        "goroutine 1 [running]:",
        "    main.main()",
        "{not json",
    ] {
        for format in ["auto", "istio-text", "istio-json"] {
            assert_eq!(parse(format, line), Content::Other, "{format}: {line}");
        }
    }
}

#[test]
fn an_access_log_of_another_format_is_unknown() {
    for line in [
        "[2026-11-22T08:08:17.914Z] \"GET /plain HTTP/1.1\" 200",
        "[2026-11-22T08:08:17.914Z] GET",
        "[2026-11-22T08:08:17Z] \"GET / HTTP/1.1\" 200 - \"-\" \"-\" 0 1 2 3",
        r#"{"http_method":"GET","status":200}"#,
        r#"{"method":"GET","path":"/cut off"#,
    ] {
        assert_eq!(parse("auto", line), Content::Unknown, "{line}");
    }
}

#[test]
fn an_explicit_format_knows_its_broken_lines() {
    let format = "%START_TIME(%s.%3f)% %REQ(:METHOD)% %RESPONSE_CODE%";
    assert_eq!(
        entry(parse(format, "1795419771.883 GET 200")).response_code,
        Some(200)
    );
    assert_eq!(parse(format, "1795419771.883 GET two"), Content::Unknown);
    assert_eq!(parse(format, "starting the main loop"), Content::Other);
    let format = "%REQ(:METHOD)%|%PATH%|%RESPONSE_CODE%";
    assert_eq!(parse(format, "GET|/|x"), Content::Unknown);
    assert_eq!(parse(format, "GET|x"), Content::Other);
}

#[test]
fn json_formats_nest_and_mix() {
    let format = json!({
        "method": "%REQ(:METHOD)%",
        "constant": "production",
        "list": ["%PROTOCOL%"],
        "n": { "dur": "%DURATION%", "two": "%BYTES_SENT% %PROTOCOL%" },
        "grpc": "%GRPC_STATUS%",
        "st": "%START_TIME(%s.%9f)%",
        "rc": "%RESPONSE_CODE%",
    });
    let format = Format::compile_json(format.as_object().unwrap()).unwrap();
    let mut parser = LineParser::new(format);
    // Written by Envoy 1.40.
    let line = br#"{"grpc":"Unknown","method":"GET","n":{"dur":7,"two":"12 HTTP/2"},"rc":200,"st":"1795419780.411429123"}"#;
    let read = entry(parser.parse(line));
    assert_eq!(read.method.as_deref(), Some("GET"));
    assert_eq!(read.duration_milliseconds, Some(7));
    assert_eq!(read.bytes_sent, Some(12));
    assert_eq!(read.protocol.as_deref(), Some("HTTP/2"));
    assert_eq!(read.grpc_status, Some(2));
    assert_eq!(read.response_code, Some(200));
    assert_eq!(read.start_time.unwrap().0, 1_795_419_780_411_429_123);
    assert_eq!(read.start_time_precision_nanoseconds, 1);
    assert!(read.can_speak_http);
}

#[test]
fn json_numbers_may_be_texts_and_wrong_types_are_nothing() {
    let line = r#"{"response_code":"200","bytes_sent":1e3,"duration":-1,"method":7,"path":["/"],
        "downstream_remote_address":{"ip":"1.2.3.4"},"protocol":true,"bytes_received":1.5}"#;
    let read = entry(parse("istio-json", line));
    assert_eq!(read.response_code, Some(200));
    assert_eq!(read.bytes_sent, Some(1000));
    let rest = LogEntry {
        response_code: None,
        bytes_sent: None,
        ..read
    };
    let blank = LogEntry {
        can_speak_http: true,
        start_time_precision_nanoseconds: 1_000_000,
        ..LogEntry::default()
    };
    assert_eq!(rest, blank);
}

#[test]
fn a_tcp_format_cannot_speak_http() {
    let read = entry(parse(
        "[%START_TIME%] %BYTES_SENT%",
        "[2026-11-22T08:08:17.914Z] 5",
    ));
    assert!(!read.can_speak_http);
    let read = entry(parse("%PATH(NQ)% %BYTES_SENT%", "/a 5"));
    assert!(read.can_speak_http && read.path_without_query);
    let read = entry(parse("%PATH(NQ)% %REQ(:PATH)%", "/a /a?b"));
    assert!(!read.path_without_query);
    assert_eq!(read.path.as_deref(), Some("/a?b"));
}
