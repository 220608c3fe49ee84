//! Header blocks: RFC 9113 section 4.3.

use std::borrow::Cow;

use super::{
    frame::{Header, take_byte},
    step::Step,
};

/// A header block that is not whole.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    promise: bool,
    end_stream: bool,
    /// Its bytes; none if they are too many.
    bytes: Option<Vec<u8>>,
}

/// A part of a header block, with so many bytes of each.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The length of the padding comes first.
    padded: bool,
    /// The priority, or the promised stream.
    lead: u32,
    /// All that is still to come, padding included.
    left: u32,
    padding: u32,
    end_headers: bool,
}

impl Block {
    /// Bytes that are kept of one. Envoy takes 60 KiB of fields.
    pub(super) const LIMIT: usize = 256 << 10;

    pub(super) fn new(stream: u32, promise: bool, end_stream: bool) -> Self {
        Self {
            stream,
            promise,
            end_stream,
            bytes: Some(Vec::new()),
        }
    }

    /// Nothing of it was kept, and it is not too large.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.as_ref().is_some_and(Vec::is_empty)
    }

    /// Keeps more of it.
    pub(super) fn push(&mut self, more: &[u8]) {
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(more);
            if bytes.len() > Self::LIMIT {
                self.bytes = None;
            }
        }
    }

    /// It is whole, with these bytes.
    pub(super) fn whole<'a>(&self, bytes: Cow<'a, [u8]>) -> Step<'a> {
        Step::Block {
            stream: self.stream,
            promise: self.promise,
            end_stream: self.end_stream,
            bytes,
        }
    }

    /// It is whole, with the bytes that were kept.
    pub(super) fn kept(mut self) -> Step<'static> {
        match self.bytes.take() {
            Some(bytes) => self.whole(Cow::Owned(bytes)),
            None => self.unreadable(),
        }
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::capacity)
    }

    /// It cannot be read.
    pub(super) fn unreadable(&self) -> Step<'static> {
        Step::Unreadable {
            stream: self.stream,
            end_stream: self.end_stream,
        }
    }
}

impl Fragment {
    pub(super) fn new(header: &Header, lead: u32) -> Self {
        let padded = header.has(Header::PADDED);
        Self {
            padded: padded && header.length > 0,
            lead: lead.min(header.length - u32::from(padded && header.length > 0)),
            left: header.length,
            padding: 0,
            end_headers: header.has(Header::END_HEADERS),
        }
    }

    /// Reads on, of which at least a byte is still to come: so much of the header block, once what
    /// stands before it was read.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.padded) {
            self.left -= 1;
            self.padding = u32::from(take_byte(input));
            return None;
        }
        self.take(input, self.lead);
        if self.lead > 0 {
            return None;
        }
        let content = self.left.saturating_sub(self.padding);
        let bytes = self.take(input, content);
        if bytes.len() == content as usize {
            self.take(input, self.left);
        }
        Some(bytes)
    }

    /// All of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// No other follows it.
    pub(super) fn ends_block(&self) -> bool {
        self.end_headers
    }

    /// Takes at most so many bytes.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: u32) -> &'a [u8] {
        let length = input.len().min(most as usize);
        let (taken, rest) = input.split_at(length);
        *input = rest;
        // At most `most`.
        let length = u32::try_from(length).unwrap_or(most);
        self.lead = self.lead.saturating_sub(length);
        self.left = self.left.saturating_sub(length);
        taken
    }
}
