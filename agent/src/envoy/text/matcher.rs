//! The graph of all readings of a line.

use std::ops::Range;

use super::{DelimitedField, Match, TextFormat, find};
use crate::envoy::{
    LogEntry,
    field::{Class, Grammar},
    target::Target,
};

/// The most positions that are kept for one line, over all fields. A line that needs more has so
/// many readings that nothing in it is sure.
const MAX_POSITIONS: usize = 1 << 17;

/// Buffers that are used again for each line.
#[derive(Debug, Default)]
pub(in crate::envoy) struct Scratch {
    /// Where fields can begin, ascending within each field.
    starts: Vec<usize>,
    /// The readings of fields with a grammar of their own.
    edges: Vec<Edge>,
    /// For each field its part of `starts` and of `edges`.
    fields: Vec<(Range<usize>, Range<usize>)>,
    /// Where the current field can end, ascending; going backward, where it does.
    ends: Vec<usize>,
    /// Going backward: where the current field does begin, ascending.
    live: Vec<usize>,
    /// The fields of which one reading is left, the last one first, and where they stand.
    sure: Vec<(usize, Range<usize>)>,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    start: usize,
    end: usize,
}

/// There are more positions than are kept.
struct TooMany;

impl TextFormat {
    /// Reads a line, and writes the fields on which all readings agree into `entry`. The entry
    /// is untouched if the line does not match.
    pub(in crate::envoy) fn read(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        entry: &mut LogEntry,
    ) -> Match {
        scratch.sure.clear();
        if !line.starts_with(&self.prefix) {
            return Match::No;
        }
        match scratch.forward(&self.prefix, &self.fields, line) {
            Ok(true) => scratch.backward(&self.fields, line, entry),
            Ok(false) => Match::No,
            Err(TooMany) => Match::Ambiguous,
        }
    }
}

impl Scratch {
    /// The fields of the line that was read last, in its order, as far as they can be told apart:
    /// their numbers, and where they stand.
    pub(super) fn sure(&self) -> impl Iterator<Item = &(usize, Range<usize>)> {
        self.sure.iter().rev()
    }

    /// Finds the positions that can be reached from the front, field by field. False if the end
    /// of the line is not among them.
    fn forward(
        &mut self,
        prefix: &[u8],
        fields: &[DelimitedField],
        line: &[u8],
    ) -> Result<bool, TooMany> {
        self.starts.clear();
        self.edges.clear();
        self.fields.clear();
        self.starts.push(prefix.len());
        let mut from = 0;
        for (index, field) in fields.iter().enumerate() {
            let starts = from..self.starts.len();
            let first_edge = self.edges.len();
            self.ends.clear();
            if index + 1 < fields.len() {
                self.reach(field, starts.clone(), line)?;
            } else {
                self.reach_end(field, starts.clone(), line);
            }
            if self.ends.is_empty() {
                return Ok(false);
            }
            self.fields
                .push((starts.clone(), first_edge..self.edges.len()));
            from = starts.end;
            self.starts
                .extend(self.ends.iter().map(|end| end + field.delimiter.len()));
            if self.starts.len() + self.edges.len() > MAX_POSITIONS {
                return Err(TooMany);
            }
        }
        Ok(!fields.is_empty() || prefix.len() == line.len())
    }

    /// Fills `ends` for a field that another one follows.
    fn reach(
        &mut self,
        field: &DelimitedField,
        starts: Range<usize>,
        line: &[u8],
    ) -> Result<(), TooMany> {
        let mut run = Run::new(field, line);
        if matches!(field.field.grammar, Grammar::Span(_)) {
            // The bound grows with the start, so the last start before an end is the one to ask.
            let starts = &self.starts[starts];
            let mut next = 0;
            let mut position = starts[0];
            let mut bound = run.bound(position);
            while let Some(end) = find(line, &field.delimiter, position) {
                while next < starts.len() && starts[next] <= end {
                    bound = run.bound(starts[next]);
                    next += 1;
                }
                if end <= bound {
                    self.ends.push(end);
                    position = end + 1;
                } else if next < starts.len() {
                    position = starts[next];
                } else {
                    break;
                }
                if self.ends.len() > MAX_POSITIONS {
                    return Err(TooMany);
                }
            }
            return Ok(());
        }
        for index in starts {
            let start = self.starts[index];
            let bound = run.bound(start);
            let window = &line[..(bound + field.delimiter.len()).min(line.len())];
            let mut position = start;
            while let Some(end) = find(window, &field.delimiter, position) {
                if end > bound {
                    break;
                }
                if field.field.grammar.admits(&line[start..end]) {
                    self.edges.push(Edge { start, end });
                    self.ends.push(end);
                }
                position = end + 1;
            }
            if self.edges.len() > MAX_POSITIONS {
                return Err(TooMany);
            }
        }
        self.ends.sort_unstable();
        self.ends.dedup();
        Ok(())
    }

    /// Fills `ends` for the last field: the one end that leaves the closing literal.
    fn reach_end(&mut self, field: &DelimitedField, starts: Range<usize>, line: &[u8]) {
        let Some(text) = line.strip_suffix(field.delimiter.as_slice()) else {
            return;
        };
        let end = text.len();
        let mut run = Run::new(field, line);
        let span = matches!(field.field.grammar, Grammar::Span(_));
        let edges = self.edges.len();
        for index in starts {
            let start = self.starts[index];
            if start > end || run.bound(start) < end {
                continue;
            }
            if span {
                self.ends.push(end);
                return;
            }
            if field.field.grammar.admits(&line[start..end]) {
                self.edges.push(Edge { start, end });
            }
        }
        if self.edges.len() > edges {
            self.ends.push(end);
        }
    }

    /// Keeps the positions from which the end can be reached, and writes the fields for which
    /// only one reading is left.
    fn backward(&mut self, fields: &[DelimitedField], line: &[u8], entry: &mut LogEntry) -> Match {
        let mut verdict = Match::Sure;
        // `ends` holds the end of the last field.
        for (index, (field, (starts, edges))) in fields.iter().zip(&self.fields).enumerate().rev() {
            self.live.clear();
            let mut only = None;
            let mut several = false;
            let mut note = |start: usize, end: usize| {
                several |= only.is_some();
                only = Some(start..end);
            };
            if matches!(field.field.grammar, Grammar::Span(_)) {
                let mut run = Run::new(field, line);
                for &start in &self.starts[starts.clone()] {
                    let bound = run.bound(start);
                    let first = self.ends.partition_point(|end| *end < start);
                    // Two ends are as good as many.
                    let within = self.ends[first..]
                        .iter()
                        .take_while(|end| **end <= bound)
                        .take(2);
                    let mut alive = false;
                    for end in within {
                        note(start, *end);
                        alive = true;
                    }
                    if alive {
                        self.live.push(start);
                    }
                }
            } else {
                for edge in &self.edges[edges.clone()] {
                    if self.ends.binary_search(&edge.end).is_ok() {
                        note(edge.start, edge.end);
                        if self.live.last() != Some(&edge.start) {
                            self.live.push(edge.start);
                        }
                    }
                }
            }
            match only {
                Some(range) if !several => {
                    field.field.write(entry, &line[range.clone()]);
                    self.sure.push((index, range));
                }
                _ if field.field.target != Target::Opaque => verdict = Match::Ambiguous,
                _ => {}
            }
            std::mem::swap(&mut self.ends, &mut self.live);
            // From the starts of this field to the ends of the one before it.
            if let Some(before) = index.checked_sub(1) {
                let length = fields[before].delimiter.len();
                for end in &mut self.ends {
                    *end -= length;
                }
            }
        }
        verdict
    }
}

/// How far a field can extend from a start. Starts must be asked for in ascending order.
struct Run<'a> {
    line: &'a [u8],
    table: &'static [bool; 256],
    /// The class is that of all bytes.
    any: bool,
    longest: usize,
    /// The end of the run of the class in which the last start lies.
    end: usize,
}

impl<'a> Run<'a> {
    fn new(field: &DelimitedField, line: &'a [u8]) -> Self {
        let (class, longest) = field.field.grammar.extent();
        let longest = longest.or(field.field.length).unwrap_or(usize::MAX);
        Self {
            line,
            table: class.table(),
            any: class == Class::Any,
            longest,
            end: 0,
        }
    }

    /// The furthest end of a field that begins at `start`.
    fn bound(&mut self, start: usize) -> usize {
        if self.any {
            self.end = self.line.len();
        } else if self.end <= start {
            let inside = |byte: &&u8| self.table[usize::from(**byte)];
            self.end = start + self.line[start..].iter().take_while(inside).count();
        }
        self.end.min(start.saturating_add(self.longest))
    }
}
