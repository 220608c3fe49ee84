//! Reading a ring buffer of the kernel.
//!
//! Its first page holds the consumer's position and is ours to write; the second holds the
//! producer's; the data follows, mapped twice in a row so that no record is torn at the end
//! (kernel documentation, "BPF ring buffer"). Both positions only grow. Each record has a header
//! of eight bytes, whose first four are its length and two flags.

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use rustix::param::page_size;

use super::mapping::Mapping;

/// The place is reserved and not yet filled.
const BUSY: u64 = 1 << 31;
/// The place was given up.
const DISCARDED: u64 = 1 << 30;
const LENGTH: u64 = DISCARDED - 1;
const HEADER: usize = 8;

/// A place in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A record.
    Filled(&'a [u8]),
    /// It was given up; what is in it may be incomplete.
    GivenUp(&'a [u8]),
}

/// The reading end of a ring.
pub(super) struct Ring {
    consumer: Mapping,
    producer: Mapping,
    /// The size of the data, a power of two.
    size: u64,
    /// How far it was read: the consumer's position.
    position: u64,
}

impl Ring {
    /// Maps a ring whose data is `size` bytes. What is mapped keeps the map.
    pub(super) fn map(map: impl AsFd, size: u32) -> io::Result<Self> {
        let page = page_size();
        let data = size as usize;
        let consumer = Mapping::new(&map, 0, page, true)?;
        let producer = Mapping::new(&map, page as u64, page + 2 * data, false)?;
        Ok(Self {
            consumer,
            producer,
            size: u64::from(size),
            position: 0,
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

    /// How many bytes it holds.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How much of it is taken, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn fill(&self) -> f64 {
        self.end().saturating_sub(self.position) as f64 / self.size as f64
    }

    /// Hands on every place up to `end`, or up to the first that is not yet filled.
    pub(super) fn read(&mut self, end: u64, mut take: impl FnMut(Place<'_>)) {
        while self.position < end {
            let Ok(offset) = usize::try_from(self.position & (self.size - 1)) else {
                return;
            };
            let offset = page_size() + offset;
            // The header's other half says how far it is from the ring's first page.
            let Some(header) = self.producer.number(offset) else {
                return;
            };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return;
            }
            let length = header & LENGTH;
            if let Ok(length) = usize::try_from(length) {
                // SAFETY: the kernel fills a place before it takes BUSY away, and writes to it
                // again only after `position` has passed it.
                let bytes = unsafe { self.producer.bytes(offset + HEADER, length) };
                if let Some(bytes) = bytes {
                    take(if header & DISCARDED == 0 {
                        Place::Filled(bytes)
                    } else {
                        Place::GivenUp(bytes)
                    });
                }
            }
            self.position += (HEADER as u64 + length).next_multiple_of(8);
            if let Some(consumer) = self.consumer.number(0) {
                consumer.store(self.position, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use rustix::{fs::MemfdFlags, param::page_size};

    use super::{BUSY, DISCARDED, HEADER, Place, Ring};

    const SIZE: u32 = 4096;

    /// A file that is laid out as a ring, and written as the kernel does.
    struct Producer {
        file: File,
        end: u64,
    }

    impl Producer {
        fn new() -> (Self, Ring) {
            let file = File::from(rustix::fs::memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
            let pages = 2 * page_size() as u64;
            file.set_len(pages + 2 * u64::from(SIZE)).unwrap();
            let ring = Ring::map(&file, SIZE).unwrap();
            (Self { file, end: 0 }, ring)
        }

        fn at(&self, position: u64) -> u64 {
            2 * page_size() as u64 + position % u64::from(SIZE)
        }

        /// Writes a record with some flags, and returns where its header is.
        fn write(&mut self, bytes: &[u8], flags: u64) -> u64 {
            let position = self.end;
            self.flag(position, bytes.len(), flags);
            // The kernel's second mapping of the data shows the same bytes; a file does not.
            let data = position + HEADER as u64;
            self.file
                .write_all_at(bytes, self.at(position) + HEADER as u64)
                .unwrap();
            for (at, byte) in (data..).zip(bytes) {
                self.file.write_all_at(&[*byte], self.at(at)).unwrap();
            }
            self.end = (data + bytes.len() as u64).next_multiple_of(8);
            let end = self.end.to_ne_bytes();
            self.file.write_all_at(&end, page_size() as u64).unwrap();
            position
        }

        fn flag(&self, position: u64, length: usize, flags: u64) {
            let header = (length as u64 | flags).to_ne_bytes();
            self.file.write_all_at(&header, self.at(position)).unwrap();
        }
    }

    fn read(ring: &mut Ring) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        ring.read(ring.end(), |place| {
            if let Place::Filled(record) = place {
                records.push(record.to_vec());
            }
        });
        records
    }

    #[test]
    fn a_place_that_is_not_filled_holds_up_what_follows() {
        let (mut producer, mut ring) = Producer::new();
        producer.write(b"first", 0);
        let busy = producer.write(b"second", BUSY);
        producer.write(b"third", 0);
        assert_eq!(read(&mut ring), [b"first"]);
        assert_eq!((ring.position(), read(&mut ring).len()), (busy, 0));
        producer.flag(busy, 6, 0);
        assert_eq!(read(&mut ring), [&b"second"[..], b"third"]);
        assert_eq!(ring.position(), producer.end);
    }

    #[test]
    fn what_was_given_up_is_told_apart() {
        let (mut producer, mut ring) = Producer::new();
        producer.write(b"given up", DISCARDED);
        producer.write(b"kept", 0);
        let mut kinds = Vec::new();
        ring.read(ring.end(), |place| {
            kinds.push(match place {
                Place::Filled(bytes) => (true, bytes.to_vec()),
                Place::GivenUp(bytes) => (false, bytes.to_vec()),
            });
        });
        assert_eq!(
            kinds,
            [(false, b"given up".to_vec()), (true, b"kept".to_vec())]
        );
    }

    #[test]
    fn goes_round_and_round() {
        let (mut producer, mut ring) = Producer::new();
        for number in 0..1000_u32 {
            let record = number.to_ne_bytes().repeat(number as usize % 50);
            producer.write(&record, 0);
            assert_eq!(read(&mut ring), [record]);
        }
        assert_eq!(ring.fill(), 0.0);
    }
}
