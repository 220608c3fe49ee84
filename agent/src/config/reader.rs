//! The tree into typed sections, by serde.

use serde::{
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer,
        MapAccess, SeqAccess, Unexpected, Visitor, value::StringDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    document::{Key, Node, Value},
    fault::Fault,
};

/// Reads a type from a document.
pub(super) fn read<T: DeserializeOwned>(node: Node) -> Result<T, Fault> {
    located(node, |node| T::deserialize(node))
}

/// Gives an error the place of the value from which it came.
fn located<T>(node: Node, read: impl FnOnce(Node) -> Result<T, Fault>) -> Result<T, Fault> {
    let (line, shown, is_scalar) = (node.line, node.shown(), node.is_scalar());
    read(node).map_err(|fault| fault.located(line, &shown, is_scalar))
}

impl Node {
    fn unexpected<T>(&self, visitor: &dyn Expected) -> Result<T, Fault> {
        Err(Fault::invalid_type(Unexpected::Other("value"), visitor))
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Fault;

    /// For values without a type of ours: as YAML's core schema says.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Plain(text) => match text.as_str() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => match (text.parse(), text.parse(), number(&text)) {
                    (Ok(number), _, _) => visitor.visit_u64(number),
                    (_, Ok(number), _) => visitor.visit_i64(number),
                    (_, _, Some(number)) => visitor.visit_f64(number),
                    _ => visitor.visit_string(text),
                },
            },
            Value::Text { text, .. } => visitor.visit_string(text),
            Value::Sequence(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                index: 0,
            }),
            Value::Mapping(entries) => visitor.visit_map(Entries {
                entries: entries.into_iter(),
                value: None,
            }),
        }
    }

    /// Every scalar is text if text is asked for: `name: 007` is no number.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Plain(text) | Value::Text { text, .. } => visitor.visit_string(text),
            _ => self.unexpected(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// A section whose keys are all left out or commented out is an empty one.
    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.value == Value::Null {
            self.value = Value::Mapping(Vec::new());
        }
        match self.value {
            Value::Mapping(_) => self.deserialize_any(visitor),
            _ => self.unexpected(&"a mapping"),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Sequence(_) => self.deserialize_any(visitor),
            _ => self.unexpected(&"a list"),
        }
    }

    /// Enums of this product are words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::Plain(word) | Value::Text { text: word, .. } => {
                visitor.visit_enum(word.into_deserializer())
            }
            _ => Err(Fault::unknown_variant("", variants)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

/// A number with a fraction or an exponent; words such as `inf` are text.
fn number(text: &str) -> Option<f64> {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        && text.ends_with(|last: char| last.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number: &f64| is_number && number.is_finite())
}

struct Items {
    items: std::vec::IntoIter<Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        located(item, |item| seed.deserialize(item))
            .map(Some)
            .map_err(|fault| fault.beneath(format!("[{index}]")))
    }
}

struct Entries {
    entries: std::vec::IntoIter<(Key, Node)>,
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key.name.clone(), node));
        let deserializer: StringDeserializer<Fault> = key.name.clone().into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|fault| {
            fault
                .located(key.line, &format!("`{}`", key.name), true)
                .beneath(key.name)
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        located(node, |node| seed.deserialize(node)).map_err(|fault| fault.beneath(key))
    }
}
