//! Which differences between an exchange and its line accuse, and which are explained.

use std::time::Duration;

use serde_json::json;

use super::{Scene, entry, exchange, fingerprint, get, path};
use crate::{
    http::{Closed, Gap},
    ledger::{
        ComparedPath, Entry, Exchange,
        compare::{compare, compare_connection, fits_in_time},
    },
    record::{Reason, Side, Tls},
    timestamp::Timestamp,
};

const METHOD: &str = "http.request.method";
const PATH: &str = "url.path";
const QUERY: &str = "url.query";
const STATUS: &str = "http.response.status_code";
const REQUEST: &str = "http.request.body.size";
const RESPONSE: &str = "http.response.body.size";
const PROTOCOL: &str = "network.protocol.version";
const GRPC: &str = "rpc.grpc.status_code";

/// An exchange and its line, which agree in everything that can be compared.
fn accounts() -> (Exchange, Entry) {
    let mut scene = Scene::new();
    let leg = scene.server_leg();
    let time = scene.now;
    let mut exchange = exchange(leg.id, 0, time, time + Duration::from_millis(3), &get("/a"));
    exchange.authority = Some(fingerprint("host"));
    exchange.request_bytes = 100;
    let response = exchange.response.as_mut().unwrap();
    response.grpc_status = Some(0);
    let mut line = scene.line(Side::Server, &leg, &exchange, &get("/a"));
    let mut entry = entry(&mut line).clone();
    entry.authority = exchange.authority;
    entry.bytes_received = Some(100);
    entry.grpc_status = Some(0);
    (exchange, entry)
}

/// `/a?<query>` as raw and as normal text.
fn with_query(query: &str) -> ComparedPath {
    let whole = fingerprint(&format!("/a?{query}"));
    ComparedPath {
        raw: whole,
        normalized: whole,
        ..path("/a")
    }
}

type Alter = fn(&mut Exchange, &mut Entry);

/// What accuses on a side: the fields that differ, if one of them does.
fn accused(side: Side, alter: Alter) -> Vec<String> {
    let (mut exchange, mut entry) = accounts();
    alter(&mut exchange, &mut entry);
    let comparison = compare(side, &exchange, &entry);
    let fields = comparison.differences.into_iter().map(|it| it.field);
    let fields: Vec<String> = fields.collect();
    match comparison.accusing {
        0 => Vec::new(),
        count => {
            assert_eq!(fields.len(), count);
            fields
        }
    }
}

fn response(exchange: &mut Exchange) -> &mut crate::ledger::ResponseFact {
    exchange.response.as_mut().unwrap()
}

#[test]
fn what_differs_accuses_on_the_side_where_the_proxy_cannot_have_changed_it() {
    let nothing: &[&str] = &[];
    let table: &[(&str, Alter, &[&str], &[&str])] = &[
        ("nothing", |_, _| {}, nothing, nothing),
        (
            "method",
            |_, e| e.method = Some("PUT".into()),
            &[METHOD],
            &[METHOD],
        ),
        ("no method", |_, e| e.method = None, nothing, nothing),
        ("path", |_, e| e.path = Some(path("/b")), &[PATH], nothing),
        ("no path", |_, e| e.path = None, nothing, nothing),
        (
            "query",
            |x, e| (x.path, e.path) = (Some(with_query("1")), Some(with_query("2"))),
            &[QUERY],
            nothing,
        ),
        (
            "a query that the format leaves out",
            |x, e| {
                x.path = Some(with_query("1"));
                e.path_without_query = true;
            },
            nothing,
            nothing,
        ),
        (
            "a path, where the format leaves queries out",
            |_, e| {
                e.path = Some(path("/b"));
                e.path_without_query = true;
            },
            &[PATH],
            nothing,
        ),
        (
            "a path made normal",
            |x, _| x.path = Some(path("/b/../a")),
            nothing,
            nothing,
        ),
        (
            "a path made normal, without its query",
            |x, e| {
                x.path = Some(path("/b/../a"));
                e.path_without_query = true;
            },
            nothing,
            nothing,
        ),
        (
            "authority",
            |_, e| e.authority = Some(fingerprint("other")),
            nothing,
            nothing,
        ),
        (
            "status",
            |_, e| e.response_code = Some(404),
            &[STATUS],
            &[STATUS],
        ),
        ("no status", |_, e| e.response_code = None, nothing, nothing),
        (
            "0 for a status",
            |_, e| e.response_code = Some(0),
            &[STATUS],
            nothing,
        ),
        (
            "0 for none",
            |x, e| (response(x).status, e.response_code) = (None, Some(0)),
            nothing,
            nothing,
        ),
        (
            "a status for none",
            |x, _| response(x).status = None,
            &[STATUS],
            &[STATUS],
        ),
        (
            "another status, the client left",
            |_, e| {
                e.response_code = Some(404);
                e.response_flags = Some("DC".into());
            },
            nothing,
            nothing,
        ),
        (
            "another status, of the proxy itself",
            |_, e| {
                e.response_code = Some(404);
                e.response_code_details = Some("direct_response".into());
            },
            &[STATUS],
            nothing,
        ),
        (
            "another status, after the proxy's timeout",
            |_, e| {
                e.response_code = Some(504);
                e.response_flags = Some("UT".into());
            },
            &[STATUS],
            nothing,
        ),
        (
            "another status, with a flag that explains none",
            |_, e| {
                e.response_code = Some(404);
                e.response_flags = Some("RL".into());
            },
            &[STATUS],
            &[STATUS],
        ),
        (
            "another status, no details",
            |_, e| (e.response_code, e.response_code_details) = (Some(404), None),
            &[STATUS],
            &[STATUS],
        ),
        (
            "another status, no details, no flag",
            |_, e| {
                (e.response_code, e.response_code_details) = (Some(404), None);
                e.response_flags = Some("-".into());
            },
            &[STATUS],
            &[STATUS],
        ),
        (
            "another status, no details, a flag",
            |_, e| {
                (e.response_code, e.response_code_details) = (Some(404), None);
                e.response_flags = Some("RL".into());
            },
            &[STATUS],
            nothing,
        ),
        (
            "another status, no details, no upstream",
            |_, e| {
                (e.response_code, e.response_code_details) = (Some(404), None);
                e.upstream_local_address = None;
            },
            &[STATUS],
            nothing,
        ),
        (
            "response bytes",
            |_, e| e.bytes_sent = Some(11),
            &[RESPONSE],
            nothing,
        ),
        (
            "response bytes, none flagged",
            |_, e| {
                e.bytes_sent = Some(11);
                e.response_flags = Some("-".into());
            },
            &[RESPONSE],
            nothing,
        ),
        (
            "response bytes, flagged",
            |_, e| {
                e.bytes_sent = Some(11);
                e.response_flags = Some("RL".into());
            },
            nothing,
            nothing,
        ),
        (
            "response bytes, not all of them seen",
            |x, e| (response(x).ended, e.bytes_sent) = (None, Some(11)),
            nothing,
            nothing,
        ),
        (
            "response bytes, of another protocol",
            |x, e| (response(x).upgraded, e.bytes_sent) = (true, Some(11)),
            nothing,
            nothing,
        ),
        (
            "request bytes, of another protocol",
            |x, e| (response(x).upgraded, e.bytes_received) = (true, Some(11)),
            nothing,
            nothing,
        ),
        (
            "more request bytes",
            |_, e| e.bytes_received = Some(101),
            &[REQUEST],
            &[REQUEST],
        ),
        (
            "fewer request bytes",
            |_, e| e.bytes_received = Some(99),
            &[REQUEST],
            &[REQUEST],
        ),
        (
            "no request bytes",
            |_, e| e.bytes_received = None,
            nothing,
            nothing,
        ),
        (
            "protocol",
            |_, e| e.protocol = Some("HTTP/1.0".into()),
            &[PROTOCOL],
            nothing,
        ),
        (
            "protocol of a head that was refused",
            |_, e| (e.method, e.protocol) = (None, Some("HTTP/1.0".into())),
            nothing,
            nothing,
        ),
        (
            "gRPC status",
            |_, e| e.grpc_status = Some(5),
            &[GRPC],
            &[GRPC],
        ),
        (
            "no gRPC status",
            |_, e| e.grpc_status = None,
            nothing,
            nothing,
        ),
        (
            "all that a gap may have swallowed",
            |x, e| {
                x.gap = Some(Gap::StreamGap);
                e.response_code = Some(404);
                (e.bytes_received, e.bytes_sent) = (Some(5), Some(6));
                e.grpc_status = Some(7);
            },
            nothing,
            nothing,
        ),
    ];
    for (what, alter, client, server) in table {
        assert_eq!(accused(Side::Client, *alter), *client, "client: {what}");
        assert_eq!(accused(Side::Server, *alter), *server, "server: {what}");
    }
}

#[test]
fn an_upload_that_was_not_read_whole_is_counted_in_part() {
    const AT_ONCE: u64 = 64 << 10;
    let not_whole: &[(&str, Alter)] = &[
        ("too large", |x, _| x.request_bytes = AT_ONCE + 1),
        ("answered before", |x, _| x.request_ended = Some(x.end)),
        ("never ended", |x, _| x.request_ended = None),
        ("no answer", |x, _| x.response = None),
        ("half an answer", |x, _| response(x).ended = None),
        ("refused", |_, e| {
            e.response_code_details = Some("denied".into());
        }),
        ("left", |_, e| e.response_flags = Some("DC".into())),
    ];
    let compared = |side, alter: Alter, more: u64, fewer: u64| {
        let (mut exchange, mut entry) = accounts();
        exchange.request_bytes = AT_ONCE;
        alter(&mut exchange, &mut entry);
        entry.bytes_received = Some(exchange.request_bytes + more - fewer);
        let comparison = compare(side, &exchange, &entry);
        !comparison.differences.iter().any(|it| it.field == REQUEST)
    };
    for (what, alter) in not_whole {
        // Towards the app the proxy sent what it read; from the app it read what was sent.
        for (side, more, fewer) in [(Side::Client, false, true), (Side::Server, true, false)] {
            assert_eq!(compared(side, *alter, 1, 0), more, "{what}");
            assert_eq!(compared(side, *alter, 0, 1), fewer, "{what}");
            assert!(compared(side, *alter, 0, 0), "{what}");
        }
    }
    let whole: &[(&str, Alter)] = &[
        ("just so large", |_, _| {}),
        ("answered at its end", |x, _| {
            x.request_ended = Some(x.response.as_ref().unwrap().time);
        }),
        ("no details", |_, e| e.response_code_details = None),
    ];
    for (what, alter) in whole {
        for side in [Side::Client, Side::Server] {
            assert!(!compared(side, *alter, 1, 0), "{what}");
            assert!(!compared(side, *alter, 0, 1), "{what}");
            assert!(compared(side, *alter, 0, 0), "{what}");
        }
    }
}

#[test]
fn what_explains_a_difference_is_told() {
    let reasons = |side, alter: Alter| {
        let (mut exchange, mut entry) = accounts();
        alter(&mut exchange, &mut entry);
        compare(side, &exchange, &entry).reasons
    };
    let normal: Alter = |x, _| x.path = Some(path("/b/../a"));
    assert_eq!(reasons(Side::Client, normal), [Reason::PathNormalized]);
    let rewritten: Alter = |_, e| {
        e.path = Some(path("/b"));
        e.authority = Some(fingerprint("other"));
    };
    assert_eq!(reasons(Side::Server, rewritten), [Reason::Rewritten]);
    let to_another_host: Alter = |_, e| e.authority = Some(fingerprint("other"));
    assert_eq!(reasons(Side::Client, to_another_host), [Reason::Rewritten]);
    let left: Alter = |_, e| e.response_flags = Some("URX,DC".into());
    assert_eq!(reasons(Side::Client, left), [Reason::Aborted]);
    assert_eq!(reasons(Side::Client, |_, _| {}), []);
}

#[test]
fn a_difference_shows_both_targets_with_their_queries() {
    let (mut exchange, mut entry) = accounts();
    entry.path = Some(path("/b"));
    let shown = |path: &str, query: Option<&str>| {
        std::sync::Arc::new(crate::record::Shown {
            path: Some(path.into()),
            query: query.map(Into::into),
            ..crate::record::Shown::default()
        })
    };
    exchange.shown = shown("/a", Some("x=1"));
    entry.shown = shown("/b", None);
    let comparison = compare(Side::Client, &exchange, &entry);
    let [difference] = &comparison.differences[..] else {
        panic!("one difference: {comparison:?}")
    };
    assert_eq!(difference.kernel, "/a?x=1");
    assert_eq!(difference.log, "/b");
}

#[test]
fn start_time_may_lie_outside_by_the_tolerance_of_two_clocks() {
    const MOMENT: Duration = Duration::from_nanos(1);
    let tolerance = Duration::from_millis(2);
    let precision = Duration::from_millis(1);
    let (from, to) = (Timestamp(60_000_000_000), Timestamp(61_000_000_000));
    let fits = |side, start: Option<Timestamp>, duration| {
        let entry = Entry {
            start_time: start,
            start_time_precision_nanoseconds: 1_000_000,
            duration_milliseconds: duration,
            ..Entry::default()
        };
        fits_in_time(side, from, to, &entry)
    };
    assert!(fits(Side::Client, None, None));
    let earliest = from - tolerance - precision;
    let latest = to + tolerance;
    // An inbound request may have waited before, for as long as the line says or ten seconds.
    let table = [
        (Side::Client, None, earliest),
        (Side::Client, Some(500), earliest),
        (
            Side::Server,
            Some(500),
            earliest - Duration::from_millis(500),
        ),
        (Side::Server, None, earliest - Duration::from_secs(10)),
    ];
    for (side, duration, earliest) in table {
        assert!(fits(side, Some(earliest), duration));
        assert!(!fits(side, Some(earliest - MOMENT), duration));
        assert!(fits(side, Some(latest), duration));
        assert!(!fits(side, Some(latest + MOMENT), duration));
    }
}

#[test]
fn a_tcp_line_must_count_the_bytes_of_a_connection_that_closed_in_order() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let closed = scene.closed(&leg, 70, 90);
    let agrees = |closed: Option<&Closed>, received, sent, flags: Option<&str>| {
        let entry = Entry {
            bytes_received: received,
            bytes_sent: sent,
            response_flags: flags.map(str::to_owned),
            ..Entry::default()
        };
        compare_connection(Side::Client, closed, None, &entry).agrees()
    };
    let in_order = Some(&closed);
    assert!(agrees(in_order, Some(70), Some(90), None));
    assert!(agrees(in_order, None, None, None));
    assert!(!agrees(in_order, Some(71), Some(90), None));
    assert!(!agrees(in_order, Some(70), Some(89), Some("-")));
    assert!(agrees(in_order, Some(71), Some(90), Some("UF")));
    let reset = Closed {
        both_fin: false,
        ..closed.clone()
    };
    assert!(agrees(Some(&reset), Some(71), Some(90), None));
    assert!(agrees(None, Some(71), Some(90), None));
}

#[test]
fn a_line_names_the_server_that_the_client_asked_for() {
    let differs = |side, kernel: Option<&str>, log: Option<&str>| {
        let tls = Tls {
            server_name: kernel.map(str::to_owned),
            ..Tls::default()
        };
        let entry = Entry {
            requested_server_name: log.map(str::to_owned),
            ..Entry::default()
        };
        let comparison = compare_connection(side, None, Some(&tls), &entry);
        assert_eq!(comparison.agrees(), comparison.differences.is_empty());
        let difference = comparison.differences.into_iter().next();
        difference.map(|difference| (difference.field, difference.kernel, difference.log))
    };
    let (a, b) = (Some("a.example"), Some("b.example"));
    let difference = ("tls.client.server_name".to_owned(), json!(a), json!(b));
    assert_eq!(differs(Side::Client, a, b), Some(difference));
    assert_eq!(differs(Side::Client, Some("A.Example"), a), None);
    assert_eq!(differs(Side::Client, a, None), None);
    assert_eq!(differs(Side::Client, None, b), None);
    // What the other sidecar asked for is another name than the app's own.
    assert_eq!(differs(Side::Server, a, b), None);
}
