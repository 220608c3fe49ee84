//! A process.

/// The process that called `connect` or `bind`; all zeroes if none is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The thread group, which user space calls the process id; 0: nobody is known.
    pub thread_group: u32,
    /// Its user.
    pub user: u32,
    /// The calling thread's name, ended by a zero byte.
    pub command: [u8; 16],
}

const _: () = assert!(size_of::<Process>() == 24 && align_of::<Process>() == 4);
