//! The auditor accepts right books and finds each kind of wrong ones.

use serde_json::{Value, json};

use crate::records::Records;

/// What makes a right stream a wrong one.
type Breaking = fn(&mut Vec<Value>);

/// Two intervals: one exchange is pending over their border, one loses its line and finds it.
fn stream() -> Vec<Value> {
    let zero = json!({ "observed": 0, "logged": 0 });
    let one = json!({ "observed": 1, "logged": 0 });
    let pair = json!({ "observed": 1, "logged": 1 });
    vec![
        json!({ "id": "s-0", "kind": "lifecycle", "lifecycle": { "event": "start" } }),
        json!({ "id": "s-1", "kind": "http", "verdict": "matched", "units": pair }),
        json!({ "id": "s-2", "kind": "http", "verdict": "unlogged", "units": one }),
        json!({
            "id": "s-3", "kind": "ledger", "opening": zero,
            "new": { "observed": 3, "logged": 1 }, "withdrawn": {},
            "verdicts": { "matched": pair, "unlogged": one },
            "closing": one, "lost": {}, "other_lines": 2, "ids": [0, 2],
        }),
        json!({
            "id": "s-4", "kind": "http", "verdict": "matched", "units": pair,
            "revises": ["s-2"], "reasons": ["late_line"],
        }),
        json!({
            "id": "s-5", "kind": "http", "verdict": "unverifiable", "units": one,
            "reasons": ["agent_down"],
        }),
        json!({
            "id": "s-6", "kind": "ledger", "opening": one,
            "new": { "observed": 0, "logged": 1 }, "withdrawn": { "unlogged": one },
            "verdicts": { "matched": pair, "unverifiable": one },
            "closing": zero, "lost": { "agent_down": one }, "other_lines": 1, "ids": [3, 5],
        }),
    ]
}

fn audit(stream: &[Value]) -> Result<super::Books, String> {
    let lines: String = stream.iter().map(|record| format!("{record}\n")).collect();
    Records::parse(lines.as_bytes())
        .unwrap()
        .audit()
        .map_err(|error| error.to_string())
}

#[test]
fn right_books_add_up() {
    let books = audit(&stream()).unwrap();
    assert_eq!(
        books.units("matched"),
        super::Units {
            observed: 2,
            logged: 2
        }
    );
    assert_eq!(books.units("unlogged"), super::Units::default());
    assert_eq!(books.lost.len(), 1);
    assert_eq!((books.ledgers, books.other_lines), (2, 3));
}

#[test]
fn an_empty_stream_is_no_right_one() {
    assert!(audit(&[]).is_err());
    assert!(audit(&stream()[..3]).is_err());
}

#[test]
fn each_fault_is_found() {
    let faults: [(&str, Breaking); 7] = [
        ("no record between", |stream| drop(stream.remove(1))),
        ("verdict matched", |stream| {
            stream[1]["units"]["logged"] = json!(0);
        }),
        ("went out", |stream| stream[3]["new"]["observed"] = json!(4)),
        ("opening is not", |stream| {
            stream[6]["opening"]["observed"] = json!(0);
        }),
        ("verdict unlogged", |stream| {
            stream[4]["revises"] = json!([]);
        }),
        ("loss agent_down", |stream| stream[6]["lost"] = json!({})),
        ("ids begin at", |stream| stream[6]["ids"] = json!([4, 5])),
    ];
    for (expected, break_it) in faults {
        let mut broken = stream();
        break_it(&mut broken);
        let complaint = audit(&broken).unwrap_err();
        assert!(complaint.contains(expected), "{expected}: {complaint}");
    }
}

#[test]
fn a_gap_that_was_told_is_no_hole() {
    let mut stream = stream();
    stream[1] = json!({
        "id": "s-2", "kind": "lifecycle", "lifecycle": { "event": "gap", "ids": ["s-1", "s-1"] },
    });
    stream.remove(2);
    let complaint = audit(&stream).unwrap_err();
    assert!(!complaint.contains("no record between"), "{complaint}");
}
