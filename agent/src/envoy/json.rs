//! Lines of a JSON format.

mod reader;
mod secrets;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

pub(super) use reader::Outcome;

use super::{
    LogEntry,
    field::{Field, Preference},
    operator::{FormatError, Piece, split},
    text::{TextFormat, operators},
};

/// How deep the objects of a format may nest.
const MAX_DEPTH: usize = 16;

/// How much of a line that is no JSON is looked through for keys.
const LOOKED_THROUGH_BYTES: usize = 16 << 10;

/// A compiled JSON format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonFormat {
    root: Object,
    /// How many members it has, those of inner objects included.
    members: usize,
    /// How many of them stand for operators.
    fields: usize,
}

/// The members of an object, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Object {
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq)]
struct Member {
    key: String,
    /// Its key behind those of the objects around it, joined by dots.
    name: Arc<str>,
    /// Its number within the format.
    number: usize,
    value: Expected,
}

/// What the format says about a member.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    /// One operator: a value of its own type.
    Field(Field),
    /// Operators within text.
    Text(TextFormat),
    Object(Object),
    /// A constant, or a list.
    Other,
}

impl JsonFormat {
    /// Compiles a format as it stands in `json_format`: texts with operators, and objects of them.
    ///
    /// # Errors
    /// [`FormatError`].
    pub(super) fn compile(format: &Map<String, Value>) -> Result<Self, FormatError> {
        let mut texts = BTreeMap::new();
        collect(format, "", 0, &mut texts)?;
        let preference = Preference::among(
            texts
                .values()
                .flat_map(|pieces| operators(pieces.as_slice())),
        );
        let mut compiled = Self {
            root: Object::default(),
            members: 0,
            fields: 0,
        };
        compiled.root = compiled.object(format, "", &texts, preference);
        if compiled.fields == 0 {
            Err(FormatError::NoOperator)
        } else {
            Ok(compiled)
        }
    }

    fn object(
        &mut self,
        format: &Map<String, Value>,
        path: &str,
        texts: &BTreeMap<String, Vec<Piece>>,
        preference: Preference,
    ) -> Object {
        let mut members = Vec::new();
        for (key, value) in format {
            let path = join(path, key);
            let number = self.members;
            self.members += 1;
            let value = match value {
                Value::Object(inner) => {
                    Expected::Object(self.object(inner, &path, texts, preference))
                }
                _ => match texts.get(&path) {
                    Some(pieces) if operators(pieces).next().is_some() => {
                        self.fields += 1;
                        let text = TextFormat::from_pieces(pieces, preference);
                        match text.single_field() {
                            Some(field) => Expected::Field(field.clone()),
                            None => Expected::Text(text),
                        }
                    }
                    _ => Expected::Other,
                },
            };
            members.push(Member {
                key: key.clone(),
                name: path.into(),
                number,
                value,
            });
        }
        members.sort_by(|a, b| a.key.cmp(&b.key));
        Object { members }
    }

    /// Notes in a blank entry what the format tells about all of its lines.
    pub(super) fn describe(&self, blank: &mut LogEntry) {
        self.root.describe(blank);
    }

    /// Whether a field of it is made to hold a credential.
    pub(super) fn holds_credentials(&self) -> bool {
        self.root.holds_credentials()
    }

    /// How many of the keys of this format's fields stand in a text as JSON keys do: how a line
    /// is judged that is no whole JSON object.
    pub(super) fn keys_in(&self, line: &[u8]) -> usize {
        let line = &line[..line.len().min(LOOKED_THROUGH_BYTES)];
        let keys = self.root.members.iter().filter(|member| {
            let quoted = format!("\"{}\":", member.key);
            line.windows(quoted.len())
                .any(|window| window == quoted.as_bytes())
        });
        keys.count()
    }
}

impl Object {
    fn describe(&self, blank: &mut LogEntry) {
        for member in &self.members {
            match &member.value {
                Expected::Field(field) => field.describe(blank),
                Expected::Text(text) => text.describe(blank),
                Expected::Object(inner) => inner.describe(blank),
                Expected::Other => {}
            }
        }
    }

    fn holds_credentials(&self) -> bool {
        self.members.iter().any(|member| match &member.value {
            Expected::Field(field) => field.holds.is_credential(),
            Expected::Text(text) => text.fields().any(|field| field.holds.is_credential()),
            Expected::Object(inner) => inner.holds_credentials(),
            Expected::Other => false,
        })
    }

    /// The member of a key. `hint` is where it is if the line has the order of the format.
    fn member(&self, key: &str, hint: usize) -> Option<usize> {
        if self
            .members
            .get(hint)
            .is_some_and(|member| member.key == key)
        {
            return Some(hint);
        }
        self.members
            .binary_search_by(|member| member.key.as_str().cmp(key))
            .ok()
    }
}

impl Expected {
    /// Takes back what was written for this member.
    fn erase(&self, entry: &mut LogEntry) {
        match self {
            Self::Field(field) => field.target.erase(entry),
            Self::Text(text) => text.fields().for_each(|field| field.target.erase(entry)),
            Self::Object(inner) => {
                inner
                    .members
                    .iter()
                    .for_each(|member| member.value.erase(entry));
            }
            Self::Other => {}
        }
    }
}

/// Cuts every text of a format; the keys are paths.
fn collect(
    format: &Map<String, Value>,
    path: &str,
    depth: usize,
    texts: &mut BTreeMap<String, Vec<Piece>>,
) -> Result<(), FormatError> {
    if depth >= MAX_DEPTH {
        return Err(FormatError::TooDeep(MAX_DEPTH));
    }
    for (key, value) in format {
        let path = join(path, key);
        match value {
            Value::String(text) => {
                let pieces = split(text).map_err(|source| FormatError::Member {
                    key: path.clone(),
                    source: Box::new(source),
                })?;
                texts.insert(path, pieces);
            }
            Value::Object(inner) => collect(inner, &path, depth + 1, texts)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
        }
    }
    Ok(())
}

/// `outer.inner`. A key that holds a point itself can make two paths equal; then both texts are
/// those of one of them, which costs a wrong format its fields and nothing else.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
