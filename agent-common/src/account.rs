//! The table of accounts: what each cgroup has in the rings, and what it was refused.
//!
//! It is an array in memory that both sides see, so the agent needs neither a system call nor a
//! capability for it. An account belongs to the cgroup named in it. The kernel side claims a free
//! one, the agent frees it. Claims take no lock: two that collide charge one record to the wrong
//! account, and the loser claims again for the next; since records name the account that they
//! were charged to, what was produced and what was consumed agree for each account all the same.

/// The accounts of one bucket.
pub const ACCOUNTS_PER_BUCKET: usize = 8;
/// The buckets to which cgroups are hashed, a power of two.
pub const BUCKETS: usize = 512;
/// The bucket behind them. Its first account is for all cgroups whose own bucket is full.
pub const OVERFLOW_BUCKET: usize = BUCKETS;
/// The account after that counts the flows of all cgroups, and nothing else.
pub const ALL_FLOWS: usize = OVERFLOW_BUCKET * ACCOUNTS_PER_BUCKET + 1;

/// The ring of sockets, as an index.
pub const RING_SOCKETS: usize = 0;
/// The ring of streams, as an index.
pub const RING_STREAMS: usize = 1;

/// What is refused, and why: an index into [`Account::refused`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A record of sockets: the ring was full.
    SocketsFull,
    /// A record of sockets: the cgroup's ration of the ring was used up.
    SocketsRation,
    /// A record of streams: the ring was full.
    StreamsFull,
    /// A record of streams: the cgroup's ration of the ring was used up.
    StreamsRation,
    /// The end of a segment that was too intricate to be followed at once.
    Intricate,
    /// A socket that could not be given memory to be followed in.
    NoStorage,
    /// A UDP flow: the ration of its cgroup, or its place in the table or the ring, was used up.
    Flow,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::SocketsFull,
        Self::SocketsRation,
        Self::StreamsFull,
        Self::StreamsRation,
        Self::Intricate,
        Self::NoStorage,
        Self::Flow,
    ];
}

/// The account of one cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Whose it is; 0: it is free.
    pub cgroup: u64,
    /// Bytes put into each ring. Written by the kernel side.
    pub produced: [u64; 2],
    /// Bytes taken out of each ring. Written by the agent.
    pub consumed: [u64; 2],
    /// What was refused, by [`Refusal`]. Written by the kernel side.
    pub refused: [u64; 8],
    /// UDP flows that began. Written by the kernel side.
    pub flows_begun: u64,
    /// Of these, those that ended. Written by the agent.
    pub flows_ended: u64,
    /// Zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Account>() == 128);
const _: () = assert!(Refusal::ALL.len() <= 8);

/// Accounts that are searched together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The accounts.
    pub accounts: [Account; ACCOUNTS_PER_BUCKET],
}

const _: () = assert!(size_of::<Bucket>() == 1024);

/// The bucket in which a cgroup's account is.
#[inline(always)]
#[must_use]
pub const fn bucket_of(cgroup: u64) -> u32 {
    // Fibonacci hashing: cgroup ids are counted up, and the upper bits of the product are spread.
    let spread = cgroup.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the table's size"
    )]
    let bucket = (spread as u32) & (BUCKETS as u32 - 1);
    bucket
}

/// What a record of `size` bytes takes up in a ring: its header of eight bytes, and rounded up.
#[inline(always)]
#[must_use]
pub const fn ring_bytes(size: usize) -> u64 {
    (size as u64).next_multiple_of(8) + 8
}
