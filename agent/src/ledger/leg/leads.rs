//! What of a connection might have been the other half of something: for evidence.

use std::collections::VecDeque;

use super::Begun;
use crate::{
    ledger::input::{Exchange, Line},
    record::Fingerprint,
    timestamp::Timestamp,
};

/// The neighbours of what is judged are enough.
const KEPT_PAIRS: usize = 4;

/// The last pairs of a connection, for those that ask what stood beside them.
#[derive(Debug, Default)]
pub(in crate::ledger) struct RecentPairs(VecDeque<RecentPair>);

/// An exchange and its line that belong together.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct RecentPair {
    /// The exchange's number on its connection.
    pub(in crate::ledger) exchange: u32,
    /// The HTTP/2 stream that carried it.
    pub(in crate::ledger) stream: Option<u32>,
    /// When it began.
    pub(in crate::ledger) time: Timestamp,
    /// Where its line begins.
    pub(in crate::ledger) offset: u64,
    /// The line's stamp.
    pub(in crate::ledger) stamp: Timestamp,
    /// The line, as a whole.
    pub(in crate::ledger) whole: Option<Fingerprint>,
    /// The record of both.
    pub(in crate::ledger) sequence: u64,
}

/// An exchange that had no line when it was asked for.
#[derive(Debug)]
pub(in crate::ledger) enum OpenExchange<'a> {
    /// It has not ended.
    Begun(Begun),
    /// It waits for its line.
    Ended(&'a Exchange),
    /// It was judged without one, in this record.
    Accused {
        exchange: &'a Exchange,
        record: &'a str,
    },
}

impl RecentPairs {
    pub(in crate::ledger) fn note(&mut self, exchange: &Exchange, line: &Line, sequence: u64) {
        if self.0.len() == KEPT_PAIRS {
            self.0.pop_front();
        }
        self.0.push_back(RecentPair {
            exchange: exchange.exchange,
            stream: exchange.stream,
            time: exchange.time,
            offset: line.offset,
            stamp: line.time,
            whole: line.entry().and_then(|entry| entry.whole),
            sequence,
        });
    }

    pub(in crate::ledger) fn iter(&self) -> impl Iterator<Item = &RecentPair> {
        self.0.iter()
    }
}
