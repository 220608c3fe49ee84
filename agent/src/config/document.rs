//! A YAML text into a tree that remembers its lines.

use granit_parser::{Event, Parser, ScalarStyle};

use super::{fault::Fault, variable::Variables};

/// Levels of nesting; the deepest key of this product is at the fifth.
const MOST_LEVELS: usize = 32;

/// Scalars, lists and mappings in one file.
const MOST_NODES: usize = 16 * 1024;

/// A value in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A value that is not text for sure: written without quotes, not from the environment.
    Plain(String),
    /// Text, with what the file shows for it.
    Text {
        text: String,
        source: String,
    },
    Sequence(Vec<Node>),
    /// In the order of the file; no key twice.
    Mapping(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) name: String,
}

impl Node {
    /// Parses a text. An empty one is null.
    pub(super) fn parse(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Fault> {
        let (lifted, variables) = Variables::lift(text, environment)
            .map_err(|line| Fault::at(line, "characters U+E000 and U+E001 are not allowed"))?;
        let mut builder = Builder {
            variables,
            open: Vec::new(),
            root: None,
            nodes: 0,
        };
        for event in Parser::new_from_str(&lifted) {
            let (event, span) =
                event.map_err(|error| Fault::at(error.marker().line(), error.info()))?;
            builder.take(event, span.start.line())?;
        }
        Ok(builder.root.unwrap_or(Self {
            line: 1,
            value: Value::Null,
        }))
    }

    /// How a message names the value.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Plain(source) | Value::Text { source, .. } => format!("`{source}`"),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        !matches!(self.value, Value::Sequence(_) | Value::Mapping(_))
    }
}

struct Builder {
    variables: Variables,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

/// A list or mapping whose end is not read yet.
enum Open {
    Sequence(usize, Vec<Node>),
    Mapping(usize, Vec<(Key, Node)>, Option<Key>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Fault> {
        match event {
            Event::Scalar(_, _, anchor, tag) if anchor != 0 || tag.is_some() => Err(Fault::at(
                line,
                "anchors and tags are not used here; write the plain value",
            )),
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                Err(Fault::at(
                    line,
                    "anchors and tags are not used here; write the plain value",
                ))
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => Err(Fault::at(
                line,
                "aliases are not used here; write the value again",
            )),
            Event::Scalar(text, style, ..) => self.scalar(&text, style, line),
            Event::SequenceStart(..) => self.open(Open::Sequence(line, Vec::new())),
            Event::MappingStart(..) => self.open(Open::Mapping(line, Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Fault::at(line, "expected one document, got a second one"))
            }
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: usize) -> Result<(), Fault> {
        let filled = self.variables.fill(text);
        if let Some(Open::Mapping(_, entries, key @ None)) = self.open.last_mut() {
            let fault = if !matches!(filled, Ok(None)) {
                Fault::at(line, "a key cannot hold a `${…}` reference")
            } else if entries.iter().any(|(key, _)| key.name == text) {
                Fault::at(line, "the key stands here twice").beneath(text)
            } else {
                let name = text.to_owned();
                *key = Some(Key { line, name });
                return Ok(());
            };
            return Err(self.placed(fault));
        }
        let filled = filled.map_err(|message| self.placed(Fault::at(line, message)))?;
        let is_plain = style == ScalarStyle::Plain;
        let value = match filled {
            Some(filled) => Value::Text {
                text: filled.text,
                source: filled.source,
            },
            None if is_plain && matches!(text, "" | "~" | "null") => Value::Null,
            None if is_plain => Value::Plain(text.to_owned()),
            None => Value::Text {
                text: text.to_owned(),
                source: text.to_owned(),
            },
        };
        self.add(Node { line, value })
    }

    fn open(&mut self, open: Open) -> Result<(), Fault> {
        let (Open::Sequence(line, _) | Open::Mapping(line, ..)) = open;
        if let Some(Open::Mapping(_, _, None)) = self.open.last() {
            return Err(Fault::at(line, "expected a key, got a list or a mapping"));
        }
        if self.open.len() >= MOST_LEVELS {
            let message = format!("expected at most {MOST_LEVELS} levels of nesting");
            return Err(Fault::at(line, message));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        match self.open.pop() {
            Some(Open::Sequence(line, items)) => self.add(Node {
                line,
                value: Value::Sequence(items),
            }),
            Some(Open::Mapping(line, entries, _)) => self.add(Node {
                line,
                value: Value::Mapping(entries),
            }),
            None => Ok(()),
        }
    }

    fn add(&mut self, node: Node) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Fault::at(node.line, "the file holds too many values"));
        }
        match self.open.last_mut() {
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping(_, entries, key)) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
            None => self.root = Some(node),
        }
        Ok(())
    }

    /// Adds the keys that are open.
    fn placed(&self, fault: Fault) -> Fault {
        self.open
            .iter()
            .rev()
            .fold(fault, |fault, open| match open {
                Open::Sequence(_, items) => fault.beneath(format!("[{}]", items.len())),
                Open::Mapping(_, _, Some(key)) => fault.beneath(&key.name),
                Open::Mapping(_, _, None) => fault,
            })
    }
}
