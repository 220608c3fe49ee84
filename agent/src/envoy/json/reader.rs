//! A JSON line, read in one pass without building a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Expected, JsonFormat, Object};
use crate::envoy::{
    LogEntry,
    text::{Match, Scratch},
};

/// Keys with which programs' own log lines tell their severity; access logs have none of them.
const LEVEL_KEYS: [&str; 6] = [
    "level",
    "lvl",
    "severity",
    "loglevel",
    "log_level",
    "log.level",
];

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::envoy) enum Outcome {
    /// It is no JSON object.
    NotJson,
    /// It is an object that has too few of the format's keys.
    Foreign {
        /// It has a key that a program's own log lines have.
        level: bool,
    },
    /// Each of the keys stands there once.
    Sure,
    /// A key stands there twice, or a text within can be read in several ways. What is certain
    /// was written.
    Ambiguous,
}

impl JsonFormat {
    /// Reads a line into `entry`, whose content means nothing unless the outcome is
    /// [`Outcome::Sure`] or [`Outcome::Ambiguous`].
    pub(in crate::envoy) fn read(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        entry: &mut LogEntry,
    ) -> Outcome {
        let mut state = State {
            entry,
            scratch,
            seen: vec![false; self.members],
            fields: 0,
            ambiguous: false,
            level: false,
        };
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let root = ObjectVisitor {
            object: &self.root,
            state: &mut state,
        };
        if deserializer.deserialize_map(root).is_err() || deserializer.end().is_err() {
            return Outcome::NotJson;
        }
        // Two keys in common are no accident; of a format with one field that one is enough.
        if state.fields < self.fields.min(2) {
            Outcome::Foreign { level: state.level }
        } else if state.ambiguous {
            Outcome::Ambiguous
        } else {
            Outcome::Sure
        }
    }
}

struct State<'a> {
    entry: &'a mut LogEntry,
    scratch: &'a mut Scratch,
    /// Which members of the format have occurred.
    seen: Vec<bool>,
    /// How many of the format's fields have occurred.
    fields: usize,
    ambiguous: bool,
    level: bool,
}

struct ObjectVisitor<'a, 'b> {
    object: &'a Object,
    state: &'a mut State<'b>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut hint = 0;
        while let Some(key) = map.next_key_seed(KeySeed {
            object: self.object,
            hint,
        })? {
            let Key::Member(index) = key else {
                self.state.level |= matches!(key, Key::Level);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            hint = index + 1;
            let member = &self.object.members[index];
            if std::mem::replace(&mut self.state.seen[member.number], true) {
                self.state.ambiguous = true;
                member.value.erase(self.state.entry);
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(ValueSeed {
                    expected: &member.value,
                    state: self.state,
                })?;
            }
        }
        Ok(())
    }
}

enum Key {
    Member(usize),
    Level,
    Unknown,
}

struct KeySeed<'a> {
    object: &'a Object,
    hint: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match self.object.member(key, self.hint) {
            Some(index) => Key::Member(index),
            None if LEVEL_KEYS
                .iter()
                .any(|level| level.eq_ignore_ascii_case(key)) =>
            {
                Key::Level
            }
            None => Key::Unknown,
        })
    }
}

struct ValueSeed<'a, 'b> {
    expected: &'a Expected,
    state: &'a mut State<'b>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if matches!(self.expected, Expected::Field(_) | Expected::Text(_)) {
            self.state.fields += 1;
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.expected {
            Expected::Field(field) => field.write(self.state.entry, text.as_bytes()),
            Expected::Text(format) => {
                let found = format.read(text.as_bytes(), self.state.scratch, self.state.entry);
                self.state.ambiguous |= found == Match::Ambiguous;
            }
            Expected::Object(_) | Expected::Other => {}
        }
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        if let Expected::Field(field) = self.expected {
            field.target.write_number(self.state.entry, number);
        }
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        // Beyond 2^53 numbers are no longer exact, and none of the fields gets there.
        if number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number) {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
            return self.visit_u64(number as u64);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if let Expected::Object(object) = self.expected {
            return ObjectVisitor {
                object,
                state: self.state,
            }
            .visit_map(map);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
