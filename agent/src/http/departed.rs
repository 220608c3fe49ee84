//! Sockets whose connection was told as ended: what still comes of them tells nothing new.

use std::collections::VecDeque;

use crate::{capture::Cookie, number_map::NumberMap, timestamp::Timestamp};

/// The sockets that departed last, up to a bound.
#[derive(Debug)]
pub(super) struct Departed {
    capacity: usize,
    /// With the moment at which each entered CLOSE, if it was seen to.
    known: NumberMap<Cookie, Option<Timestamp>>,
    /// In the order in which they departed.
    order: VecDeque<Cookie>,
}

impl Departed {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            known: NumberMap::default(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn insert(&mut self, cookie: Cookie, closed: Option<Timestamp>) {
        if self.known.insert(cookie, closed).is_none() {
            self.order.push_back(cookie);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What began at `time` is of the socket's life that is over. A socket that entered CLOSE can
    /// be connected again: then it begins another.
    pub(super) fn covers(&self, cookie: Cookie, time: Timestamp) -> bool {
        match self.known.get(&cookie) {
            None => false,
            Some(None) => true,
            Some(Some(closed)) => time <= *closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Departed;
    use crate::timestamp::Timestamp;

    #[test]
    fn knows_the_last_ones_and_their_second_lives() {
        let mut departed = Departed::new(2);
        departed.insert(1, None);
        departed.insert(2, Some(Timestamp(10)));
        assert!(departed.covers(1, Timestamp::MAX));
        assert!(departed.covers(2, Timestamp(10)) && !departed.covers(2, Timestamp(11)));
        departed.insert(3, None);
        assert!(!departed.covers(1, Timestamp(0)) && departed.covers(3, Timestamp(0)));
    }
}
