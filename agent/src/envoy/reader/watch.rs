//! Changes in directories, told by the kernel.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use inotify::{Inotify, WatchMask};

/// Tells that something changed in one of the watched directories. What it was is found by
/// scanning, so a lost event (the kernel's queue is bounded) costs nothing but time.
pub(super) struct Watch {
    inotify: Inotify,
    buffer: Vec<u8>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            buffer: vec![0; 16 << 10],
        })
    }

    /// Watches a directory; the same one again changes nothing.
    pub(super) fn add(&self, directory: &OwnedFd) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        // By its descriptor, so that it is the directory that was opened, whatever became of
        // its path.
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        self.inotify.watches().add(path, mask).map(|_| ())
    }

    /// Whether anything has changed since the last call.
    pub(super) fn changed(&mut self) -> bool {
        let mut changed = false;
        // What is left after so many reads is found by the next call.
        for _ in 0..64 {
            let events = self.inotify.read_events(&mut self.buffer);
            if events.map_or(0, Iterator::count) == 0 {
                break;
            }
            changed = true;
        }
        changed
    }
}
