//! Records as JSON that a terminal can show: nothing in it is obeyed.
//!
//! The library's serializer looks at each byte of a text twice where more is to be escaped than
//! JSON asks for. Nearly all text here needs no escape, and this one asks that once.

use std::{
    fmt::{self, Display},
    io::Write,
};

use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
        SerializeTupleStruct,
    },
};
use serde_json::Error;

use super::printable::needs_escape;

/// Appends a value as compact JSON in which every character that a terminal would obey or hide is
/// escaped; JSON itself asks for that of the controls of C0 alone.
///
/// # Errors
/// If the value cannot be written as JSON.
pub(super) fn write(output: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    value.serialize(Json(output))
}

/// One value to be written.
struct Json<'a>(&'a mut Vec<u8>);

macro_rules! numbers {
    ($($method:ident: $number:ty),*) => {
        $(fn $method(self, value: $number) -> Result<(), Error> {
            serde_json::to_writer(self.0, &value)
        })*
    };
}

impl<'a> Serializer for Json<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Items<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64, serialize_bool: bool
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.0.push(b'"');
        write_escaped(self.0, text);
        self.0.push(b'"');
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.0.push(b'"');
        fmt::write(&mut Text(self.0), format_args!("{value}")).map_err(Error::custom)?;
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.collect_str(&character)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut map = self.serialize_map(Some(1))?;
        map.serialize_entry(variant, value)?;
        SerializeMap::end(map)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, *b"[]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, *b"[]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, *b"[]"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, *b"{}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, *b"{}"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(no_record_has(variant))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(no_record_has(variant))
    }
}

fn no_record_has(variant: &str) -> Error {
    Error::custom(format!(
        "expected values that records have, got the fields of a variant, `{variant}`"
    ))
}

/// An array or object that is being written.
struct Items<'a> {
    output: &'a mut Vec<u8>,
    close: u8,
    is_empty: bool,
}

impl<'a> Items<'a> {
    fn begin(output: &'a mut Vec<u8>, [open, close]: [u8; 2]) -> Self {
        output.push(open);
        Self {
            output,
            close,
            is_empty: true,
        }
    }

    /// Where the next element or name goes.
    fn next(&mut self) -> Json<'_> {
        if !std::mem::take(&mut self.is_empty) {
            self.output.push(b',');
        }
        Json(self.output)
    }

    fn finish(self) -> Result<(), Error> {
        self.output.push(self.close);
        Ok(())
    }
}

macro_rules! arrays {
    ($($array:ident::$method:ident),*) => {
        $(impl $array for Items<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                value.serialize(self.next())
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

arrays! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field
}

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Error;

    /// All names in records are text.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Error> {
        name.serialize(self.next())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.output.push(b':');
        value.serialize(Json(self.output))
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl SerializeStruct for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.serialize_entry(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

/// The inside of a text that is displayed in parts.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(self.0, text);
        Ok(())
    }
}

fn write_escaped(output: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        output.extend_from_slice(text.as_bytes());
    } else {
        text.chars()
            .for_each(|character| write_character(output, character));
    }
}

/// Whether nothing in a text is to be escaped.
fn is_plain(text: &[u8]) -> bool {
    // So many bytes at a time, without a way out in between, are one step for the processor.
    let are_plain = |bytes: &[u8; 16]| {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
        bytes.iter().fold(true, |all, byte| all & plain(*byte))
    };
    let (chunks, rest) = text.as_chunks();
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    are_plain(&last) && chunks.iter().all(are_plain)
}

fn write_character(output: &mut Vec<u8>, character: char) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        _ if needs_escape(character) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // A vector takes everything.
                let _ = write!(output, "\\u{unit:04x}");
            }
            return;
        }
        _ => {
            output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    output.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{
        prelude::{Strategy, any},
        prop_assert, prop_assert_eq, prop_oneof, proptest,
    };
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::{super::printable::needs_escape, write};

    fn encode(value: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes, value).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let value = json!({ "path": "/\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{1b}ä</script>" });
        assert_eq!(
            encode(&value),
            r#"{"path":"/\u009b2J\u007f\u202e\udb40\udc41\u001bä</script>"}"#
        );
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(text in any::<String>()) {
            let encoded = encode(&json!([text]));
            prop_assert_eq!(serde_json::from_str::<Value>(&encoded).unwrap(), json!([text]));
            prop_assert!(!encoded.contains(needs_escape));
        }

        #[test]
        fn where_no_more_is_escaped_it_is_what_the_library_writes(value in values()) {
            prop_assert_eq!(encode(&value), serde_json::to_string(&value).unwrap());
        }
    }

    /// Values of every shape that serde knows and records may have.
    fn values() -> impl Strategy<Value = impl Serialize + std::fmt::Debug> {
        #[derive(Debug, Serialize)]
        enum Word {
            Plain,
            Wrapped(Value),
        }
        let text = "[ -~\\n\\r\\t\\x08\\x0cä東]*";
        let numbers = (any::<(bool, i64, u64, u16)>(), any::<(f64, f32)>());
        let leaf = prop_oneof![
            text.prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<Option<bool>>().prop_map(|value| json!(value)),
        ];
        let tree = leaf.prop_recursive(3, 16, 4, move |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let map = proptest::collection::btree_map(text, inner, 0..4);
            prop_oneof![list, map.prop_map(|map| json!(map))]
        });
        (tree, text, numbers, any::<char>()).prop_map(|(tree, name, numbers, character)| {
            let named = BTreeMap::from([(name, Word::Wrapped(tree)), (String::new(), Word::Plain)]);
            let shown = (!needs_escape(character)).then_some(character);
            (named, numbers, shown, ((), [1_u8, 2], Some(())))
        })
    }
}
