//! Memory to look at a block in, where a ring has no room for it.
//!
//! A program in a process's context can be interrupted by one in a softirq of the same CPU, or be
//! preempted by another process's: so a CPU has several pieces, and each is claimed. The claim is
//! an entry in a hash map that must not have been there.

use agent_common::segment::{SCRATCH_PIECES, SegmentHeader};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, HashMap},
    helpers::generated::bpf_get_smp_processor_id,
    macros::btf_map,
};

/// The size of a piece, in words.
pub(crate) const WORDS: usize = SegmentHeader::CLASS_HUGE / 8;

/// As many for each CPU as `SCRATCH_PIECES`: the size is set by the loader.
#[btf_map]
static SCRATCH: Array<[u64; WORDS], 4> = Array::new();
#[btf_map]
static CLAIMS: HashMap<u32, u32, 4> = HashMap::new();

/// A piece that is claimed. It has to be given back.
pub(crate) struct Scratch {
    pub(crate) words: *mut [u64; WORDS],
}

impl Scratch {
    /// Claims a piece, if one is free, and puts its number into `place`: memory of a map that this
    /// run has for itself. On the stack, the verifier would tell the pieces apart, and follow all
    /// that comes once for each.
    #[inline(always)]
    pub(crate) fn claim(place: &mut u32) -> Option<Self> {
        // SAFETY: takes nothing.
        let first = unsafe { bpf_get_smp_processor_id() } * SCRATCH_PIECES;
        let mut is_free = |number: u32| {
            *place = first + number;
            CLAIMS.insert(&*place, &1, u64::from(BPF_NOEXIST)).is_ok()
        };
        // No loop: verifiers before 6.3 do not see that one from `first` on would end.
        const { assert!(SCRATCH_PIECES == 4) };
        if !(is_free(0) || is_free(1) || is_free(2) || is_free(3)) {
            return None;
        }
        // SAFETY: it was just written.
        let piece = unsafe { (&raw const *place).read_volatile() };
        let words = SCRATCH.get_ptr_mut(piece)?;
        Some(Self { words })
    }

    /// Gives the piece at `place` back.
    #[inline(always)]
    pub(crate) fn give_back(self, place: &u32) {
        // It is there: nobody else removes it.
        let _ = CLAIMS.remove(place);
    }
}
