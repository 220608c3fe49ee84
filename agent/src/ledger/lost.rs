//! Request heads of one connection that are known by number only, or not even by that.

use crate::{http::Gap, timestamp::Timestamp};

/// Losses that are told apart; what comes on top is added to the last for the same reason.
const KEPT: usize = 256;

/// In the order in which they were noticed.
#[derive(Debug, Default)]
pub(super) struct LostHeads {
    losses: Vec<Loss>,
    /// Of so many all heads stand in a record.
    written: usize,
}

/// Heads that were lost for one reason at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) count: u64,
    pub(super) cause: Gap,
    /// When it was noticed, at the latest.
    pub(super) time: Timestamp,
    /// There may be more of them, nobody knows how many.
    and_more: bool,
    excused_lines: u64,
    /// So many stand in a record.
    written: u64,
}

impl LostHeads {
    /// So many heads were lost before `time`; 0: nobody knows how many.
    pub(super) fn note(&mut self, count: u64, cause: Gap, time: Timestamp) {
        let is_alike = |loss: &Loss| loss.cause == cause;
        if self.losses.len() >= KEPT
            && let Some(at) = self.losses.iter().rposition(is_alike)
        {
            let last = &mut self.losses[at];
            last.count += count;
            last.time = last.time.max(time);
            last.and_more |= count == 0;
            self.written = self.written.min(at);
            return;
        }
        self.losses.push(Loss {
            count,
            cause,
            time,
            and_more: count == 0,
            excused_lines: 0,
            written: 0,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter()
    }

    /// The next that are to be written, with their number, 0 if that is not known or nothing was
    /// added to them.
    pub(super) fn take_unwritten(&mut self) -> Option<(u64, Gap, Timestamp)> {
        let loss = self.losses.get_mut(self.written)?;
        self.written += 1;
        let count = loss.count - loss.written;
        loss.written = loss.count;
        Some((count, loss.cause, loss.time))
    }

    /// Why a line without an exchange may be of one of them.
    pub(super) fn excuse_line(&mut self) -> Option<Gap> {
        let excuses = |loss: &&mut Loss| loss.and_more || loss.excused_lines < loss.count;
        let loss = self.losses.iter_mut().find(excuses)?;
        loss.excused_lines += 1;
        Some(loss.cause)
    }

    /// Why some may have been sent after this moment.
    pub(super) fn after(&self, moment: Timestamp) -> Option<Gap> {
        let may_be_later = |loss: &&Loss| loss.and_more || moment <= loss.time;
        self.losses.iter().find(may_be_later).map(|loss| loss.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, KEPT, LostHeads, Timestamp};

    fn lost(counts: &[u64]) -> LostHeads {
        let mut lost = LostHeads::default();
        for (time, count) in (0..).zip(counts) {
            lost.note(*count, Gap::RingLost, Timestamp(time));
        }
        lost
    }

    fn unwritten(lost: &mut LostHeads) -> Vec<u64> {
        let mut counts = Vec::new();
        while let Some((count, ..)) = lost.take_unwritten() {
            counts.push(count);
        }
        counts
    }

    #[test]
    fn each_is_written_once() {
        let mut lost = lost(&[3, 0, 2]);
        assert_eq!(unwritten(&mut lost), [3, 0, 2]);
        assert!(unwritten(&mut lost).is_empty());
        lost.note(5, Gap::StreamGap, Timestamp(9));
        assert_eq!(
            lost.take_unwritten(),
            Some((5, Gap::StreamGap, Timestamp(9)))
        );
    }

    #[test]
    fn so_many_lines_are_excused_as_heads_were_lost() {
        let mut known = lost(&[2, 1]);
        let excused = (0..9).filter(|_| known.excuse_line().is_some()).count();
        assert_eq!(excused, 3);
        assert!((0..9).all(|_| lost(&[0]).excuse_line().is_some()));
    }

    #[test]
    fn what_is_lost_was_sent_before_it_was_noticed() {
        let lost = |count| lost(&[count, count]);
        assert_eq!(lost(1).after(Timestamp(1)), Some(Gap::RingLost));
        assert_eq!(lost(1).after(Timestamp(2)), None);
        assert_eq!(lost(0).after(Timestamp(2)), Some(Gap::RingLost));
    }

    #[test]
    fn many_losses_are_not_told_apart_and_all_counted() {
        let mut lost = lost(&[1; KEPT]);
        assert_eq!(unwritten(&mut lost), [1; KEPT]);
        for time in 1_000..1_003 {
            lost.note(2, Gap::RingLost, Timestamp(time));
        }
        assert_eq!(lost.iter().count(), KEPT);
        assert_eq!(unwritten(&mut lost), [6]);
        assert_eq!(lost.after(Timestamp(1_002)), Some(Gap::RingLost));
        let excused = (0..2 * KEPT).filter(|_| lost.excuse_line().is_some());
        assert_eq!(excused.count(), KEPT + 6);
        assert_eq!(lost.after(Timestamp(1_003)), None);
        lost.note(0, Gap::RingLost, Timestamp(1_003));
        assert_eq!(unwritten(&mut lost), [0]);
        assert!(lost.excuse_line().is_some());
    }

    #[test]
    fn many_losses_keep_their_reasons() {
        let mut lost = lost(&[1; KEPT]);
        unwritten(&mut lost);
        for (count, cause) in [(2, Gap::StreamGap), (3, Gap::RingLost), (4, Gap::StreamGap)] {
            lost.note(count, cause, Timestamp(1_000));
        }
        let of = |cause| {
            let of_it = lost.iter().filter(|loss| loss.cause == cause);
            of_it.map(|loss| loss.count).sum::<u64>()
        };
        assert_eq!(of(Gap::RingLost), KEPT as u64 + 3);
        assert_eq!(of(Gap::StreamGap), 6);
        assert_eq!(unwritten(&mut lost), [3, 6]);
    }
}
