//! Reading a ring buffer of the kernel.
//!
//! Its first page holds the consumer's position and is ours to write; the second holds the
//! producer's; the data follows, mapped twice in a row so that no record is torn at the end
//! (kernel documentation, "BPF ring buffer"). Both positions only grow. Each record has a header
//! of eight bytes, whose first four are its length and two flags.

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use aya::maps::MapData;
use rustix::param::page_size;

use super::mapping::Mapping;

/// The place is reserved and not yet filled.
const BUSY: u64 = 1 << 31;
/// The place was given up.
const DISCARDED: u64 = 1 << 30;
const LENGTH: u64 = DISCARDED - 1;
const HEADER: u64 = 8;

/// The reading end of a ring.
pub(super) struct Ring {
    consumer: Mapping,
    producer: Mapping,
    /// The size of the data, a power of two.
    size: u64,
    /// How far it was read: the consumer's position.
    position: u64,
    /// Keeps the map.
    _map: MapData,
}

impl Ring {
    /// Maps a ring whose data is `size` bytes.
    pub(super) fn map(map: MapData, size: u32) -> io::Result<Self> {
        let page = page_size();
        let data = size as usize;
        let consumer = Mapping::new(map.fd().as_fd(), 0, page, true)?;
        let producer = Mapping::new(map.fd().as_fd(), page as u64, page + 2 * data, false)?;
        Ok(Self {
            consumer,
            producer,
            size: u64::from(size),
            position: 0,
            _map: map,
        })
    }

    /// How far the ring was written, filled or not.
    pub(super) fn end(&self) -> u64 {
        self.producer
            .number(0)
            .map_or(0, |position| position.load(Ordering::Acquire))
    }

    /// How far the ring was read.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// How much of it is taken, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn fill(&self) -> f64 {
        self.end().saturating_sub(self.position) as f64 / self.size as f64
    }

    /// Hands on every record up to `end`, or up to the first place that is not yet filled.
    pub(super) fn read(&mut self, end: u64, mut record: impl FnMut(&[u8])) {
        while self.position < end {
            let offset = page_size() as u64 + (self.position & (self.size - 1));
            let Ok(offset) = usize::try_from(offset) else {
                return;
            };
            // The header's other half says how far it is from the ring's first page.
            let Some(header) = self.producer.number(offset) else {
                return;
            };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return;
            }
            let length = header & LENGTH;
            if header & DISCARDED == 0
                && let Ok(length) = usize::try_from(length)
            {
                // SAFETY: the kernel fills a place before it takes BUSY away, and writes to it
                // again only after `position` has passed it.
                let bytes = unsafe { self.producer.bytes(offset + HEADER as usize, length) };
                if let Some(bytes) = bytes {
                    record(bytes);
                }
            }
            self.position += (HEADER + length).next_multiple_of(8);
            if let Some(consumer) = self.consumer.number(0) {
                consumer.store(self.position, Ordering::Release);
            }
        }
    }
}
