//! The agent's side of the table of accounts.

use std::{
    io,
    mem::offset_of,
    os::fd::BorrowedFd,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use agent_common::account::{
    ACCOUNTS_PER_BUCKET, ALL_FLOWS, Account, BUCKETS, OVERFLOW_BUCKET, RING_SOCKETS, RING_STREAMS,
    Refusal, ring_bytes,
};
use rustix::param::page_size;

use super::{CgroupId, mapping::Mapping};

/// Things that the kernel side refused to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose; none for those that share one account because the table has no room for them.
    pub cgroup: Option<CgroupId>,
    /// What, and why.
    pub refusal: Refusal,
    /// How many, since the last time.
    pub count: u64,
}

/// The table, and what was last seen in it.
pub(super) struct Accounts {
    table: Table,
    seen: Vec<Seen>,
}

/// The shared memory.
pub(super) struct Table {
    memory: Mapping,
}

/// An account as it was last seen.
#[derive(Clone, Copy)]
struct Seen {
    refused: [u64; Refusal::ALL.len()],
    produced: u64,
    /// When `produced` was first seen as it is.
    since: Instant,
}

const NUMBERS: usize = (BUCKETS + 1) * ACCOUNTS_PER_BUCKET;
const OVERFLOW: usize = OVERFLOW_BUCKET * ACCOUNTS_PER_BUCKET;

impl Accounts {
    /// Maps the table. What is mapped keeps the map.
    pub(super) fn map(map: BorrowedFd<'_>) -> io::Result<Table> {
        let length = (NUMBERS * size_of::<Account>()).next_multiple_of(page_size());
        let memory = Mapping::new(map, 0, length, true)?;
        Ok(Table { memory })
    }

    pub(super) fn new(table: Table) -> Self {
        let seen = Seen {
            refused: [0; Refusal::ALL.len()],
            produced: 0,
            since: Instant::now(),
        };
        Self {
            table,
            seen: vec![seen; NUMBERS],
        }
    }

    /// A record of `length` bytes was taken out of the ring of sockets.
    pub(super) fn consumed_from_sockets(&self, account: u32, length: usize) {
        self.table.consumed(account, RING_SOCKETS, length);
    }

    /// A record of `length` bytes was taken out of the ring of streams.
    pub(super) fn consumed_from_streams(&self, account: u32, length: usize) {
        self.table.consumed(account, RING_STREAMS, length);
    }

    /// A UDP flow ended that was booked there.
    pub(super) fn flow_ended(&self, account: u32) {
        for number in [account as usize, ALL_FLOWS] {
            self.table.flow_ended(number);
        }
    }

    pub(super) fn losses(&mut self) -> Vec<Loss> {
        let mut losses = Vec::new();
        for (number, seen) in self.seen.iter_mut().enumerate() {
            self.table.losses(number, seen, &mut losses);
        }
        losses
    }

    pub(super) fn free_quiet(&mut self, quiet: Duration) -> Vec<Loss> {
        let now = Instant::now();
        let mut losses = Vec::new();
        for (number, seen) in self.seen.iter_mut().enumerate().take(OVERFLOW) {
            let table = &self.table;
            if table.cgroup(number) == 0 {
                continue;
            }
            let produced = table.produced(number);
            let used = produced != seen.produced;
            let losing = table.losses(number, seen, &mut losses);
            if used || losing || table.has_flows(number) {
                seen.produced = produced;
                seen.since = now;
            } else if now.duration_since(seen.since) >= quiet {
                table.free(number);
                seen.since = now;
            }
        }
        losses
    }
}

impl Table {
    fn consumed(&self, account: u32, ring: usize, length: usize) {
        let number = account as usize;
        let offset = offset_of!(Account, consumed) + ring * size_of::<u64>();
        if let Some(consumed) = self.number(number, offset) {
            // Nobody else writes it.
            let bytes = consumed.load(Ordering::Relaxed);
            consumed.store(bytes.wrapping_add(ring_bytes(length)), Ordering::Release);
        }
    }

    /// Adds what was refused since it was last seen; true if anything was.
    fn losses(&self, number: usize, seen: &mut Seen, losses: &mut Vec<Loss>) -> bool {
        let before = losses.len();
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            let offset = offset_of!(Account, refused) + place * size_of::<u64>();
            let refused = self.load(number, offset);
            let count = refused.wrapping_sub(seen.refused[place]);
            if count != 0 {
                seen.refused[place] = refused;
                losses.push(Loss {
                    cgroup: (number != OVERFLOW).then(|| self.cgroup(number)),
                    refusal,
                    count,
                });
            }
        }
        losses.len() > before
    }

    fn flow_ended(&self, number: usize) {
        if let Some(ended) = self.number(number, offset_of!(Account, flows_ended)) {
            // Nobody else writes it.
            let flows = ended.load(Ordering::Relaxed);
            ended.store(flows.wrapping_add(1), Ordering::Release);
        }
    }

    fn has_flows(&self, number: usize) -> bool {
        let begun = self.load(number, offset_of!(Account, flows_begun));
        begun != self.load(number, offset_of!(Account, flows_ended))
    }

    fn cgroup(&self, number: usize) -> CgroupId {
        self.load(number, offset_of!(Account, cgroup))
    }

    fn produced(&self, number: usize) -> u64 {
        let offset = offset_of!(Account, produced);
        self.load(number, offset)
            .wrapping_add(self.load(number, offset + size_of::<u64>()))
    }

    fn free(&self, number: usize) {
        if let Some(cgroup) = self.number(number, offset_of!(Account, cgroup)) {
            cgroup.store(0, Ordering::Release);
        }
    }

    fn load(&self, number: usize, offset: usize) -> u64 {
        self.number(number, offset)
            .map_or(0, |number| number.load(Ordering::Acquire))
    }

    fn number(&self, number: usize, offset: usize) -> Option<&std::sync::atomic::AtomicU64> {
        self.memory.number(number * size_of::<Account>() + offset)
    }
}
