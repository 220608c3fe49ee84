//! The exchanges of a connection that are open, by their streams.

use std::collections::BTreeMap;

use super::exchange::{Open, Side};
use crate::{
    http::event::{Gap, HttpEvent},
    timestamp::Timestamp,
};

/// Exchanges that have not ended.
#[derive(Debug)]
pub(super) struct Streams {
    capacity: usize,
    /// By stream: a client numbers them upwards, so the first is the oldest.
    open: BTreeMap<u32, Box<Open>>,
    /// Bytes that are kept.
    held: usize,
}

impl Streams {
    /// At most `capacity` are kept.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            open: BTreeMap::new(),
            held: 0,
        }
    }

    /// Adds an exchange. The oldest is evicted if there is no room.
    pub(super) fn add(
        &mut self,
        stream: u32,
        open: Box<Open>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        while self.open.len() >= self.capacity
            && let Some(oldest) = self.open.keys().next().copied()
        {
            self.change(oldest, events, |open| {
                // What was missed of it, if anything was, is the better reason.
                open.cut(time);
                open.mark(Gap::Evicted);
            });
        }
        self.held += open.held;
        self.open.insert(stream, open);
    }

    pub(super) fn get(&self, stream: u32) -> Option<&Open> {
        self.open.get(&stream).map(|open| &**open)
    }

    /// Changes an exchange, if it is there, and lets go of it if it ended by that.
    pub(super) fn change(
        &mut self,
        stream: u32,
        events: &mut Vec<HttpEvent>,
        change: impl FnOnce(&mut Open),
    ) {
        let Some(open) = self.open.get_mut(&stream) else {
            return;
        };
        let before = open.held;
        change(open);
        self.held = (self.held + open.held).saturating_sub(before);
        if open.has_ended()
            && let Some(open) = self.open.remove(&stream)
        {
            self.held = self.held.saturating_sub(open.held);
            events.push(HttpEvent::Ended(open.exchange));
        }
    }

    /// Changes all exchanges from stream `from` on, and lets go of those that ended by that.
    pub(super) fn change_all(
        &mut self,
        from: u32,
        events: &mut Vec<HttpEvent>,
        mut change: impl FnMut(&mut Open),
    ) {
        let streams: Vec<_> = self.open.range(from..).map(|(stream, _)| *stream).collect();
        for stream in streams {
            self.change(stream, events, &mut change);
        }
    }

    /// An exchange waits for the end of its response.
    pub(super) fn is_waiting(&self) -> bool {
        let waits = |open: &Open| open.response != Side::Over && !open.is_tunnel();
        self.open.values().any(|open| waits(open))
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}
