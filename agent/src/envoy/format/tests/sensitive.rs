//! What lines hold that they must not, by the field in which it stands.

use serde_json::{Map, Value, json};

use super::{super::ISTIO_TEXT, Format, LineParser};
use crate::envoy::{Content, SensitiveKind};

const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

/// What is found in a line, and what the line is.
fn found(format: Format, line: &str) -> (Content, Vec<(Option<String>, SensitiveKind)>) {
    let mut parser = LineParser::new(format);
    let content = parser.parse(line.as_bytes());
    let sensitive = parser.sensitive(line.as_bytes(), &content);
    let told = sensitive.into_iter();
    let told = told.map(|it| (it.field.map(|field| field.to_string()), it.kind));
    (content, told.collect())
}

fn text(format: &str) -> Format {
    Format::compile(format).unwrap()
}

fn object(format: Value) -> Format {
    let format: Map<String, Value> = serde_json::from_value(format).unwrap();
    Format::compile_json(&format).unwrap()
}

/// A line of Istio's text format.
fn istio(path: &str, agent: &str, authority: &str) -> String {
    format!(
        "[2026-11-22T08:08:17.914Z] \"GET {path} HTTP/1.1\" 200 - via_upstream - \"-\" 0 19 1 1 \
         \"-\" \"{agent}\" \"3f0c1f4e-4111-4111-8111-111111111111\" \"{authority}\" \
         \"10.0.0.2:8080\" inbound|8080|| 127.0.0.6:41111 10.0.0.2:8080 10.0.0.1:51111 - default"
    )
}

fn one(field: &str, kind: SensitiveKind) -> Vec<(Option<String>, SensitiveKind)> {
    vec![(Some(field.to_owned()), kind)]
}

#[test]
fn a_clean_line_is_clean() {
    let line = istio("/a?page=2&x=%20", "Mozilla/5.0 (+mailto:a@b.c)", "b.shop");
    for format in ["auto", "istio-text", ISTIO_TEXT] {
        let (content, found) = found(text(format), &line);
        assert!(matches!(content, Content::Entry(_)));
        assert_eq!(found, []);
    }
}

#[test]
fn of_a_text_line_the_operator_is_named() {
    const PATH: &str = "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)";
    for (line, field, kind) in [
        (
            istio("/a?token=hunter2", "-", "b"),
            PATH,
            SensitiveKind::QueryValue,
        ),
        (
            istio("/a?next=%2Fb%3Ftoken%3Dhunter2", "-", "b"),
            PATH,
            SensitiveKind::QueryValue,
        ),
        (
            istio(&format!("/verify/{JWT}"), "-", "b"),
            PATH,
            SensitiveKind::Jwt,
        ),
        (
            istio("/pay/4111111111111111", "-", "b"),
            PATH,
            SensitiveKind::CardNumber,
        ),
        (
            istio("/", "AKIAIOSFODNN7EXAMPLE", "b"),
            "REQ(USER-AGENT)",
            SensitiveKind::AwsAccessKey,
        ),
        (
            istio("/", "-", "user:hunter2@b"),
            "REQ(:AUTHORITY)",
            SensitiveKind::UrlCredentials,
        ),
    ] {
        assert_eq!(found(text("auto"), &line).1, one(field, kind), "{line}");
    }
}

#[test]
fn of_a_json_line_the_key_is_named() {
    let line = |member: &str| {
        format!("{{\"start_time\":\"2026-11-22T08:08:17.914Z\",\"method\":\"GET\",{member}}}")
    };
    for (member, field, kind) in [
        (
            "\"path\":\"/a?token=hunter2\"".to_owned(),
            Some("path"),
            SensitiveKind::QueryValue,
        ),
        // Keys that the format does not know.
        (
            "\"authorization\":\"opaque\"".to_owned(),
            Some("authorization"),
            SensitiveKind::Credential,
        ),
        (
            "\"Cookie\":\"session=opaque\"".to_owned(),
            Some("cookie"),
            SensitiveKind::Cookie,
        ),
        (
            format!("\"hunter2\":[{{\"x\":\"{JWT}\"}}]"),
            None,
            SensitiveKind::Jwt,
        ),
    ] {
        let expected = vec![(field.map(str::to_owned), kind)];
        assert_eq!(found(text("auto"), &line(&member)).1, expected, "{member}");
    }
    for member in [
        "\"path\":\"/a\",\"trace_id\":\"4111111111111111\"",
        "\"path\":\"/a\",\"number\":4111111111111111",
        "\"authorization\":\"-\",\"cookie\":null",
        "\"authorization\":\"REDACTED\"",
    ] {
        assert_eq!(found(text("auto"), &line(member)).1, [], "{member}");
    }
}

#[test]
fn formats_of_ones_own_are_known_by_their_operators() {
    let format = "%START_TIME% %REQ(AUTHORIZATION)% %REQ(X-B3-SPANID)% %TRACE_ID% %BYTES_SENT%";
    let line = |header: &str| {
        format!(
            "2026-11-22T08:08:17.914Z {header} 4111111111111111 4111111111111111 4111111111111111"
        )
    };
    let (_, sensitive) = found(text(format), &line("opaque"));
    assert_eq!(
        sensitive,
        one("REQ(AUTHORIZATION)", SensitiveKind::Credential)
    );
    assert_eq!(found(text(format), &line("-")).1, []);
    let format = json!({
        "request": { "verb": "%REQ(:METHOD)%", "auth": "%REQ(AUTHORIZATION)%" },
        "text": "to %REQ(:PATH)% as %REQ(X-API-KEY)%",
    });
    let line = r#"{"request":{"verb":"GET","auth":"Bearer 0123456789"},"text":"to / as opaque"}"#;
    let expected = [
        one("request.auth", SensitiveKind::BearerToken),
        one("text", SensitiveKind::Credential),
    ];
    assert_eq!(found(object(format), line).1, expected.concat());
}

#[test]
fn lines_that_nothing_reads_are_looked_through_as_a_whole() {
    let (content, sensitive) = found(
        text("auto"),
        "[2026-11-22T08:08:17.914Z] \"GET /a?token=hunter2",
    );
    assert_eq!(content, Content::Unknown);
    assert_eq!(sensitive, [(None, SensitiveKind::QueryValue)]);
    // A user agent with quotes: where the path ends is not known.
    let (content, sensitive) = found(
        text("auto"),
        &istio("/a?token=hunter2", "x\" \"y\" \"z", "b"),
    );
    assert!(matches!(content, Content::Ambiguous(_)));
    assert_eq!(sensitive.len(), 1, "{sensitive:?}");
    assert_eq!(sensitive[0].1, SensitiveKind::QueryValue);
    // The output of others is not looked at.
    let other = "2026-11-22T08:08:17.146322Z\tinfo\ttoken ?token=hunter2";
    assert_eq!(found(text("auto"), other), (Content::Other, Vec::new()));
}
