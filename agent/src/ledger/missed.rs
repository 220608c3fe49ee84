//! Request heads that the capture missed somewhere in a pod: what excuses a line that names no
//! connection.

use std::{collections::VecDeque, time::Duration};

use crate::{http::ConnectionId, record::Reason, timestamp::Timestamp};

/// Losses that are remembered.
const KEPT_LOSSES: usize = 1024;

/// How far START_TIME may lie outside the time of a loss.
const TOLERANCE: Duration = Duration::from_millis(10);

/// What was missed on the connections of one pod.
#[derive(Debug, Default)]
pub(super) struct Missed {
    losses: VecDeque<Loss>,
}

#[derive(Debug)]
struct Loss {
    connection: ConnectionId,
    /// The heads were sent in this time.
    from: Timestamp,
    to: Timestamp,
    reason: Reason,
    /// So many lines may still be theirs; none: any.
    left: Option<u64>,
}

impl Missed {
    /// Heads of a connection that opened at `opened` were found missing at `noticed`; 0: from
    /// then on any may be.
    pub(super) fn note(
        &mut self,
        connection: ConnectionId,
        (opened, noticed): (Timestamp, Timestamp),
        heads: u64,
        reason: Reason,
    ) {
        let left = (heads > 0).then_some(heads);
        self.losses.push_back(Loss {
            connection,
            from: opened,
            to: if heads > 0 { noticed } else { Timestamp::MAX },
            reason,
            left,
        });
        if self.losses.len() > KEPT_LOSSES {
            self.losses.pop_front();
        }
    }

    /// A connection closed: nothing more is missed on it.
    pub(super) fn close(&mut self, connection: ConnectionId, time: Timestamp) {
        let of_it = |loss: &&mut Loss| loss.connection == connection;
        for loss in self.losses.iter_mut().filter(of_it) {
            loss.to = loss.to.min(time);
        }
    }

    /// Why the request of a line may have been missed that began between these moments; counts it
    /// in.
    pub(super) fn excuse(&mut self, (first, last): (Timestamp, Timestamp)) -> Option<Reason> {
        let may_be = |loss: &&mut Loss| loss.may_be_of(first, last);
        let loss = self.losses.iter_mut().find(may_be)?;
        loss.left = loss.left.map(|left| left - 1);
        Some(loss.reason)
    }

    /// Whether there is a reason for that.
    pub(super) fn may_excuse(&self, (first, last): (Timestamp, Timestamp)) -> bool {
        self.losses.iter().any(|loss| loss.may_be_of(first, last))
    }
}

impl Loss {
    fn may_be_of(&self, first: Timestamp, last: Timestamp) -> bool {
        self.left != Some(0) && self.from <= last + TOLERANCE && first <= self.to + TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{KEPT_LOSSES, Missed, TOLERANCE};
    use crate::{record::Reason, timestamp::Timestamp};

    const MOMENT: Duration = Duration::from_nanos(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(seconds)
    }

    fn excuse(missed: &mut Missed, start: Timestamp) -> Option<Reason> {
        missed.excuse((start, start))
    }

    #[test]
    fn as_many_lines_are_excused_as_heads_were_missed() {
        for heads in 1..4 {
            let mut missed = Missed::default();
            missed.note(1, (at(10), at(20)), heads, Reason::RingLost);
            let excused = (0..10).filter(|_| excuse(&mut missed, at(15)).is_some());
            assert_eq!(excused.count() as u64, heads);
        }
    }

    #[test]
    fn heads_were_missed_between_the_opening_and_the_notice() {
        for (start, expected) in [
            (at(10) - TOLERANCE - MOMENT, None),
            (at(10) - TOLERANCE, Some(Reason::RingLost)),
            (at(20) + TOLERANCE, Some(Reason::RingLost)),
            (at(20) + TOLERANCE + MOMENT, None),
        ] {
            let mut missed = Missed::default();
            missed.note(1, (at(10), at(20)), 1, Reason::RingLost);
            assert_eq!(excuse(&mut missed, start), expected);
        }
    }

    #[test]
    fn where_their_number_is_not_known_any_may_be_missed_until_the_close() {
        let mut missed = Missed::default();
        missed.note(1, (at(10), at(20)), 0, Reason::StreamGap);
        for start in [at(15), at(15), at(3600)] {
            assert_eq!(excuse(&mut missed, start), Some(Reason::StreamGap));
        }
        missed.close(2, at(30));
        assert!(excuse(&mut missed, at(3600)).is_some());
        missed.close(1, at(30));
        assert!(excuse(&mut missed, at(30) + TOLERANCE).is_some());
        assert!(excuse(&mut missed, at(30) + TOLERANCE + MOMENT).is_none());
    }

    #[test]
    fn the_oldest_losses_give_way() {
        let mut missed = Missed::default();
        let note = |missed: &mut Missed, second| {
            missed.note(1, (at(second), at(second)), 2, Reason::RingLost);
        };
        for loss in 1..=KEPT_LOSSES as u64 {
            note(&mut missed, loss);
        }
        assert!(excuse(&mut missed, at(1)).is_some());
        note(&mut missed, KEPT_LOSSES as u64 + 1);
        assert!(excuse(&mut missed, at(1)).is_none());
        assert!(excuse(&mut missed, at(2)).is_some());
    }

    #[test]
    fn a_request_may_have_been_missed_if_it_may_have_begun_in_that_time() {
        let mut missed = Missed::default();
        missed.note(1, (at(10), at(11)), 2, Reason::RingLost);
        assert_eq!(missed.excuse((at(5), at(9))), None);
        assert_eq!(missed.excuse((at(12), at(20))), None);
        assert_eq!(missed.excuse((at(5), at(10))), Some(Reason::RingLost));
        assert_eq!(missed.excuse((at(11), at(20))), Some(Reason::RingLost));
        assert_eq!(missed.excuse((at(10), at(11))), None, "both are counted");
    }
}
