//! Lines that were read, to know those that say the same once more.

use std::collections::{BTreeMap, VecDeque};

use super::input::Entry;
use crate::{number_map::NumberMap, record::Fingerprint, timestamp::Timestamp};

/// Lines of a connection that carries one request after another which are remembered.
const KEPT_WHOLE: usize = 256;

/// Of these, the ones that are known again in another format.
const KEPT_FIELDS: usize = 32;

/// Lines that are remembered where many requests are under way at once: as many as a proxy gathers
/// in its buffer (64 KiB) for one sink before it writes those for the other.
const KEPT_OF_MANY: usize = 2048;

/// Lines that were read.
#[derive(Debug)]
pub(super) enum Told {
    /// The last few, which are looked through.
    Few(Few),
    /// So many that they are looked up.
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(super) struct Few {
    wholes: VecDeque<Fingerprint>,
    fields: VecDeque<Fields>,
}

#[derive(Debug, Default)]
pub(super) struct Many {
    wholes: NumberMap<Fingerprint, ()>,
    order_of_wholes: VecDeque<Fingerprint>,
    fields: BTreeMap<(Shared, u64), Fields>,
    order_of_fields: VecDeque<(Shared, u64)>,
    next: u64,
}

/// What two lines of one request have in common, so far as both formats have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    shared: Shared,
    request_id: Option<Fingerprint>,
    numbers: [Option<u64>; 3],
}

/// What every format has: START_TIME, the path, and the status.
type Shared = (Timestamp, Option<Fingerprint>, Option<u16>);

impl Default for Told {
    fn default() -> Self {
        Self::Few(Few::default())
    }
}

impl Told {
    /// Many requests are under way at once.
    pub(super) fn expect_many(&mut self) {
        let Self::Few(few) = self else { return };
        let mut many = Box::<Many>::default();
        few.wholes
            .drain(..)
            .for_each(|whole| many.keep_whole(whole));
        few.fields
            .drain(..)
            .for_each(|fields| many.keep_fields(fields));
        *self = Self::Many(many);
    }

    /// Whether a line says what one of these said; if not it is now one of these.
    pub(super) fn is_copy(&mut self, entry: &Entry) -> bool {
        let fields = Fields::of(entry);
        if self.knows(entry, fields.as_ref()) {
            return true;
        }
        match self {
            Self::Few(few) => {
                if let Some(whole) = entry.whole {
                    keep(&mut few.wholes, whole, KEPT_WHOLE);
                }
                if let Some(fields) = fields {
                    keep(&mut few.fields, fields, KEPT_FIELDS);
                }
            }
            Self::Many(many) => {
                entry
                    .whole
                    .into_iter()
                    .for_each(|whole| many.keep_whole(whole));
                fields
                    .into_iter()
                    .for_each(|fields| many.keep_fields(fields));
            }
        }
        false
    }

    /// Whether a line with these fields says what one of these said.
    pub(super) fn knows(&self, entry: &Entry, fields: Option<&Fields>) -> bool {
        let (whole, fields) = (entry.whole.as_ref(), fields);
        match self {
            Self::Few(few) => {
                let mut known = few.fields.iter().rev();
                whole.is_some_and(|whole| few.wholes.contains(whole))
                    || fields.is_some_and(|fields| known.any(|other| fields.is_of_same(other)))
            }
            Self::Many(many) => {
                whole.is_some_and(|whole| many.wholes.contains_key(whole))
                    || fields.is_some_and(|fields| many.knows(fields))
            }
        }
    }
}

impl Many {
    fn keep_whole(&mut self, whole: Fingerprint) {
        self.wholes.insert(whole, ());
        self.order_of_wholes.push_back(whole);
        if self.order_of_wholes.len() > KEPT_OF_MANY
            && let Some(oldest) = self.order_of_wholes.pop_front()
        {
            self.wholes.remove(&oldest);
        }
    }

    fn keep_fields(&mut self, fields: Fields) {
        let key = (fields.shared, self.next);
        self.next += 1;
        self.fields.insert(key, fields);
        self.order_of_fields.push_back(key);
        if self.order_of_fields.len() > KEPT_OF_MANY
            && let Some(oldest) = self.order_of_fields.pop_front()
        {
            self.fields.remove(&oldest);
        }
    }

    fn knows(&self, fields: &Fields) -> bool {
        let range = (fields.shared, 0)..=(fields.shared, u64::MAX);
        let mut alike = self.fields.range(range);
        alike.any(|(_, other)| fields.is_of_same(other))
    }
}

impl Fields {
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let path = entry.path.map(|path| path.bare_normalized);
        Some(Self {
            shared: (entry.start_time?, path, entry.response_code),
            request_id: entry.request_id,
            numbers: [
                entry.duration_milliseconds,
                entry.bytes_received,
                entry.bytes_sent,
            ],
        })
    }

    /// Whether both tell of one request in two formats: nothing differs, but one says more than the
    /// other, neither path nor status. Where both say alike much they are of one format, and the
    /// same only if they are equal as a whole.
    fn is_of_same(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(ours: &[Option<T>], others: &[Option<T>]) -> bool {
            let mut both = ours.iter().zip(others);
            both.all(|pair| !matches!(pair, (Some(our), Some(other)) if our != other))
        }
        self.shared == other.shared
            && self.shape() != other.shape()
            && agree(&[self.request_id], &[other.request_id])
            && agree(&self.numbers, &other.numbers)
    }

    fn shape(&self) -> [bool; 4] {
        let [lasted, received, sent] = self.numbers.map(|number| number.is_some());
        [self.request_id.is_some(), lasted, received, sent]
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: T, most: usize) {
    kept.push_back(new);
    if kept.len() > most {
        kept.pop_front();
    }
}
