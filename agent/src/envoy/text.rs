//! Lines of a text format.
//!
//! Envoy escapes nothing in a text format, so a value that a client chose can look like the text
//! around it. A line is therefore read in every way that the format admits. One position of the
//! line for each edge of each field makes a graph: forward, the positions that can be reached from
//! the front; backward, of these the ones from which the end can be reached. A field whose two
//! edges have one position left is the same in all readings; this is exact, and takes time and
//! room in proportion to the line, not to the number of readings.

mod matcher;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use matcher::Scratch;

use memchr::memchr;

use super::{
    LogEntry,
    field::{Field, Preference},
    operator::{FormatError, Operator, Piece, split},
    sensitive::{self, Holds},
};

/// A compiled format string.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextFormat {
    prefix: Vec<u8>,
    fields: Vec<DelimitedField>,
}

/// A field and the literal text up to the next one, or to the end.
#[derive(Clone, Debug, PartialEq)]
struct DelimitedField {
    field: Field,
    /// Empty where the next operator follows at once.
    delimiter: Vec<u8>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The format does not write such a line.
    No,
    /// All readings agree in the fields of an entry.
    Sure,
    /// Readings differ. What they agree on was written.
    Ambiguous,
}

impl TextFormat {
    /// Compiles a format string.
    ///
    /// # Errors
    /// [`FormatError`].
    pub(super) fn compile(format: &str) -> Result<Self, FormatError> {
        let pieces = split(format)?;
        let preference = Preference::among(operators(&pieces));
        let format = Self::from_pieces(&pieces, preference);
        if format.fields.is_empty() {
            Err(FormatError::NoOperator)
        } else {
            Ok(format)
        }
    }

    /// Builds it from the pieces of [`split`].
    pub(super) fn from_pieces(pieces: &[Piece], preference: Preference) -> Self {
        let mut format = Self {
            prefix: Vec::new(),
            fields: Vec::new(),
        };
        for piece in pieces {
            match piece {
                Piece::Literal(text) => match format.fields.last_mut() {
                    Some(last) => last.delimiter = text.clone().into_bytes(),
                    None => format.prefix = text.clone().into_bytes(),
                },
                Piece::Operator(operator) => format.fields.push(DelimitedField {
                    field: Field::compile(operator, preference),
                    delimiter: Vec::new(),
                }),
            }
        }
        format
    }

    /// Notes in a blank entry what the format tells about all of its lines.
    pub(super) fn describe(&self, blank: &mut LogEntry) {
        for field in &self.fields {
            field.field.describe(blank);
        }
    }

    /// The one operator of a format that is nothing else.
    pub(super) fn single_field(&self) -> Option<&Field> {
        match self.fields.as_slice() {
            [only] if self.prefix.is_empty() && only.delimiter.is_empty() => Some(&only.field),
            _ => None,
        }
    }

    /// Whether a line that does not match was meant by this format: it has the literal text
    /// before the first field, that field, and the text behind it; or, where the first field can
    /// be anything, every literal text of the format in order.
    pub(super) fn resembles(&self, line: &[u8]) -> bool {
        let Some(mut rest) = line.strip_prefix(self.prefix.as_slice()) else {
            return false;
        };
        let Some(first) = self.fields.first() else {
            return false;
        };
        if let (Some(longest), false) = (first.field.grammar.extent().1, first.delimiter.is_empty())
        {
            let window = &rest[..(longest + first.delimiter.len()).min(rest.len())];
            let mut ends = window.windows(first.delimiter.len()).enumerate();
            return ends.any(|(end, text)| {
                text == first.delimiter && first.field.grammar.admits(&rest[..end])
            });
        }
        for field in &self.fields {
            match find(rest, &field.delimiter, 0) {
                Some(position) => rest = &rest[position + field.delimiter.len()..],
                None => return false,
            }
        }
        true
    }

    /// Looks through a line for what a log must not hold: field by field, and what stands between
    /// those that can be told apart. `name` is what they are called; none: as the format has it.
    pub(super) fn look_through(
        &self,
        line: &[u8],
        name: Option<&Arc<str>>,
        scratch: &mut Scratch,
        findings: &mut sensitive::Findings,
    ) {
        self.read(line, scratch, &mut LogEntry::default());
        let mut from = 0;
        for (index, range) in scratch.sure() {
            let field = &self.fields[*index].field;
            findings.look_at(None, Holds::Text, &line[from..range.start]);
            let name = name.unwrap_or(&field.name);
            findings.look_at(Some(name), field.holds, &line[range.clone()]);
            from = range.end;
        }
        findings.look_at(None, Holds::Text, &line[from..]);
    }

    /// Its fields in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().map(|field| &field.field)
    }
}

/// The operators among pieces.
pub(super) fn operators(pieces: &[Piece]) -> impl Iterator<Item = &Operator> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Operator(operator) => Some(operator),
        Piece::Literal(_) => None,
    })
}

/// Where `needle` occurs in `haystack` at `from` or later.
fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let Some((first, others)) = needle.split_first() else {
        return (from <= haystack.len()).then_some(from);
    };
    let mut from = from;
    loop {
        let at = from + memchr(*first, haystack.get(from..)?)?;
        if haystack[at + 1..].starts_with(others) {
            return Some(at);
        }
        from = at + 1;
    }
}
