//! Memory that is shared with the kernel.

use std::{io, os::fd::AsFd, ptr::NonNull, sync::atomic::AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Pages of a map, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is reached through atomics and through slices that borrow the mapping; it
// belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes from `offset` on.
    pub(super) fn new(
        map: impl AsFd,
        offset: u64,
        length: usize,
        writable: bool,
    ) -> io::Result<Self> {
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                map,
                offset,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// The number at `offset`, which the kernel writes to as well; `None` outside the mapping or
    /// off its alignment.
    pub(super) fn number(&self, offset: usize) -> Option<&AtomicU64> {
        let end = offset.checked_add(size_of::<AtomicU64>())?;
        if end > self.length || !offset.is_multiple_of(align_of::<AtomicU64>()) {
            return None;
        }
        // SAFETY: within the mapping.
        let number = unsafe { self.start.add(offset) }.cast::<AtomicU64>();
        // SAFETY: mapped as long as the borrow of `self`, aligned (pages are), and shared with
        // the kernel only as an atomic.
        Some(unsafe { number.as_ref() })
    }

    /// The bytes from `offset` on; `None` if they are not all in the mapping.
    ///
    /// # Safety
    /// The kernel must not write to them as long as the slice lives.
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: within the mapping.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: mapped as long as the borrow of `self`; unchanged, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows it any more. An error would leave it
        // mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
