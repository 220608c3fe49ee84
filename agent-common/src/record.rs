//! What begins every record of the ring of sockets.

/// The first words of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which record this is: a `KIND` constant.
    pub kind: u32,
    /// The account that the record was charged to.
    pub account: u32,
    /// When, in nanoseconds since boot, suspended time included. Taken after the record's place
    /// was reserved: whoever reads the time, then the ring's end, then up to that end, has all
    /// records of before that time.
    pub time: u64,
}

const _: () = assert!(size_of::<Header>() == 16);
