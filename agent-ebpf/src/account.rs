//! Rations: no cgroup may fill a ring for the others.
//!
//! A cgroup may have at most a quarter of a ring outstanding, and never more than half of what is
//! then free. So there always is room for another: of a ring that four of them flood at once, each
//! comes to hold a sixth, and a third stays free.

use agent_common::account::{
    ACCOUNTS_PER_BUCKET, ALL_FLOWS, Account, BUCKETS, Bucket, OVERFLOW_BUCKET, Refusal, bucket_of,
};
use agent_common::flow::MOST_FLOWS;
use aya_ebpf::{Global, bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};

#[btf_map]
static ACCOUNTS: Array<Bucket, { BUCKETS + 1 }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// The size of each ring, in bytes. Set by the loader.
#[unsafe(no_mangle)]
static RING_BYTES: Global<[u64; 2]> = Global::new([0; 2]);

/// The part of a ring that one cgroup may have outstanding.
const RATION: u64 = 4;
/// The part of what is free that it may have.
const RATION_OF_FREE: u64 = 2;

/// The place of an account in the table, which each record names.
#[derive(Clone, Copy)]
pub(crate) struct Charged(pub(crate) u32);

/// How much of its ration a record may find used.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Part {
    /// All.
    Whole = 0,
    /// Half: the rest is for records that nothing makes up for.
    Half = 1,
}

impl Charged {
    /// The account of a cgroup. Claims one if it has none; that of the overflow if it can have
    /// none.
    #[inline(always)]
    pub(crate) fn of(cgroup: u64) -> Self {
        let index = bucket_of(cgroup);
        let Some(bucket) = ACCOUNTS.get_ptr_mut(index) else {
            return Self(OVERFLOW);
        };
        let first = index * ACCOUNTS_PER_BUCKET as u32;
        let mut free = OVERFLOW;
        for (number, place) in (first..).zip(0..ACCOUNTS_PER_BUCKET) {
            // SAFETY: one of the bucket's. Others write to it, hence volatile.
            let owner = unsafe { (&raw const (*bucket).accounts[place].cgroup).read_volatile() };
            // Through a number that the verifier does not know: it would follow all that comes once
            // for each place.
            // SAFETY: one of the bucket's.
            let zero = unsafe { (&raw const (*bucket).accounts[place].reserved).read_volatile() };
            let number = number.wrapping_add(zero as u32);
            if owner == cgroup {
                return Self(number);
            }
            if owner == 0 && free == OVERFLOW {
                free = number;
            }
        }
        let charged = Self(free);
        if free != OVERFLOW {
            charged.claim(cgroup);
        }
        charged
    }

    /// The same account, or, if it was freed since, the one that the cgroup has now.
    #[inline(always)]
    pub(crate) fn still(self, cgroup: u64) -> Self {
        if self.owner() == cgroup {
            return self;
        }
        Self::of(cgroup)
    }

    /// `None` never happens, but the verifier cannot know.
    #[inline(always)]
    fn account(self) -> Option<*mut Account> {
        let bucket = ACCOUNTS.get_ptr_mut(self.0 / ACCOUNTS_PER_BUCKET as u32)?;
        let place = self.0 as usize % ACCOUNTS_PER_BUCKET;
        // SAFETY: one of the bucket's.
        Some(unsafe { bucket.cast::<Account>().add(place) })
    }

    #[inline(always)]
    fn owner(self) -> u64 {
        let Some(account) = self.account() else {
            return 0;
        };
        // SAFETY: the account lives as long as the map. Others write to it, hence volatile.
        unsafe { (&raw const (*account).cgroup).read_volatile() }
    }

    #[inline(always)]
    fn claim(self, cgroup: u64) {
        if let Some(account) = self.account() {
            // SAFETY: as above.
            unsafe { (&raw mut (*account).cgroup).write_volatile(cgroup) };
        }
    }

    /// Whether a record that takes up so many `bytes` would be beyond this part of the ration of a
    /// ring, of which `used` bytes are not free.
    #[inline(always)]
    pub(crate) fn exhausted(self, ring: usize, used: u64, bytes: u64, part: Part) -> bool {
        let ring = ring & 1;
        let Some(account) = self.account() else {
            return true;
        };
        // SAFETY: as above; `ring` is 0 or 1.
        let produced = unsafe { (&raw const (*account).produced[ring]).read_volatile() };
        // SAFETY: as above.
        let consumed = unsafe { (&raw const (*account).consumed[ring]).read_volatile() };
        let outstanding = produced.wrapping_sub(consumed).wrapping_add(bytes);
        let size = RING_BYTES.load()[ring];
        let free = size.saturating_sub(used.wrapping_add(bytes));
        outstanding > (size / RATION).min(free / RATION_OF_FREE) >> part as u64
    }

    /// Books a place that was reserved.
    #[inline(always)]
    pub(crate) fn charge(self, ring: usize, bytes: u64) {
        if let Some(account) = self.account() {
            // SAFETY: the account lives as long as the map.
            unsafe { add(&raw mut (*account).produced[ring & 1], bytes) };
        }
    }

    /// Whether the cgroup has as many UDP flows as it may: the rule is that of the rings.
    #[inline(always)]
    pub(crate) fn has_too_many_flows(self) -> bool {
        let (own, all) = (self.flows(), Self(ALL_FLOWS as u32).flows());
        let free = MOST_FLOWS.saturating_sub(all);
        own >= (MOST_FLOWS / RATION).min(free / RATION_OF_FREE)
    }

    /// Books a UDP flow.
    #[inline(always)]
    pub(crate) fn begin_flow(self) {
        for charged in [self, Self(ALL_FLOWS as u32)] {
            if let Some(account) = charged.account() {
                // SAFETY: as above.
                unsafe { add(&raw mut (*account).flows_begun, 1) };
            }
        }
    }

    /// UDP flows that have not ended.
    #[inline(always)]
    fn flows(self) -> u64 {
        let Some(account) = self.account() else {
            return MOST_FLOWS;
        };
        // SAFETY: as above. Others write to them, hence volatile.
        let ended = unsafe { (&raw const (*account).flows_ended).read_volatile() };
        // SAFETY: as above.
        let begun = unsafe { (&raw const (*account).flows_begun).read_volatile() };
        begun.wrapping_sub(ended)
    }

    /// Books something that was refused.
    #[inline(always)]
    pub(crate) fn refuse(self, reason: Refusal) {
        if let Some(account) = self.account() {
            // SAFETY: as above, and there are fewer reasons than places.
            unsafe { add(&raw mut (*account).refused[reason as usize & 7], 1) };
        }
    }
}

/// The account of all cgroups that have none of their own.
const OVERFLOW: u32 = (OVERFLOW_BUCKET * ACCOUNTS_PER_BUCKET) as u32;

/// Adds atomically.
///
/// # Safety
///
/// `counter` must point into a map's value.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, amount: u64) {
    // The target has no atomic types; the instruction is in every BPF instruction set.
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counter} + 0) += {amount}",
            counter = in(reg) counter,
            amount = in(reg) amount,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: never run.
    unsafe {
        *counter = (*counter).wrapping_add(amount);
    }
}
