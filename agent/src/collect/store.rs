//! The collector's directory: one room for each sender.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::{
    allow::Sender,
    line::Batch,
    recover::Recovered,
    segment::{Appended, Segments, StoreError, make_directory},
};
use crate::timestamp::Timestamp;

/// The rooms of all senders, and the lock that keeps a second collector out.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    rotate_bytes: u64,
    lock: Arc<File>,
    rooms: Mutex<HashMap<String, Arc<Room>>>,
}

/// One sender's room; its connections take turns in it.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    rotate_bytes: u64,
    /// None: to be opened, or to be opened anew after an error.
    segments: Mutex<Option<Segments>>,
    /// Held by whoever may still write.
    _lock: Arc<File>,
}

impl Store {
    pub(super) fn open(directory: &Path, rotate_bytes: u64) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Store(StoreError::new("opened", directory, source));
        make_directory(directory).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(directory.join(LOCK))
            .map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| OpenError::InUse {
            directory: directory.to_owned(),
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            rotate_bytes,
            lock: Arc::new(lock),
            rooms: Mutex::new(HashMap::new()),
        })
    }

    pub(super) fn room(&self, sender: &Sender) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= MOST_ROOMS {
            rooms.retain(|_, room| Arc::strong_count(room) > 1);
        }
        let name = sender.directory();
        let directory = self.directory.join(&name);
        let room = rooms.entry(name).or_insert_with(|| {
            Arc::new(Room {
                directory,
                rotate_bytes: self.rotate_bytes,
                segments: Mutex::new(None),
                _lock: Arc::clone(&self.lock),
            })
        });
        Arc::clone(room)
    }
}

impl Room {
    /// Stores what is new in a batch; all of it is on the disk when this returns. Blocks.
    pub(super) fn append(
        &self,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<(Appended, Recovered), StoreError> {
        let mut slot = self.segments.lock().unwrap_or_else(|poisoned| {
            // Whoever panicked may have left half a change; the disk knows.
            let mut slot = poisoned.into_inner();
            *slot = None;
            slot
        });
        let (mut segments, recovered) = match slot.take() {
            Some(segments) => (segments, Recovered::default()),
            None => Segments::open(&self.directory, self.rotate_bytes)?,
        };
        let appended = segments.append(batch, now)?;
        *slot = Some(segments);
        self.segments.clear_poison();
        Ok((appended, recovered))
    }
}

/// Why the collector's directory cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another collector writes there.
    #[error("{} is in use by another collector; each needs a directory of its own", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
}

const LOCK: &str = ".lock";
/// Open files, one a room; beyond it rooms without a connection are closed.
const MOST_ROOMS: usize = 2048;
