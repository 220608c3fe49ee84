//! What a container's directory holds, and whether it still does.

use std::{io, os::fd::OwnedFd};

use rustix::time::{ClockId, clock_gettime};

use super::{
    beneath::{self, Status},
    generation::{self, Generation},
};

/// The most entries that are looked at. The kubelet keeps five files of each of two lives.
pub(super) const MAX_ENTRIES: usize = 256;

/// A directory's time of change is as coarse as the kernel's tick: only one that is older than
/// this tells that nothing has changed since.
const TICK_NANOSECONDS: i128 = 1_000_000_000;

/// A file that a container's log can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) generation: Generation,
    pub(super) compressed: bool,
    pub(super) status: Status,
}

/// The files of a container in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Listing {
    entries: Vec<Entry>,
    cut: bool,
    /// The directory's time of change for which this listing is known to be right.
    right_for: Option<i128>,
}

impl Listing {
    /// Lists a directory. Of a file that is there twice, while it is being compressed, the plain
    /// one.
    pub(super) fn take(directory: &OwnedFd) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut before = None;
        // A file that is renamed while the directory is read can be missed under both names. When
        // nothing has changed from one reading to the next, nothing was.
        for _ in 0..4 {
            let (mut names, cut) = beneath::list(directory, MAX_ENTRIES)?;
            names.sort_unstable();
            if before.as_ref() == Some(&names) {
                break;
            }
            listing.entries = names
                .iter()
                .filter_map(|name| entry(directory, name))
                .collect();
            listing.cut = cut;
            before = Some(names);
        }
        let order = |entry: &Entry| (entry.generation.clone(), entry.compressed);
        listing.entries.sort_by_cached_key(order);
        listing
            .entries
            .dedup_by(|later, kept| later.generation == kept.generation);
        Ok(listing)
    }

    /// What was found.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// There were more than [`MAX_ENTRIES`].
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the directory holds the same files as when it was listed. Most calls cost one
    /// look at the directory's time of change.
    pub(super) fn is_current(&mut self, directory: &OwnedFd) -> bool {
        let Ok(status) = beneath::status(directory) else {
            return false;
        };
        let modified = status.modified;
        if self.right_for == Some(modified) {
            return true;
        }
        let Ok(present) = Self::take(directory) else {
            return false;
        };
        let key = |entry: &Entry| (entry.name.clone(), entry.status.inode);
        if !present
            .entries
            .iter()
            .map(key)
            .eq(self.entries.iter().map(key))
        {
            return false;
        }
        let clock = clock_gettime(ClockId::Realtime);
        let now = i128::from(clock.tv_sec) * 1_000_000_000 + i128::from(clock.tv_nsec);
        if now - modified > TICK_NANOSECONDS {
            self.right_for = Some(modified);
        }
        true
    }
}

fn entry(directory: &OwnedFd, name: &str) -> Option<Entry> {
    let (generation, compressed) = generation::parse(name)?;
    let status = beneath::status_at(directory, name).ok()?;
    Some(Entry {
        name: name.to_owned(),
        generation,
        compressed,
        status,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, SystemTime},
    };

    use super::{super::beneath, Listing};

    #[test]
    fn notices_every_change_of_names() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir(path.join("d")).unwrap();
        let directory = beneath::open_directory(&beneath::open_root(path).unwrap(), "d").unwrap();
        let log = path.join("d/0.log");
        fs::write(&log, "x").unwrap();
        let mut listing = Listing::take(&directory).unwrap();
        assert!(listing.is_current(&directory));
        fs::write(&log, "longer").unwrap();
        assert!(listing.is_current(&directory));
        // Within the same tick as the listing.
        fs::rename(&log, path.join("d/0.log.20260822-101112")).unwrap();
        assert!(!listing.is_current(&directory));
        // The name comes again, the file does not.
        fs::rename(path.join("d/0.log.20260822-101112"), path.join("kept")).unwrap();
        fs::write(&log, "x").unwrap();
        assert!(!listing.is_current(&directory));

        let mut listing = Listing::take(&directory).unwrap();
        let past = SystemTime::now() - Duration::from_secs(9);
        fs::File::open(path.join("d"))
            .unwrap()
            .set_modified(past)
            .unwrap();
        assert!(listing.is_current(&directory));
        assert!(listing.right_for.is_some());
        fs::remove_file(&log).unwrap();
        assert!(!listing.is_current(&directory));
    }
}
