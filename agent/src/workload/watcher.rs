//! Notices of changed directories, from inotify.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use inotify::{EventMask, Inotify, WatchMask};

/// Bytes of notices that one call takes from the kernel.
const BUFFER_BYTES: usize = 16 * 1024;

/// Calls in one turn; what is left waits for the next.
const READS_A_TURN: usize = 8;

/// Directories under watch, each known by what it is to the watcher's owner.
#[derive(Debug)]
pub(super) struct Watcher<T> {
    inotify: Option<Inotify>,
    watched: HashMap<i32, T>,
}

/// An entry of a watched directory came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T> {
    pub(super) directory: T,
    pub(super) name: OsString,
    pub(super) kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Came,
    Went,
}

/// What one turn of reading yields.
#[derive(Debug)]
pub(super) struct Changes<T> {
    pub(super) changes: Vec<Change<T>>,
    /// The kernel dropped notices: only a rescan tells what is there.
    pub(super) overflowed: bool,
    /// Not everything was read.
    pub(super) more: bool,
}

impl<T: Clone> Watcher<T> {
    /// Without inotify (`max_user_instances` used up) it watches nothing, and says why.
    pub(super) fn new() -> (Self, Option<io::Error>) {
        let (inotify, error) = match Inotify::init() {
            Ok(inotify) => (Some(inotify), None),
            Err(error) => (None, Some(error)),
        };
        let watched = HashMap::new();
        (Self { inotify, watched }, error)
    }

    /// Watches a directory; a symbolic link is not followed. Watching it again changes nothing.
    ///
    /// # Errors
    ///
    /// Those of inotify_add_watch(2). Without inotify nothing is watched, and that is no error.
    pub(super) fn watch(&mut self, path: &Path, directory: T) -> io::Result<()> {
        let Some(inotify) = &self.inotify else {
            return Ok(());
        };
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW
            | WatchMask::EXCL_UNLINK;
        let watch = inotify.watches().add(path, mask)?;
        self.watched
            .insert(watch.get_watch_descriptor_id(), directory);
        Ok(())
    }

    /// Reads the notices that are there, without waiting.
    pub(super) fn read(&mut self) -> Changes<T> {
        let mut read = Changes {
            changes: Vec::new(),
            overflowed: false,
            more: false,
        };
        let Some(inotify) = &mut self.inotify else {
            return read;
        };
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..READS_A_TURN {
            let events = match inotify.read_events(&mut buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return read,
                // Anything else is as good as lost notices.
                Err(_) => {
                    read.overflowed = true;
                    return read;
                }
            };
            for event in events {
                read.overflowed |= event.mask.contains(EventMask::Q_OVERFLOW);
                let watch = event.wd.get_watch_descriptor_id();
                if event.mask.contains(EventMask::IGNORED) {
                    self.watched.remove(&watch);
                    continue;
                }
                let went = EventMask::DELETE | EventMask::MOVED_FROM;
                if let (Some(directory), Some(name)) = (self.watched.get(&watch), event.name) {
                    read.changes.push(Change {
                        directory: directory.clone(),
                        name: name.to_owned(),
                        kind: match event.mask.intersects(went) {
                            true => ChangeKind::Went,
                            false => ChangeKind::Came,
                        },
                    });
                }
            }
        }
        read.more = true;
        read
    }

    /// Readable when there are notices.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{ChangeKind, Watcher};

    #[test]
    fn entries_that_come_and_go_are_told_with_their_directory() {
        let root = tempfile::tempdir().unwrap();
        let (mut watcher, error) = Watcher::new();
        assert!(error.is_none());
        for name in ["one", "two"] {
            fs::create_dir(root.path().join(name)).unwrap();
            watcher.watch(&root.path().join(name), name).unwrap();
        }
        fs::create_dir(root.path().join("two/x")).unwrap();
        fs::rename(root.path().join("two/x"), root.path().join("one/y")).unwrap();
        fs::remove_dir(root.path().join("one/y")).unwrap();
        let read = watcher.read();
        let told: Vec<_> = read
            .changes
            .iter()
            .map(|change| (change.directory, change.name.to_str().unwrap(), change.kind))
            .collect();
        assert_eq!(
            told,
            [
                ("two", "x", ChangeKind::Came),
                ("two", "x", ChangeKind::Went),
                ("one", "y", ChangeKind::Came),
                ("one", "y", ChangeKind::Went),
            ]
        );
        assert!(!read.overflowed && !read.more);

        fs::remove_dir(root.path().join("two")).unwrap();
        watcher.read();
        assert_eq!(watcher.watched.len(), 1);
        std::os::unix::fs::symlink("one", root.path().join("link")).unwrap();
        assert!(watcher.watch(&root.path().join("link"), "link").is_err());
    }
}
