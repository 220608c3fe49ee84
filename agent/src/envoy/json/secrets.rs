//! A JSON line, looked through for what a log must not hold: every text in it, wherever it stands.

use std::{fmt, sync::Arc};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Expected, JsonFormat, Member, Object};
use crate::envoy::{
    sensitive::{Findings, Holds, credential_key},
    text::Scratch,
};

impl JsonFormat {
    /// Looks through a line. False if it is no JSON: then not all of it was looked at.
    pub(in crate::envoy) fn look_through(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        findings: &mut Findings,
    ) -> bool {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let walk = Walk {
            within: Some(&self.root),
            text: None,
            name: None,
            holds: Holds::Text,
            state: &mut State { scratch, findings },
        };
        walk.deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
    }
}

struct State<'a> {
    scratch: &'a mut Scratch,
    findings: &'a mut Findings,
}

/// A value on the way.
struct Walk<'a, 'b> {
    /// What the format says of its members.
    within: Option<&'a Object>,
    /// What it says of its text.
    text: Option<&'a Expected>,
    /// What it is called in what is found.
    name: Option<Arc<str>>,
    holds: Holds,
    state: &'a mut State<'b>,
}

impl<'b> Walk<'_, 'b> {
    fn of_member<'c>(
        key: &str,
        member: Option<&'c Member>,
        state: &'c mut State<'b>,
    ) -> Walk<'c, 'b> {
        let Some(member) = member else {
            // A name that the format does not know goes nowhere, unless it is a common one.
            return Walk {
                within: None,
                text: None,
                name: credential_key(key).map(Into::into),
                holds: Holds::of_header(key),
                state,
            };
        };
        let (within, holds) = match &member.value {
            Expected::Object(object) => (Some(object), Holds::Text),
            Expected::Field(field) => (None, field.holds),
            Expected::Text(_) | Expected::Other => (None, Holds::Text),
        };
        Walk {
            within,
            text: Some(&member.value),
            name: Some(Arc::clone(&member.name)),
            holds,
            state,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let State { scratch, findings } = self.state;
        match self.text {
            Some(Expected::Text(format)) => {
                format.look_through(text.as_bytes(), self.name.as_ref(), scratch, findings);
            }
            _ => findings.look_at(self.name.as_ref(), self.holds, text.as_bytes()),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let index = self.within.and_then(|object| object.member(&key, 0));
            let member = self
                .within
                .zip(index)
                .map(|(object, index)| &object.members[index]);
            map.next_value_seed(Walk::of_member(&key, member, self.state))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(Walk {
                within: None,
                text: None,
                name: self.name.clone(),
                holds: self.holds,
                state: self.state,
            })?
            .is_some()
        {}
        Ok(())
    }

    // A number, also of many digits, is one of the proxy's own counters.
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
