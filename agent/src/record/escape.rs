//! Records as JSON that a terminal can show: nothing in it is obeyed.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{CompactFormatter, Formatter},
};

use super::printable::needs_escape;

/// Writes a value as compact JSON in which every character that a terminal would obey or hide is
/// escaped; JSON itself asks for that of the controls of C0 alone.
///
/// # Errors
/// If the value cannot be written as JSON.
pub(super) fn to_writer(
    writer: &mut Vec<u8>,
    value: &impl Serialize,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(writer, Escaping))
}

/// The compact form, with more of its text escaped.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        // Most text is ASCII, and JSON escapes what precedes the blank.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(needs_escape) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut characters = rest[at..].chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert, prop_assert_eq, proptest};
    use serde_json::{Value, json};

    use super::{super::printable::needs_escape, to_writer};

    fn encode(value: &Value) -> String {
        let mut bytes = Vec::new();
        to_writer(&mut bytes, value).unwrap();
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
    }
}
