//! What must have come of the calls.

use std::collections::{BTreeMap, BTreeSet};

use lab::records::Record;

use crate::stage::{CONCURRENT, Call, RUN};

/// A promise by its name.
type Promise = (&'static str, fn());

/// Where a call is recorded: the pod and its side.
const PLACES: [(&str, &str); 2] = [("a", "client"), ("b", "server")];
/// google.rpc.Code.
const OK: i64 = 0;
/// What a passed deadline is called.
const LATE: [i64; 2] = [1, 4];

/// All promises.
pub(crate) const TRIALS: [Promise; 5] = [
    ("the_calls_are_of_every_kind", the_calls_are_of_every_kind),
    (
        "every_call_is_recorded_once_at_each_side",
        every_call_is_recorded_once_at_each_side,
    ),
    (
        "method_and_status_are_right_for_every_call",
        method_and_status_are_right_for_every_call,
    ),
    (
        "metadata_beyond_the_sidecars_limit_is_booked_at_the_client",
        metadata_beyond_the_sidecars_limit_is_booked_at_the_client,
    ),
    (
        "nobody_is_accused_and_nothing_is_lost",
        nobody_is_accused_and_nothing_is_lost,
    ),
];

fn the_calls_are_of_every_kind() {
    let count = |part: &str| {
        let with_part = RUN.calls.iter().filter(|call| call.id.contains(part));
        with_part.count()
    };
    for part in [
        "-unary-",
        "-collect-",
        "-repeat-",
        "-chat-",
        "-late-",
        "-cancelled-",
        "-reflected-",
    ] {
        assert!(count(part) >= 40, "{} of {part}", count(part));
    }
    assert_eq!(count("-metadata"), 4);
    assert_eq!(count("-concurrent-"), 4 * CONCURRENT);
    let mut codes: BTreeMap<i64, usize> = BTreeMap::new();
    for call in &RUN.calls {
        if call.was_late() {
            assert!(LATE.contains(&call.code), "{call:?}");
        } else {
            *codes.entry(call.code).or_default() += 1;
        }
    }
    // Over both families of addresses.
    let ok = 4 * (CONCURRENT + 1 + 2 * 5 * 5);
    // Cancelled, not found, failed precondition, unimplemented, unauthenticated.
    let expected = [(OK, ok), (1, 40), (5, 40), (9, 40), (12, 40), (16, 40)];
    assert_eq!(codes, BTreeMap::from(expected));
}

fn every_call_is_recorded_once_at_each_side() {
    for (pod, side) in PLACES {
        let records = recorded(pod, side);
        for call in &RUN.calls {
            let found = records.get(&*call.id).map_or(&[][..], Vec::as_slice);
            let verdicts: Vec<&str> = found.iter().map(|record| record.verdict()).collect();
            let briefs = || found.iter().map(|record| record.brief());
            assert_eq!(
                verdicts,
                ["matched"],
                "{pod} {call:?} {:?}",
                briefs().collect::<Vec<_>>()
            );
        }
    }
}

fn method_and_status_are_right_for_every_call() {
    for (pod, side) in PLACES {
        let records = recorded(pod, side);
        for call in &RUN.calls {
            let [record] = records[&*call.id][..] else {
                panic!("{pod}: {call:?} is not recorded once");
            };
            let attributes = &record.value()["attributes"];
            assert_eq!(attributes["http.request.method"], "POST", "{call:?}");
            assert_eq!(attributes["url.path"], call.path, "{call:?}");
            assert_eq!(attributes["network.protocol.version"], "2", "{call:?}");
            assert_eq!(attributes["rpc.system"], "grpc", "{call:?}");
            let status = &attributes["rpc.grpc.status_code"];
            if call.was_cancelled() {
                assert!(status.is_null() || *status == OK, "{pod} {call:?}");
            } else if call.was_late() {
                let sent = status.as_i64();
                assert!(sent.is_none_or(|code| LATE.contains(&code)), "{call:?}");
            } else {
                assert_eq!(*status, call.code, "{pod} {call:?}");
                assert_eq!(attributes["http.response.status_code"], 200, "{call:?}");
            }
        }
    }
}

fn metadata_beyond_the_sidecars_limit_is_booked_at_the_client() {
    assert_eq!(RUN.exceeding.len(), 4);
    let clients = recorded("a", "client");
    let servers = recorded("b", "server");
    for call in &RUN.exceeding {
        assert_ne!(call.code, OK, "{call:?}");
        let [record] = clients[&*call.id][..] else {
            panic!("{call:?} is not recorded once");
        };
        assert_eq!(record.verdict(), "matched", "{}", record.line());
        // Over HTTP/2 this Envoy resets the stream, and writes no status.
        assert_eq!(record.status(), None, "{}", record.line());
        let details = record.text("/envoy/response_code_details");
        assert_eq!(details, "http2.header_list_size_too_large");
        assert!(!servers.contains_key(&*call.id), "{call:?}");
    }
}

fn nobody_is_accused_and_nothing_is_lost() {
    let records = &RUN.outcome.records;
    let accusing = records.accusing().into_iter().map(Record::brief);
    assert_eq!(accusing.collect::<Vec<_>>(), Vec::<String>::new());
    let books = records.audit().unwrap();
    assert!(books.lost.is_empty(), "{books:?}");
    let matched = books.units("matched");
    let calls = i64::try_from(2 * RUN.calls.len() + RUN.exceeding.len()).unwrap();
    assert_eq!(
        (matched.observed, matched.logged),
        (calls, calls),
        "{books:?}"
    );
    let ids: BTreeSet<&str> = RUN.calls.iter().map(|call: &Call| &*call.id).collect();
    assert_eq!(ids.len(), RUN.calls.len(), "calls with one id");
}

/// The records of exchanges at a place, by request id.
fn recorded(pod: &str, side: &str) -> BTreeMap<String, Vec<&'static Record>> {
    let mut records: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in RUN.outcome.records.standing() {
        if record.kind() == "http" && record.pod() == pod && record.side() == side {
            let id = record.text("/attributes/http.request.header.x-request-id/0");
            records.entry(id).or_default().push(record);
        }
    }
    records
}
