//! Fields of a program's context.
//!
//! The verifier takes a read of the context only at a constant offset. The compiler likes to
//! merge the reads of two branches into one at a computed offset ("dereference of modified ctx
//! ptr"), and cannot do that to an instruction that is written out.

/// The word at `OFFSET` of a context, or of a socket, which has the same rule.
#[inline(always)]
pub(crate) fn word<const OFFSET: usize, C>(context: *const C) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let word: u64;
        // SAFETY: the verifier checks that there is such a field.
        unsafe {
            core::arch::asm!(
                "{word} = *(u32 *)({context} + {offset})",
                word = lateout(reg) word,
                context = in(reg) context,
                offset = const OFFSET,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        word as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: never run.
    unsafe {
        context.byte_add(OFFSET).cast::<u32>().read()
    }
}

/// The long word at `OFFSET` of a context.
#[inline(always)]
pub(crate) fn long<const OFFSET: usize, C>(context: *const C) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let long: u64;
        // SAFETY: the verifier checks that there is such a field.
        unsafe {
            core::arch::asm!(
                "{long} = *(u64 *)({context} + {offset})",
                long = lateout(reg) long,
                context = in(reg) context,
                offset = const OFFSET,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        long
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: never run.
    unsafe {
        context.byte_add(OFFSET).cast::<u64>().read()
    }
}

/// The four words of an address.
macro_rules! address {
    ($context:expr, $type:ty, $field:ident) => {
        [
            $crate::context::word::<{ ::core::mem::offset_of!($type, $field) }, _>($context),
            $crate::context::word::<{ ::core::mem::offset_of!($type, $field) + 4 }, _>($context),
            $crate::context::word::<{ ::core::mem::offset_of!($type, $field) + 8 }, _>($context),
            $crate::context::word::<{ ::core::mem::offset_of!($type, $field) + 12 }, _>($context),
        ]
    };
}

/// One word.
macro_rules! field {
    ($context:expr, $type:ty, $field:ident) => {
        $crate::context::word::<{ ::core::mem::offset_of!($type, $field) }, _>($context)
    };
}

pub(crate) use {address, field};
