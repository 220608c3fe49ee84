//! What a full queue cost, as ranges of ids.

use std::{mem, sync::Arc};

/// A run of records that one sink lost to the bound of its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// The sink's endpoint.
    pub sink: Arc<str>,
    /// The id of the first lost record.
    pub first: Arc<str>,
    /// The id of the last one.
    pub last: Arc<str>,
    /// How many records of this sink lie in the range; the sink's filter makes holes in the ids.
    pub records: u64,
}

/// The losses of one sink that nobody has been told of yet.
#[derive(Debug, Default)]
pub(super) struct Overflows {
    sink: Arc<str>,
    ranges: Vec<Overflow>,
    /// Whether the next loss is next to the last one.
    open: bool,
}

impl Overflows {
    pub(super) fn new(sink: Arc<str>) -> Self {
        Self {
            sink,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, id: Arc<str>) {
        let full = self.ranges.len() >= MOST_RANGES;
        match self.ranges.last_mut() {
            Some(range) if self.open || full => {
                range.last = id;
                range.records += 1;
            }
            _ => self.ranges.push(Overflow {
                sink: Arc::clone(&self.sink),
                first: Arc::clone(&id),
                last: id,
                records: 1,
            }),
        }
        self.open = true;
    }

    /// Something older than the next loss has left the queue by another way.
    pub(super) fn close_range(&mut self) {
        self.open = false;
    }

    pub(super) fn take(&mut self) -> Vec<Overflow> {
        self.open = false;
        mem::take(&mut self.ranges)
    }
}

/// Beyond it the last range grows over records that were sent: told too much, never too little.
const MOST_RANGES: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MOST_RANGES, Overflows};

    #[test]
    fn neighbours_join_and_the_number_of_ranges_is_bounded() {
        let mut overflows = Overflows::new(Arc::from("sink"));
        overflows.add(Arc::from("s-1"));
        overflows.add(Arc::from("s-2"));
        overflows.close_range();
        overflows.add(Arc::from("s-7"));
        let ranges = overflows.take();
        let told: Vec<_> = ranges
            .iter()
            .map(|range| (&*range.first, &*range.last, range.records))
            .collect();
        assert_eq!(told, [("s-1", "s-2", 2), ("s-7", "s-7", 1)]);

        for sequence in 0..1000_u64 {
            overflows.add(Arc::from(format!("s-{sequence}")));
            overflows.close_range();
        }
        let ranges = overflows.take();
        assert_eq!(ranges.len(), MOST_RANGES);
        assert_eq!(ranges.iter().map(|range| range.records).sum::<u64>(), 1000);
        assert_eq!(&*ranges[MOST_RANGES - 1].last, "s-999");
    }
}
