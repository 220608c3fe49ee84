//! What the ledger is given to show: redacted, of requests as of lines.

use std::sync::Arc;

use crate::{
    envoy::{self, LogEntry, LogLine},
    http::{self, Request, RequestHead},
    ledger::{Intake, LineContent},
    record::{Fingerprints, IdentityRedaction, QueryRedaction, Redaction, Shown},
    timestamp::Timestamp,
};

fn redaction(headers: &[&str]) -> Redaction {
    Redaction {
        query: QueryRedaction::Values,
        paths: Vec::new(),
        identity: IdentityRedaction::default(),
        headers: headers.iter().map(|name| Arc::from(*name)).collect(),
    }
}

fn intake(headers: &[&str]) -> Intake {
    Intake::new(Fingerprints::new(&[7; 16]), redaction(headers))
}

/// What is shown of a request with a secret in its query, its authority, and a header.
fn shown_of_request(intake: &Intake) -> Arc<Shown> {
    intake.exchange(told()).shown
}

fn told() -> http::Exchange {
    let head = RequestHead {
        method: Some("GET".into()),
        path: Some("/a?token=secret".into()),
        authority: Some("user:secret@b.shop".into()),
        version: "1.1",
        headers: [("user-agent", "curl"), ("cookie", "secret")]
            .into_iter()
            .collect(),
        conflicting_length: true,
    };
    http::Exchange {
        connection: 1,
        exchange: 0,
        stream: None,
        time: Timestamp::default(),
        end: Timestamp::default(),
        request: Request {
            head: Some(head),
            ..Request::default()
        },
        response: None,
        gap: None,
        joined: false,
        undecoded: false,
        refused: false,
    }
}

/// What is shown of its line.
fn shown_of_line(intake: &Intake) -> Arc<Shown> {
    let entry = LogEntry {
        path: Some("/a?token=secret".into()),
        authority: Some("user:secret@b.shop".into()),
        user_agent: Some("curl".into()),
        x_forwarded_for: Some("10.0.0.7".into()),
        ..LogEntry::default()
    };
    let line = LogLine {
        pod_uid: super::UID.into(),
        file: "0.log".into(),
        offset: 0,
        length: 1,
        time: Timestamp::default(),
        content: envoy::Content::Entry(Box::new(entry)),
        sensitive: Vec::new(),
    };
    match intake.line(line).content {
        LineContent::Entry(entry) => entry.shown,
        other => panic!("expected an entry, got {other:?}"),
    }
}

#[test]
fn requests_and_lines_are_shown_without_secrets() {
    let intake = intake(&["user-agent"]);
    let request = Shown {
        path: Some("/a".into()),
        query: Some("token=REDACTED".into()),
        authority: Some("b.shop".into()),
        request_headers: vec![("user-agent".into(), vec!["curl".into()])],
        identity: Vec::new(),
        grpc: false,
        response_headers: Vec::new(),
        conflicting_length: true,
    };
    let line = Shown {
        conflicting_length: false,
        ..request.clone()
    };
    assert_eq!(*shown_of_request(&intake), request);
    assert_eq!(*shown_of_line(&intake), line);
}

#[test]
fn who_asked_is_kept_and_the_token_is_not() {
    // {"alg":"none"}.{"sub":"alice"}.sig
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln";
    let mut intake = intake(&["user-agent"]);
    let shown = |intake: &Intake, undecoded| {
        let mut told = told();
        let authorization = format!("Bearer {TOKEN}");
        let head = told.request.head.as_mut().unwrap();
        head.headers = [("authorization", authorization.as_str())]
            .into_iter()
            .collect();
        told.undecoded = undecoded;
        intake.exchange(told).shown
    };
    assert_eq!(shown(&intake, false).identity, []);
    let identity = |plain| IdentityRedaction::new(&["sub".to_owned()], plain);
    let redact = |intake: &mut Intake, plain| {
        intake.redact(Redaction {
            identity: identity(plain),
            ..redaction(&[])
        });
    };
    redact(&mut intake, true);
    for undecoded in [false, true] {
        let shown = shown(&intake, undecoded);
        assert_eq!(shown.identity, [("enduser.id".into(), "alice".to_owned())]);
    }
    redact(&mut intake, false);
    let hashed = shown(&intake, false);
    assert_eq!(&*hashed.identity[0].0, "enduser.pseudo.id");
    let text = serde_json::to_string(&*hashed).unwrap();
    assert!(!text.contains("alice") && !text.contains("eyJ"), "{text}");
}

#[test]
fn the_list_of_headers_may_change() {
    let mut intake = intake(&["user-agent"]);
    intake.redact(redaction(&["cookie", "x-forwarded-for"]));
    let names = |shown: &Shown| {
        let names = shown.request_headers.iter().map(|(name, _)| &**name);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&shown_of_request(&intake)), ["cookie"]);
    assert_eq!(names(&shown_of_line(&intake)), ["x-forwarded-for"]);
}

#[test]
fn what_could_not_be_decoded_is_shown_without_a_value() {
    let intake = intake(&["user-agent", "traceparent"]);
    let mut exchange = told();
    exchange.undecoded = true;
    exchange.request.head.as_mut().unwrap().path = None;
    exchange.response = Some(response(&[], &[]));
    let exchange = intake.exchange(exchange);
    let unknown = |name: &str| (Arc::from(name), Vec::new());
    let agent = ("user-agent".into(), vec!["curl".to_owned()]);
    let shown = exchange.shown;
    assert_eq!(shown.request_headers, [agent, unknown("traceparent")]);
    assert_eq!(shown.path, None);
    let both = ["user-agent", "traceparent"].map(unknown);
    assert_eq!(shown.response_headers, both);
}

#[test]
fn calls_of_grpc_are_known_by_the_type_of_their_messages() {
    let intake = intake(&[]);
    let ok = ("grpc-status", "0");
    for (kind, headers, trailers, expected) in [
        (
            "application/grpc",
            &[][..],
            &[("grpc-status", "5")][..],
            (true, Some(5)),
        ),
        (
            "application/grpc+proto",
            &[("grpc-status", "12")],
            &[],
            (true, Some(12)),
        ),
        // Trailers say how it ended, whatever the head says.
        (
            "Application/gRPC-web",
            &[ok],
            &[("grpc-status", "13")],
            (true, Some(13)),
        ),
        ("application/json", &[], &[], (false, None)),
        (
            "application/grpc",
            &[("grpc-status", "x")],
            &[],
            (true, None),
        ),
    ] {
        let mut exchange = told();
        let headers: Vec<_> = [("content-type", kind)]
            .iter()
            .chain(headers)
            .copied()
            .collect();
        exchange.response = Some(response(&headers, trailers));
        let exchange = intake.exchange(exchange);
        let status = exchange.response.unwrap().grpc_status;
        assert_eq!((exchange.shown.grpc, status), expected, "{kind}");
    }
    let mut asked = told();
    let head = asked.request.head.as_mut().unwrap();
    head.headers = [("content-type", "application/grpc")].into_iter().collect();
    assert!(intake.exchange(asked).shown.grpc);
}

fn response(headers: &[(&str, &str)], trailers: &[(&str, &str)]) -> http::Response {
    http::Response {
        time: Timestamp::default(),
        status: Some(200),
        headers: headers.iter().copied().collect(),
        trailers: trailers.iter().copied().collect(),
        ended: None,
        body_bytes: 0,
        upgraded: false,
    }
}
