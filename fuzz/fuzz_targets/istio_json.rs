//! Lines of Istio's JSON format, held against a reader that builds the whole tree.
//!
//! What is no JSON object, or has too few of the keys, is no entry. Each key that stands there once
//! says what its value says to that operator alone, one that stands there twice says nothing.
#![no_main]

use std::{cell::RefCell, fmt};

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::envoy::{Content, Format, LineParser, LogEntry};
use meshwitness_fuzz::{Meanings, OPERATORS, Operator, within};
use serde_json::{Value, de::Deserializer};

struct State {
    meanings: Meanings,
    parser: LineParser,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        meanings: Meanings::new(),
        parser: LineParser::new(Format::compile("istio-json").expect("a format of its own")),
    });
}

fuzz_target!(|line: &[u8]| -> Corpus {
    if line.len() > 1 << 12 {
        return Corpus::Reject;
    }
    STATE.with_borrow_mut(|state| within((1 << 20) + 256 * line.len(), || check(line, state)));
    Corpus::Keep
});

/// The keys of the format for which [`OPERATORS`] has no operator.
const OTHERS: [&str; 3] = ["access_log_type", "grpc_status", "response_flags_long"];

fn check(line: &[u8], state: &mut State) {
    let members = members_of(line);
    let (entry, sure) = match state.parser.parse(line) {
        Content::Entry(entry) => (entry, true),
        Content::Ambiguous(entry) => (entry, false),
        content => {
            assert_ne!(content, Content::Hole);
            // The proxy writes nothing in front.
            let keys = match line.first() {
                Some(b'{') => members.as_deref().map_or(0, known),
                _ => 0,
            };
            assert!(keys < 2, "{keys} keys, and it is {content:?}");
            return;
        }
    };
    let Some(members) = members else {
        // In a text that is passed over there may be anything.
        let shown = String::from_utf8_lossy(line);
        assert!(
            members_of(shown.as_bytes()).is_some(),
            "an entry that is no JSON object"
        );
        return;
    };
    assert!(known(&members) >= 2, "an entry without the keys of one");
    assert_eq!(sure, !has_twice(&members), "a key stands there twice");
    // Two keys for one field: the first that says something does.
    if members
        .iter()
        .any(|(key, _)| OTHERS.contains(&key.as_str()))
    {
        return;
    }
    for operator in OPERATORS {
        check_field(operator, &members, &entry, state);
    }
}

fn check_field(
    operator: &Operator,
    members: &[(String, Value)],
    entry: &LogEntry,
    state: &mut State,
) {
    let read = operator.of(entry);
    let mut values = members.iter().filter(|(key, _)| key == operator.key);
    match (values.next(), values.next()) {
        (Some((_, Value::String(value))), None) => {
            if let Some(meant) = state.meanings.meant(operator, value.as_bytes()) {
                assert_eq!(read, meant, "{}", operator.text);
            }
        }
        (Some((_, Value::Number(number))), None) => {
            let number = number.as_u64().map(|number| number.to_string());
            // A float may be whole, a text is none, and some numbers are too large for the field.
            assert!(
                read.is_none() || number.is_none() || read == number,
                "{}",
                operator.text
            );
        }
        _ => assert_eq!(read, None, "{}", operator.text),
    }
}

/// Different keys that belong to the format.
fn known(members: &[(String, Value)]) -> usize {
    let keys = OPERATORS.iter().map(|operator| operator.key).chain(OTHERS);
    keys.filter(|key| key.len() > 1 && members.iter().any(|(member, _)| member == key))
        .count()
}

/// Whether one of those keys stands there twice.
fn has_twice(members: &[(String, Value)]) -> bool {
    let is_known = |key: &str| {
        let mut keys = OPERATORS.iter().map(|operator| operator.key).chain(OTHERS);
        key.len() > 1 && keys.any(|known| known == key)
    };
    members.iter().enumerate().any(|(index, (key, _))| {
        is_known(key) && members[..index].iter().any(|(other, _)| other == key)
    })
}

/// The members of a JSON object in order, those that stand there twice included.
fn members_of(line: &[u8]) -> Option<Vec<(String, Value)>> {
    struct Members;

    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut deserializer = Deserializer::from_slice(line);
    let members = serde::Deserializer::deserialize_map(&mut deserializer, Members).ok()?;
    deserializer.end().ok()?;
    Some(members)
}
