//! Rations: no cgroup may fill a ring for the others.

use agent_common::account::{
    ACCOUNTS_PER_BUCKET, Account, BUCKETS, Bucket, OVERFLOW_BUCKET, Refusal, bucket_of,
};
use aya_ebpf::{Global, bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};

#[btf_map]
static ACCOUNTS: Array<Bucket, { BUCKETS + 1 }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// How much of each ring one cgroup may have outstanding, in bytes. Set by the loader.
#[unsafe(no_mangle)]
static RATIONS: Global<[u64; 2]> = Global::new([0; 2]);

/// An account and its number.
#[derive(Clone, Copy)]
pub(crate) struct Charged {
    account: *mut Account,
    /// Its place in the table, which each record names.
    pub(crate) number: u32,
}

impl Charged {
    /// The account of a cgroup. Claims one if it has none; that of the overflow if it can have
    /// none. `None` never happens, but the verifier cannot know.
    #[inline(always)]
    pub(crate) fn of(cgroup: u64) -> Option<Self> {
        let index = bucket_of(cgroup);
        let bucket = ACCOUNTS.get_ptr_mut(index)?;
        let mut free = ACCOUNTS_PER_BUCKET;
        for place in 0..ACCOUNTS_PER_BUCKET {
            let charged = Self::at(bucket, index, place);
            let owner = charged.owner();
            if owner == cgroup {
                return Some(charged);
            }
            if owner == 0 && free == ACCOUNTS_PER_BUCKET {
                free = place;
            }
        }
        if free < ACCOUNTS_PER_BUCKET {
            let charged = Self::at(bucket, index, free);
            charged.claim(cgroup);
            return Some(charged);
        }
        let index = OVERFLOW_BUCKET as u32;
        Some(Self::at(ACCOUNTS.get_ptr_mut(index)?, index, 0))
    }

    #[inline(always)]
    fn at(bucket: *mut Bucket, index: u32, place: usize) -> Self {
        let accounts = bucket.cast::<Account>();
        Self {
            // SAFETY: `place` is one of the bucket's.
            account: unsafe { accounts.add(place & (ACCOUNTS_PER_BUCKET - 1)) },
            number: index * ACCOUNTS_PER_BUCKET as u32 + place as u32,
        }
    }

    #[inline(always)]
    fn owner(self) -> u64 {
        // SAFETY: the account lives as long as the map. Others write to it, hence volatile.
        unsafe { (&raw const (*self.account).cgroup).read_volatile() }
    }

    #[inline(always)]
    fn claim(self, cgroup: u64) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.account).cgroup).write_volatile(cgroup) };
    }

    /// Whether the ration of this ring is used up.
    #[inline(always)]
    pub(crate) fn exhausted(self, ring: usize) -> bool {
        let ring = ring & 1;
        // SAFETY: as above; `ring` is 0 or 1.
        let produced = unsafe { (&raw const (*self.account).produced[ring]).read_volatile() };
        // SAFETY: as above.
        let consumed = unsafe { (&raw const (*self.account).consumed[ring]).read_volatile() };
        produced.wrapping_sub(consumed) > RATIONS.load()[ring]
    }

    /// Books a record that was reserved.
    #[inline(always)]
    pub(crate) fn charge(self, ring: usize, bytes: u64) {
        // SAFETY: the account lives as long as the map.
        unsafe { add(&raw mut (*self.account).produced[ring & 1], bytes) };
    }

    /// Books something that was refused.
    #[inline(always)]
    pub(crate) fn refuse(self, reason: Refusal) {
        // SAFETY: the account lives as long as the map, and there are fewer reasons than places.
        unsafe { add(&raw mut (*self.account).refused[reason as usize & 7], 1) };
    }
}

/// Adds atomically.
///
/// # Safety
///
/// `counter` must point into a map's value.
#[inline(always)]
unsafe fn add(counter: *mut u64, amount: u64) {
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
