//! Which files of a container's directory are opened, and where in them reading begins.

use std::{io, os::fd::OwnedFd};

use super::{ContainerLog, MAX_ENTRIES, Standing, Start};
use crate::{
    envoy::reader::{
        LogEvent, beneath,
        error::LogError,
        generation::{self, Generation, Rank},
        log_file::{Entry, LogFile},
        positions::{Position, Remainder},
        raw_lines::RawLines,
    },
    timestamp::Timestamp,
};

impl ContainerLog {
    /// The directory is there; looks for files in it.
    pub(in crate::envoy::reader) fn scan(
        &mut self,
        directory: OwnedFd,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        let directory = self.directory.insert(directory);
        let entries = match entries(directory, &self.path, sink) {
            Ok(entries) => entries,
            Err(source) => {
                sink(LogEvent::Problem(LogError::Directory {
                    path: self.path.clone(),
                    source,
                }));
                return;
            }
        };
        self.state = Standing::Behind;
        let generations = entries.iter().map(|entry| entry.generation.clone());
        self.rotated = generations
            .filter(|generation| generation.rank != Rank::Live)
            .collect();
        match self.start.clone() {
            Some(Start::End) => self.begin_at_end(&entries, now, sink),
            Some(Start::Beginning) => self.open_all(entries.iter(), now, sink),
            Some(Start::At(position)) => self.resume(&entries, position, now, sink),
            None => self.follow(&entries, now, sink),
        }
        if self.state == Standing::Stale {
            // Something was renamed meanwhile: once more, with the next poll.
            return;
        }
        self.start = None;
        let newest = self.rotated.last().cloned();
        self.newest_rotated = self.newest_rotated.take().max(newest);
    }

    /// Begins with what is written from now on.
    fn begin_at_end(&mut self, entries: &[Entry], now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        let Some(entry) = entries.iter().rfind(|entry| !entry.compressed) else {
            return;
        };
        if !self.open(entry, now, sink) {
            return;
        }
        let Some(file) = self.files.back_mut() else {
            return;
        };
        match file.tail_start() {
            Ok(start) => {
                file.lines = RawLines::starting_at(start.offset, start.within_line);
                self.intake.skip_open_lines(start.open);
            }
            Err(source) => {
                let path = file.path.clone();
                sink(LogEvent::Problem(LogError::File {
                    path,
                    offset: 0,
                    source,
                }));
            }
        }
    }

    /// Opens files in order, up to one that cannot be had at the moment.
    fn open_all<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        self.start = None;
        for entry in entries {
            self.open(entry, now, sink);
            if self.state == Standing::Stale {
                return;
            }
        }
    }

    /// Begins where an earlier run stopped, in whatever has become of that file.
    fn resume(
        &mut self,
        entries: &[Entry],
        position: Position,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        let streams = [position.stdout, position.stderr];
        let offset = streams[0].offset.min(streams[1].offset);
        // A file that was empty has nothing to be known by, and nothing of it was read.
        let was_empty = position.head_length == 0;
        let found = self.reopen(entries, &position, offset, now, sink);
        if self.state == Standing::Stale && found.is_none() {
            return;
        }
        if found.is_some() || was_empty {
            self.intake.resume(streams);
            let mut remainders = streams.iter().map(|stream| stream.remainder);
            if remainders.any(|remainder| remainder == Remainder::Untold) {
                self.intake.hole(&position.path, offset, now, sink);
            }
        } else {
            let path = position.path.clone();
            self.intake.hole(&path, offset, now, sink);
            sink(LogEvent::Problem(LogError::PositionLost { path, offset }));
        }
        let unread = |entry: &&Entry| match &found {
            Some(found) => entry.generation > *found,
            None => {
                let itself = was_empty && entry.generation == position.generation;
                let after = position.after.as_ref();
                let later = after.is_none_or(|after| entry.generation > *after);
                itself || later && entry.generation.restart >= position.generation.restart
            }
        };
        self.open_all(entries.iter().filter(unread), now, sink);
    }

    /// Opens the file of a stored position, under its new name or compressed, at that position.
    fn reopen(
        &mut self,
        entries: &[Entry],
        position: &Position,
        offset: u64,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) -> Option<Generation> {
        let head = (position.head_length, position.head_hash);
        if head.0 == 0 {
            return None;
        }
        // An inode number can come again, so the beginning must be the same in any case.
        let inode = (position.device, position.inode);
        let by_inode = entries.iter().filter(|entry| status(entry) == inode);
        let others = entries.iter().filter(|entry| status(entry) != inode);
        for entry in by_inode.chain(others) {
            if !self.open(entry, now, sink) {
                continue;
            }
            let Some(mut file) = self.files.pop_back() else {
                continue;
            };
            let shrank = file
                .size()
                .is_ok_and(|size| size.is_some_and(|size| size < offset));
            if file.begins_as(head) && !shrank {
                file.lines = RawLines::starting_at(offset, position.within_line);
                self.files.push_back(file);
                return Some(entry.generation.clone());
            }
        }
        self.newest = None;
        None
    }

    /// Opens what appeared since the last scan.
    fn follow(&mut self, entries: &[Entry], now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        for file in &mut self.files {
            let same = entries.iter().find(|entry| is_open_as(entry, file));
            if let Some(entry) = same {
                file.generation = entry.generation.clone();
                if entry.generation.rank != Rank::Live {
                    file.after = Some(entry.generation.clone());
                }
            }
        }
        let newest = self.newest;
        let later: Vec<&Entry> = entries
            .iter()
            .filter(|entry| !self.files.iter().any(|file| is_open_as(entry, file)))
            .filter(|entry| match (&entry.generation.rank, newest) {
                (_, Some((restart, _))) if entry.generation.restart < restart => false,
                (Rank::Live, Some((restart, inode))) => {
                    entry.generation.restart > restart || entry.status.inode != inode
                }
                (Rank::Live, None) => true,
                (Rank::Rotated(_), _) => self
                    .newest_rotated
                    .as_ref()
                    .is_none_or(|newest| entry.generation > *newest),
            })
            .collect();
        self.open_all(later.into_iter(), now, sink);
    }

    /// Opens a file behind all others. False if that failed, or if it is one of them compressed.
    fn open(&mut self, entry: &Entry, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) -> bool {
        let Some(directory) = &self.directory else {
            return false;
        };
        let path = format!("{}/{}", self.path, entry.name);
        let problem = match LogFile::open(directory, entry, path.clone(), now) {
            Ok(Some(file)) if (file.device, file.inode) != status(entry) => {
                self.state = Standing::Stale;
                return false;
            }
            Ok(Some(mut file)) => {
                if entry.compressed && self.is_known(&file) {
                    return false;
                }
                self.newest = Some((entry.generation.restart, file.inode));
                // A name of a rotated file that is there already is older than this file.
                let mut before = self.rotated.iter();
                file.after = before.rfind(|it| **it <= entry.generation).cloned();
                self.files.push_back(file);
                return true;
            }
            Ok(None) => LogError::NotRegular { path },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Renamed since it was listed.
                self.state = Standing::Stale;
                return false;
            }
            Err(source) => LogError::File {
                path,
                offset: 0,
                source,
            },
        };
        if !self.troubled.contains(&entry.name) {
            self.troubled.push(entry.name.clone());
            self.troubled.truncate(MAX_ENTRIES);
            sink(LogEvent::Problem(problem));
        }
        false
    }

    /// Whether a compressed file is one that is open, or the last that was.
    fn is_known(&mut self, file: &LogFile) -> bool {
        let heads = self.files.iter_mut().map(|open| {
            // One that waits may have grown since it was opened; a failure shows when it is read.
            let _ = open.refresh_head();
            open.head()
        });
        heads
            .chain(self.finished_head)
            .any(|head| head.0 > 0 && file.begins_as(head))
    }
}

fn status(entry: &Entry) -> (u64, u64) {
    (entry.status.device, entry.status.inode)
}

fn is_open_as(entry: &Entry, file: &LogFile) -> bool {
    status(entry) == (file.device, file.inode)
}

/// The files of a container in the order in which they were written. Of a file that is there
/// twice, while it is being compressed, the plain one.
fn entries(
    directory: &OwnedFd,
    path: &str,
    sink: &mut dyn FnMut(LogEvent),
) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut before = None;
    // A file that is renamed while the directory is read can be missed under both names. When
    // nothing has changed from one reading to the next, nothing was.
    for _ in 0..4 {
        let (mut names, more) = beneath::list(directory, MAX_ENTRIES)?;
        if more {
            let path = path.to_owned();
            sink(LogEvent::Problem(LogError::TooMany {
                path,
                limit: MAX_ENTRIES,
            }));
        }
        names.sort_unstable();
        if before.as_ref() == Some(&names) {
            break;
        }
        entries = names
            .iter()
            .filter_map(|name| entry(directory, name))
            .collect();
        before = Some(names);
    }
    entries
        .sort_by(|a: &Entry, b| (&a.generation, a.compressed).cmp(&(&b.generation, b.compressed)));
    entries.dedup_by(|later, kept| later.generation == kept.generation);
    Ok(entries)
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
