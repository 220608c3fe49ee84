//! What the bounds of a sink cost it, as ranges of ids.

use std::{collections::VecDeque, sync::Arc};

use crate::record::{LossCause, SinkGap};

/// The losses of one sink that nobody has been told of yet, oldest first.
#[derive(Debug)]
pub(super) struct Losses {
    sink: Arc<str>,
    ranges: VecDeque<Range>,
    /// How many of them, from the front, were told by a record that was lost in its turn.
    retold: usize,
    /// Whether the next loss is next to the last one.
    open: bool,
}

#[derive(Debug)]
struct Range {
    first: Arc<str>,
    last: Arc<str>,
    records: u64,
    cause: LossCause,
}

impl Losses {
    pub(super) fn new(sink: Arc<str>) -> Self {
        Self {
            sink,
            ranges: VecDeque::new(),
            retold: 0,
            open: false,
        }
    }

    pub(super) fn add(&mut self, id: Arc<str>, cause: LossCause) {
        let full = self.ranges.len() >= MOST_RANGES;
        match self.ranges.back_mut() {
            Some(range) if full || (self.open && range.cause == cause) => {
                range.last = id;
                range.records += 1;
            }
            _ => self.ranges.push_back(Range {
                first: Arc::clone(&id),
                last: id,
                records: 1,
                cause,
            }),
        }
        self.open = true;
    }

    /// A record that told a loss of this sink was lost itself: the loss has to be told again.
    pub(super) fn tell_again(&mut self, gap: &SinkGap) {
        if *gap.sink != *self.sink {
            return;
        }
        let (first, last) = (Arc::from(gap.ids.0.as_str()), Arc::from(gap.ids.1.as_str()));
        let full = self.ranges.len() >= MOST_RANGES;
        match self.ranges.get_mut(self.retold) {
            // What was told is older than what was lost since.
            Some(next) if full => {
                next.first = first;
                next.records += gap.records;
            }
            None if full => {
                if let Some(range) = self.ranges.back_mut() {
                    range.last = last;
                    range.records += gap.records;
                }
            }
            _ => {
                let range = Range {
                    first,
                    last,
                    records: gap.records,
                    cause: gap.cause,
                };
                self.ranges.insert(self.retold, range);
                self.retold += 1;
            }
        }
    }

    /// Something older than the next loss has left the queue by another way.
    pub(super) fn close_range(&mut self) {
        self.open = false;
    }

    pub(super) fn take(&mut self) -> Vec<SinkGap> {
        self.open = false;
        self.retold = 0;
        let told = self.ranges.drain(..).map(|range| SinkGap {
            sink: self.sink.to_string(),
            ids: (range.first.to_string(), range.last.to_string()),
            records: range.records,
            cause: range.cause,
        });
        told.collect()
    }
}

/// Beyond it ranges grow over records that were sent: told too much, never too little.
const MOST_RANGES: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Losses, MOST_RANGES};
    use crate::record::{LossCause, SinkGap};

    fn told(losses: &mut Losses) -> Vec<(String, String, u64, LossCause)> {
        let gaps = losses.take().into_iter();
        gaps.map(|gap| (gap.ids.0, gap.ids.1, gap.records, gap.cause))
            .collect()
    }

    fn range(
        first: &str,
        last: &str,
        records: u64,
        cause: LossCause,
    ) -> (String, String, u64, LossCause) {
        (first.to_owned(), last.to_owned(), records, cause)
    }

    #[test]
    fn neighbours_join_and_the_number_of_ranges_is_bounded() {
        let mut losses = Losses::new(Arc::from("sink"));
        losses.add(Arc::from("s-1"), LossCause::Queue);
        losses.add(Arc::from("s-2"), LossCause::Queue);
        losses.close_range();
        losses.add(Arc::from("s-7"), LossCause::Queue);
        losses.add(Arc::from("s-8"), LossCause::Window);
        assert_eq!(
            told(&mut losses),
            [
                range("s-1", "s-2", 2, LossCause::Queue),
                range("s-7", "s-7", 1, LossCause::Queue),
                range("s-8", "s-8", 1, LossCause::Window),
            ]
        );

        for sequence in 0..1000_u64 {
            losses.add(Arc::from(format!("s-{sequence}")), LossCause::Queue);
            losses.close_range();
        }
        let ranges = told(&mut losses);
        assert_eq!(ranges.len(), MOST_RANGES);
        assert_eq!(ranges.iter().map(|range| range.2).sum::<u64>(), 1000);
        assert_eq!(ranges[MOST_RANGES - 1].1, "s-999");
    }

    #[test]
    fn what_a_lost_record_told_is_told_again_before_what_was_lost_since() {
        let mut losses = Losses::new(Arc::from("sink"));
        let gap = |sink: &str, first: u64, last: u64| SinkGap {
            sink: sink.to_owned(),
            ids: (format!("s-{first}"), format!("s-{last}")),
            records: last - first + 1,
            cause: LossCause::Queue,
        };
        losses.add(Arc::from("s-11"), LossCause::Queue);
        losses.tell_again(&gap("sink", 1, 5));
        losses.tell_again(&gap("other", 1, 99));
        losses.add(Arc::from("s-12"), LossCause::Queue);
        losses.tell_again(&gap("sink", 7, 10));
        assert_eq!(
            told(&mut losses),
            [
                range("s-1", "s-5", 5, LossCause::Queue),
                range("s-7", "s-10", 4, LossCause::Queue),
                range("s-11", "s-12", 2, LossCause::Queue),
            ]
        );

        for number in 0..1000 {
            losses.tell_again(&gap("sink", 2 * number, 2 * number));
        }
        losses.add(Arc::from("s-2000"), LossCause::Queue);
        let ranges = told(&mut losses);
        assert_eq!(ranges.len(), MOST_RANGES);
        assert_eq!(ranges.iter().map(|range| range.2).sum::<u64>(), 1001);
        assert_eq!(ranges[MOST_RANGES - 1].1, "s-2000");
    }
}
