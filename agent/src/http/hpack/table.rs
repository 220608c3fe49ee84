//! The dynamic table: RFC 7541 sections 2.3.2 and 4.

use std::collections::VecDeque;

use super::static_table::STATIC;

/// What was inserted, as far as it was seen.
///
/// How much of the encoder's table it holds:
///
/// ```text
///            ┌────── forget ─────┐
///            │                   ▼
/// ──▶ Complete                 Partial
///            ▲                   │
///            └── evicted by a ───┘
///                known limit
/// ```
///
/// Complete, an index beyond it is none that the encoder can have meant. Partial, the encoder's
/// table goes on behind it, nobody knows with what. Sizes are counted without what is unknown, so
/// that nothing is evicted here that the encoder still has: what it no longer has it never names.
#[derive(Debug)]
pub(super) struct Table {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Names and values, of each entry one behind the other.
    text: Vec<u8>,
    /// The place of the first byte of `text` in all that was ever inserted.
    origin: u64,
    /// Sizes of all entries, as section 4.1 counts them.
    size: usize,
    /// The maximum size; none if it is not known.
    limit: Option<usize>,
    complete: bool,
}

/// An entry; what is unknown of it takes up no text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    /// Length of the name.
    name: Option<usize>,
    /// Length of the value.
    value: Option<usize>,
}

/// What an index stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// The name of what is inserted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    /// That of the entry at an index.
    Of(u32),
    /// A new one.
    New(&'a [u8]),
}

/// The maximum size before anything was settled (RFC 9113 section 6.5.2).
pub(super) const DEFAULT_SIZE: u32 = 4096;

/// Text and overhead that are kept at the most, whatever the limit.
const KEPT: usize = 64 << 10;

/// What an entry counts beside its text (section 4.1).
const OVERHEAD: usize = 32;

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            text: Vec::new(),
            origin: 0,
            size: 0,
            limit: Some(DEFAULT_SIZE as usize),
            complete: true,
        }
    }

    /// What it holds says nothing any more of what the encoder's holds.
    pub(super) fn forget(&mut self) {
        self.clear();
        self.limit = None;
        self.complete = false;
    }

    /// What stands at an index, static entries first; none if nothing can.
    pub(super) fn at(&self, index: u32) -> Option<Named<'_>> {
        let index = (index as usize).checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            let (name, value) = (Some(name.as_bytes()), Some(value.as_bytes()));
            return Some(Named { name, value });
        }
        let age = index - STATIC.len();
        let place = self.entries.len().checked_sub(age + 1);
        match place.and_then(|place| self.entries.get(place)) {
            Some(entry) => {
                let start = self.offset(entry.start);
                let middle = start + entry.name.unwrap_or(0);
                let end = middle + entry.value.unwrap_or(0);
                let name = entry.name.map(|_| &self.text[start..middle]);
                let value = entry.value.map(|_| &self.text[middle..end]);
                Some(Named { name, value })
            }
            None if self.complete => None,
            None => Some(Named {
                name: None,
                value: None,
            }),
        }
    }

    /// Inserts a field. Nothing can stand at the index of its name if that says so.
    pub(super) fn insert(&mut self, name: Name<'_>, value: &[u8]) {
        let start = self.origin + self.text.len() as u64;
        let known = match name {
            Name::New(name) => {
                self.text.extend_from_slice(name);
                Some(name.len())
            }
            Name::Of(index) => self.append_name(index),
        };
        let size = OVERHEAD + known.unwrap_or(0) + value.len();
        if self.limit.is_some_and(|limit| size > limit) {
            // No error (section 4.4): it leaves the table empty.
            self.clear();
            self.complete = true;
            return;
        }
        let entry = if size > KEPT {
            self.text.truncate(self.offset(start));
            Entry {
                start,
                name: None,
                value: None,
            }
        } else {
            self.text.extend_from_slice(value);
            Entry {
                start,
                name: known,
                value: Some(value.len()),
            }
        };
        // The entry whose name it takes may be one of those.
        self.evict(entry.size());
        self.size += entry.size();
        self.entries.push_back(entry);
        self.compact();
    }

    /// The maximum size was changed (section 4.3).
    pub(super) fn resize(&mut self, limit: u32) {
        let limit = limit as usize;
        self.limit = Some(limit);
        self.evict(0);
        self.compact();
        // Then it has no room for any entry.
        self.complete |= limit < OVERHEAD;
    }

    /// Bytes that it takes up.
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Appends a copy of the name at `index`, and says how long it is.
    fn append_name(&mut self, index: u32) -> Option<usize> {
        let age = (index as usize).checked_sub(STATIC.len() + 1);
        let Some(age) = age else {
            let (name, _) = STATIC.get((index as usize).checked_sub(1)?)?;
            self.text.extend_from_slice(name.as_bytes());
            return Some(name.len());
        };
        let place = self.entries.len().checked_sub(age + 1)?;
        let Entry { start, name, .. } = *self.entries.get(place)?;
        let (start, length) = (self.offset(start), name?);
        self.text.extend_from_within(start..start + length);
        Some(length)
    }

    /// Evicts the oldest until there is room for `more`.
    fn evict(&mut self, more: usize) {
        let limit = self.limit.unwrap_or(usize::MAX);
        while self.size + more > limit.min(KEPT)
            && let Some(oldest) = self.entries.pop_front()
        {
            // The encoder evicted it too, and what was older before it; or it did not.
            self.complete = self.size + more > limit;
            self.size -= oldest.size();
        }
    }

    /// Lets go of the text of what was evicted, once it is the larger part.
    fn compact(&mut self) {
        let first = self.entries.front().map(|entry| entry.start);
        let gone = first.map_or(self.text.len(), |first| self.offset(first));
        if gone > self.text.len() / 2 {
            self.text.drain(..gone);
            self.origin += gone as u64;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.size = 0;
    }

    /// Where in `text` a place lies.
    fn offset(&self, place: u64) -> usize {
        // Never more than its length.
        usize::try_from(place - self.origin).unwrap_or(self.text.len())
    }
}

impl Entry {
    fn size(&self) -> usize {
        OVERHEAD + self.name.unwrap_or(0) + self.value.unwrap_or(0)
    }
}
