//! The table of UDP flows.

use agent_common::{
    account::Refusal,
    endpoint::Endpoint,
    flow::{FLOW_BUCKETS, FLOWS_PER_BUCKET, Flow, FlowBucket},
};
use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST},
    btf_maps::{Array, HashMap, LruHashMap},
    macros::btf_map,
};

use crate::{
    account::{self, Charged},
    storage::boot_time,
};

#[btf_map]
static FLOWS: Array<FlowBucket, FLOW_BUCKETS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Places that are being filled: an entry that must not have been there is a claim.
#[btf_map]
static FLOW_CLAIMS: HashMap<u32, u32, 1024> = HashMap::new();

/// Flows that were refused lately, by hash: each is counted once, not with each of its datagrams.
#[btf_map]
static FLOWS_REFUSED: LruHashMap<u64, u32, 16384> = LruHashMap::new();

/// Set by the loader: nobody can choose addresses that fall into one bucket.
#[unsafe(no_mangle)]
static FLOW_SEED: Global<u64> = Global::new(0);

/// Which way a datagram goes, as the socket sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Sent,
    Received,
}

/// A flow by what it is told apart by.
pub(crate) struct Key {
    cookie: u64,
    remote: Endpoint,
    hash: u64,
}

/// A place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) number: u32,
    flow: *mut Flow,
}

impl Key {
    #[inline(always)]
    pub(crate) fn new(cookie: u64, remote: Endpoint) -> Self {
        let [a, b, c, d] = remote.address;
        let mut hash = FLOW_SEED.load();
        for word in [
            cookie,
            u64::from(a) << 32 | u64::from(b),
            u64::from(c) << 32 | u64::from(d),
            u64::from(remote.port),
        ] {
            // The upper bits of the product depend on all of the word; they come down.
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        Self {
            cookie,
            remote,
            hash,
        }
    }

    #[inline(always)]
    const fn bucket(&self) -> u32 {
        self.hash as u32 & (FLOW_BUCKETS as u32 - 1)
    }

    /// Where the flow is counted, if it is.
    #[inline(always)]
    pub(crate) fn find(&self) -> Option<Place> {
        let bucket = FLOWS.get_ptr_mut(self.bucket())?.cast::<Flow>();
        for at in 0..FLOWS_PER_BUCKET {
            // SAFETY: one of the bucket's.
            let flow = unsafe { bucket.add(at) };
            // SAFETY: the flow lives as long as the map. Others write to it, hence volatile.
            if unsafe { (&raw const (*flow).cookie).read_volatile() } != self.cookie {
                continue;
            }
            // SAFETY: as above.
            let (state, remote) = unsafe {
                (
                    (&raw const (*flow).state).read_volatile(),
                    (&raw const (*flow).remote).read(),
                )
            };
            if state == Flow::OPEN && is_same(&remote, &self.remote) {
                return Some(self.place(bucket, at));
            }
        }
        None
    }

    /// A place for a flow that has none yet. It is counted there from now on.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Place> {
        let bucket = FLOWS.get_ptr_mut(self.bucket())?.cast::<Flow>();
        for at in 0..FLOWS_PER_BUCKET {
            let place = self.place(bucket, at);
            if !place.is_free() || FLOW_CLAIMS.insert(&place.number, &1, NEW).is_err() {
                continue;
            }
            // Whoever had claimed it a moment ago may have filled it since it was looked at.
            let is_ours = place.is_free();
            if is_ours {
                place.fill(self);
            }
            // It is there: nobody else removes it.
            let _ = FLOW_CLAIMS.remove(&place.number);
            if is_ours {
                return Some(place);
            }
        }
        None
    }

    /// Books that the flow cannot be counted.
    #[inline(always)]
    pub(crate) fn refuse(&self, charged: Charged) {
        if FLOWS_REFUSED.insert(&self.hash, &1, NEW).is_ok() {
            charged.refuse(Refusal::Flow);
        }
    }

    /// The place in the bucket, which the verifier must not know: it would follow all that comes
    /// once for each. Added, since of an OR it knows the bits that were set before.
    #[inline(always)]
    fn place(&self, bucket: *mut Flow, at: usize) -> Place {
        // SAFETY: one of the bucket's.
        let zero = unsafe { (&raw const (*bucket.add(at)).reserved).read_volatile() };
        let at = within_bucket(at.wrapping_add(zero as usize));
        Place {
            number: self.bucket() * FLOWS_PER_BUCKET as u32 + at as u32,
            // SAFETY: one of the bucket's.
            flow: unsafe { bucket.add(at) },
        }
    }
}

const NEW: u64 = BPF_NOEXIST as u64;

impl Place {
    /// Counts a datagram.
    #[inline(always)]
    pub(crate) fn count(self, way: Way, bytes: u32) {
        // SAFETY: the flow lives as long as the map. Others write to it, hence volatile.
        unsafe { (&raw mut (*self.flow).last).write_volatile(boot_time()) };
        // SAFETY: as above.
        let counter = unsafe {
            match way {
                Way::Sent => &raw mut (*self.flow).bytes_sent,
                Way::Received => &raw mut (*self.flow).bytes_received,
            }
        };
        // SAFETY: it points into the map's value.
        unsafe { account::add(counter, u64::from(bytes)) };
    }

    /// Gives the place up.
    #[inline(always)]
    pub(crate) fn give_back(self) {
        self.set_state(Flow::FREE);
    }

    #[inline(always)]
    fn is_free(self) -> bool {
        // SAFETY: as in `count`.
        unsafe { (&raw const (*self.flow).state).read_volatile() == Flow::FREE }
    }

    #[inline(always)]
    fn fill(self, key: &Key) {
        // SAFETY: as in `count`, and claimed.
        unsafe {
            (*self.flow).cookie = key.cookie;
            (*self.flow).remote = key.remote;
            (*self.flow).last = boot_time();
            (*self.flow).bytes_sent = 0;
            (*self.flow).bytes_received = 0;
        }
        self.set_state(Flow::OPEN);
    }

    #[inline(always)]
    fn set_state(self, state: u64) {
        // SAFETY: as in `count`.
        unsafe { (&raw mut (*self.flow).state).write_volatile(state) };
    }
}

/// What is a place in a bucket already, in the way in which every verifier sees that it is: by an
/// instruction that the compiler cannot move or spare.
#[inline(always)]
fn within_bucket(at: usize) -> usize {
    const LAST: usize = FLOWS_PER_BUCKET - 1;
    #[cfg(target_arch = "bpf")]
    {
        let mut at = at;
        // SAFETY: touches nothing else.
        unsafe {
            core::arch::asm!(
                "{at} &= {last}",
                at = inout(reg) at,
                last = const LAST,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        at
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        at & LAST
    }
}

#[inline(always)]
const fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let [a, b, c, d] = one.address;
    let [e, f, g, h] = other.address;
    (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | (one.port ^ other.port) as u32 == 0
}
