//! The first bytes of a direction, put together from what is seen of it.

use std::collections::BTreeMap;

use super::{Hello, MOST_BYTES, Parsed, parse};

/// Pieces behind a hole that are kept.
const KEPT_PIECES: usize = 16;

/// The first bytes of one direction, until it is known what they are.
///
/// What is sent comes in order. What is received need not, and is not authentic: pieces may
/// overlap, and where they contradict each other nothing is believed.
#[derive(Debug, Default)]
pub struct Beginning {
    /// From the first byte of the stream on, without a hole.
    bytes: Vec<u8>,
    /// Behind a hole, by position.
    ahead: BTreeMap<usize, Vec<u8>>,
    /// Nothing more is to be learnt.
    over: bool,
}

/// What a direction began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A hello of TLS.
    Hello(Hello),
    /// Something else.
    Plain,
}

impl Beginning {
    /// Takes bytes from anywhere in the stream; says once what the stream begins with.
    pub fn add(&mut self, offset: u64, bytes: &[u8]) -> Option<Start> {
        if self.over || bytes.is_empty() {
            return None;
        }
        let start = usize::try_from(offset).ok().filter(|at| *at < MOST_BYTES)?;
        let bytes = &bytes[..bytes.len().min(MOST_BYTES - start)];
        if start > self.bytes.len() {
            if self.ahead.len() < KEPT_PIECES {
                self.ahead.entry(start).or_insert_with(|| bytes.to_vec());
            }
            return None;
        }
        let mut agrees = self.append(start, bytes);
        while let Some(next) = self.ahead.first_entry()
            && *next.key() <= self.bytes.len()
        {
            let (start, piece) = next.remove_entry();
            agrees &= self.append(start, &piece);
        }
        if !agrees {
            self.end();
            return None;
        }
        let start = match parse(&self.bytes) {
            Parsed::Partial => return None,
            Parsed::Hello(hello) => Some(Start::Hello(hello)),
            Parsed::Plain => Some(Start::Plain),
            Parsed::Unreadable => None,
        };
        self.end();
        start
    }

    /// The kernel side says that it is no TLS.
    pub fn plain(&mut self) -> Option<Start> {
        if self.over || !self.bytes.is_empty() {
            return None;
        }
        self.end();
        Some(Start::Plain)
    }

    /// Nothing that comes from here on is of its beginning.
    pub fn end(&mut self) {
        *self = Self {
            over: true,
            ..Self::default()
        };
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn held(&self) -> usize {
        let ahead = self.ahead.values().map(Vec::len).sum::<usize>();
        self.bytes.len() + ahead
    }

    /// Adds a piece that begins at or before the end of what is known. False if it contradicts.
    fn append(&mut self, start: usize, piece: &[u8]) -> bool {
        let known = &self.bytes[start..];
        let common = known.len().min(piece.len());
        let agrees = known[..common] == piece[..common];
        self.bytes.extend_from_slice(&piece[common..]);
        agrees
    }
}
