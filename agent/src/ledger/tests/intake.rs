//! What the ledger is given to show: redacted, of requests as of lines.

use std::sync::Arc;

use crate::{
    envoy::{self, LogEntry, LogLine},
    http::{self, Request, RequestHead},
    ledger::{Intake, LineContent},
    record::{Fingerprints, QueryRedaction, Redaction, Shown},
    timestamp::Timestamp,
};

fn redaction(headers: &[&str]) -> Redaction {
    Redaction {
        query: QueryRedaction::Values,
        paths: Vec::new(),
        headers: headers.iter().map(|name| Arc::from(*name)).collect(),
    }
}

fn intake(headers: &[&str]) -> Intake {
    Intake::new(Fingerprints::new(&[7; 16]), redaction(headers))
}

/// What is shown of a request with a secret in its query, its authority, and a header.
fn shown_of_request(intake: &Intake) -> Arc<Shown> {
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
    let exchange = http::Exchange {
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
    };
    intake.exchange(exchange).shown
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
