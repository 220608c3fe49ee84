//! Lines as the proxy writes them, of values that anybody may have chosen.

use meshwitness::envoy::{Content, Format, LineParser};

use crate::operators::{Meanings, Operator};

/// A format and a line of it.
pub struct Rendered {
    format: String,
    line: Vec<u8>,
    fields: Vec<(Operator, Option<String>)>,
}

impl Rendered {
    /// Of a format without anything in it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            format: String::new(),
            line: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Adds text that stands in every line.
    pub fn literal(&mut self, text: &str) {
        self.format.push_str(&text.replace('%', "%%"));
        self.line.extend_from_slice(text.as_bytes());
    }

    /// Adds an operator and what it writes; `-` in place of a value that it never writes. No
    /// operator twice.
    pub fn field(&mut self, meanings: &mut Meanings, operator: Operator, value: &[u8]) {
        if self
            .fields
            .iter()
            .any(|(known, _)| known.text == operator.text)
        {
            return;
        }
        let meant = match value.contains(&b'\n') {
            true => None,
            false => meanings.meant(&operator, value),
        };
        let value = if meant.is_some() { value } else { b"-" };
        self.format.push_str(operator.text);
        self.line.extend_from_slice(value);
        self.fields.push((operator, meant.flatten()));
    }

    /// Whether it holds an operator.
    #[must_use]
    pub fn is_format(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Fails where the line, read in this format, says something else than was meant. Where it
    /// can be read in several ways it may say less.
    ///
    /// # Panics
    ///
    /// Then.
    pub fn check(&self) {
        let format = Format::compile(&self.format).expect("a valid format");
        self.check_with(&mut LineParser::new(format));
    }

    /// The same with a parser of this format.
    ///
    /// # Panics
    ///
    /// If the line says something else.
    pub fn check_with(&self, parser: &mut LineParser) {
        let (entry, sure) = match parser.parse(&self.line) {
            Content::Entry(entry) => (entry, true),
            Content::Ambiguous(entry) => (entry, false),
            content => panic!("{:?} reads its own line as {content:?}", self.format),
        };
        for (operator, meant) in &self.fields {
            let read = operator.of(&entry);
            assert!(
                read == *meant || (!sure && read.is_none()),
                "{}: {read:?}, expected {meant:?}",
                operator.text
            );
        }
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }
}

impl Default for Rendered {
    fn default() -> Self {
        Self::new()
    }
}
