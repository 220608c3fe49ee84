//! A sender's records on disk: files of lines, one after the other.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use super::{
    highest::Highest,
    line::Batch,
    recover::{self, Recovered},
};
use crate::timestamp::Timestamp;

/// Appends to the segments of one sender's directory.
///
/// `<time>.ndjson` hold whole lines, in the order of their names; only the last may grow, and only
/// it can end within a line, after a crash. What [`Segments::append`] has reported is on the disk:
/// a record is never reported before `fdatasync`.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    rotate_bytes: u64,
    highest: Highest,
    pub(super) last: Option<Segment>,
}

/// The segment that grows.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: File,
    /// Whole lines that are on the disk.
    pub(super) length: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Records that were stored before.
    pub(super) duplicates: u64,
}

impl Segments {
    /// Opens a sender's directory, makes it if need be, and recovers what a crash left there.
    pub(super) fn open(
        directory: &Path,
        rotate_bytes: u64,
    ) -> Result<(Self, Recovered), StoreError> {
        make_directory(directory).map_err(|source| StoreError::new("made", directory, source))?;
        let (highest, last, recovered) = recover::recover(directory)?;
        let segments = Self {
            directory: directory.to_owned(),
            rotate_bytes,
            highest,
            last,
        };
        Ok((segments, recovered))
    }

    /// Stores the records that are new. All are on the disk when it returns.
    ///
    /// # Errors
    /// After one nothing more is known of the directory's state: open it anew.
    pub(super) fn append(&mut self, batch: &Batch, now: Timestamp) -> Result<Appended, StoreError> {
        let mut appended = Appended::default();
        let mut pending = Vec::new();
        for (start, sequence, line) in batch.records() {
            if self.highest.contains(start, sequence) {
                appended.duplicates += 1;
                continue;
            }
            let length = self.last.as_ref().map_or(0, |segment| segment.length);
            let filled = length + pending.len() as u64;
            if self.last.is_none() {
                self.begin(now)?;
            } else if filled > 0 && filled + line.len() as u64 > self.rotate_bytes {
                // The snapshot of the next segment must not know what is not on the disk.
                self.write(&mut pending)?;
                self.begin(now)?;
            }
            pending.extend_from_slice(line);
            self.highest.raise(start, sequence);
            appended.records += 1;
            appended.bytes += line.len() as u64;
        }
        self.write(&mut pending)?;
        Ok(appended)
    }

    fn write(&mut self, pending: &mut Vec<u8>) -> Result<(), StoreError> {
        let Some(segment) = &mut self.last else {
            return Ok(());
        };
        if pending.is_empty() {
            return Ok(());
        }
        let written = segment
            .file
            .write_all(pending)
            .and_then(|()| segment.file.sync_data());
        if let Err(source) = written {
            // Readers should not find half a line for longer than they must. If this fails too, the
            // next opening does it.
            let _ = segment.file.set_len(segment.length);
            let path = self.directory.join(&segment.name);
            return Err(StoreError::new("written", &path, source));
        }
        segment.length += pending.len() as u64;
        pending.clear();
        Ok(())
    }

    /// Begins the next segment.
    fn begin(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let name = self.next_name(now);
        let path = self.directory.join(&name);
        let segment = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .and_then(|file| {
                sync_directory(&self.directory)?;
                Ok(Segment {
                    name: name.clone(),
                    file,
                    length: 0,
                })
            })
            .map_err(|source| StoreError::new("begun", &path, source))?;
        recover::write_snapshot(&self.directory, &self.highest.snapshot(&name))?;
        self.last = Some(segment);
        Ok(())
    }

    /// The time, or just after the last name if the clock was set back: names sort as they follow.
    fn next_name(&self, now: Timestamp) -> String {
        let name = segment_name(now);
        let Some(last) = &self.last else {
            return name;
        };
        if name > last.name {
            return name;
        }
        let after = segment_time(&last.name).map(|time| time + Duration::from_micros(1));
        segment_name(after.unwrap_or(now))
    }
}

/// Why records cannot be stored.
#[derive(Debug, Error)]
#[error("{} cannot be {verb}: {source}; check the disk's space and the directory's permissions", path.display())]
pub struct StoreError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StoreError {
    pub(super) fn new(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

/// The end of a segment's name.
pub(super) const SEGMENT_END: &str = ".ndjson";

/// Makes a name durable, or its end.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory, and its name durable.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    if fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

fn segment_name(time: Timestamp) -> String {
    // Without colons: they mean something to tar, scp and others.
    let time = time.to_string().replace([':', '-'], "");
    format!("{time}{SEGMENT_END}")
}

/// The inverse of [`segment_name`].
fn segment_time(name: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = name.strip_suffix(SEGMENT_END)?.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}
