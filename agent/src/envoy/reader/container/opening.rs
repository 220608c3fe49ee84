//! Which files of a container's directory are opened, and where in them reading begins.

use std::{io, os::fd::OwnedFd};

use super::{ContainerLog, Life, Standing, Start};
use crate::{
    envoy::reader::{
        LogEvent,
        error::LogError,
        generation::{Generation, Rank},
        listing::{Entry, Listing, MAX_ENTRIES},
        log_file::LogFile,
        positions::{Position, Remainder},
    },
    timestamp::Timestamp,
};

/// What became of opening a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// It is open, behind all others that are not later.
    Done,
    /// It is one of those, compressed.
    Known,
    /// It is no regular file.
    NotRegular,
    /// It has another name since it was listed, or its name is another file's.
    Renamed,
    /// It cannot be opened or read.
    Failed,
}

impl ContainerLog {
    /// The directory is there; looks for files in it.
    pub(in crate::envoy::reader) fn scan(
        &mut self,
        directory: OwnedFd,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        let directory = self.directory.insert(directory);
        match Listing::take(directory) {
            Ok(listing) => self.listing = listing,
            Err(source) => {
                let path = self.path.clone();
                sink(LogEvent::Problem(LogError::Directory { path, source }));
                return;
            }
        }
        if self.listing.is_cut() {
            let (path, limit) = (self.path.clone(), MAX_ENTRIES);
            self.tell_once("", LogError::TooMany { path, limit }, sink);
        }
        let entries = self.listing.entries().to_vec();
        self.state = Standing::Behind;
        self.complete = true;
        self.refused_bytes = 0;
        let generations = entries.iter().map(|entry| entry.generation.clone());
        self.rotated = generations
            .filter(|generation| generation.rank != Rank::Live)
            .collect();
        match self.start.clone() {
            Some(Start::End) => self.begin_at_end(&entries, now, sink),
            Some(Start::Beginning) => self.open_all(entries.iter(), now, sink),
            Some(Start::At(position)) => self.resume(&entries, *position, now, sink),
            None => self.follow(&entries, now, sink),
        }
        if self.state == Standing::Stale {
            self.complete = false;
            // Something was renamed meanwhile: once more, with the next poll.
            return;
        }
        self.start = None;
        let newest = self.rotated.last().cloned();
        self.newest_rotated = self.newest_rotated.take().max(newest);
    }

    /// Begins with what is written from now on.
    fn begin_at_end(&mut self, entries: &[Entry], now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        let mut plain = entries
            .iter()
            .filter(|it| !it.compressed && it.status.regular);
        let Some(entry) = plain.next_back() else {
            return;
        };
        if self.open(entry, now, sink) != Opening::Done {
            return;
        }
        let Some(file) = self.files.back_mut() else {
            return;
        };
        match file.tail_start() {
            Ok(start) => {
                file.begin_at(start.offset, start.within_line);
                self.intake.skip_open_lines(start.open);
            }
            Err(source) => {
                let path = file.path.to_string();
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
            match self.open(entry, now, sink) {
                // It is looked for again under its new name.
                Opening::Renamed => return,
                // One that the runtime writes to is tried again; a rotated one is not.
                Opening::Failed if entry.generation.rank != Rank::Live => {
                    let path = format!("{}/{}", self.path, entry.name).into();
                    self.intake.hole(&path, 0, now, sink);
                }
                Opening::Failed | Opening::Done | Opening::Known | Opening::NotRegular => {}
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
            self.intake.resume(streams, position.unframed);
            let mut remainders = streams.iter().map(|stream| stream.remainder);
            if remainders.any(|remainder| remainder == Remainder::Untold) {
                self.intake
                    .hole(&position.path.as_str().into(), offset, now, sink);
            }
        } else {
            let path = position.path.clone();
            self.intake.hole(&path.as_str().into(), offset, now, sink);
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
            self.newest = None;
            if self.open(entry, now, sink) != Opening::Done {
                continue;
            }
            let Some(mut file) = self.files.pop_back() else {
                continue;
            };
            let shrank = file
                .size()
                .is_ok_and(|size| size.is_some_and(|size| size < offset));
            if !file.begins_as(head) {
                continue;
            }
            if shrank {
                if status(entry) == inode {
                    self.tell_rewritten(now, sink);
                }
                continue;
            }
            file.begin_at(offset, position.within_line);
            // What cannot be read now is not proven, and read again when it can be.
            let proof = position.proof.map(|proof| file.go_on(proof));
            if matches!(proof, Some(Ok(false))) {
                let path = file.path.to_string();
                let offset = 0;
                sink(LogEvent::Problem(LogError::Changed { path, offset }));
                self.tell_rewritten(now, sink);
            }
            self.files.push_back(file);
            return Some(entry.generation.clone());
        }
        self.newest = None;
        None
    }

    /// Opens what appeared since the last scan.
    fn follow(&mut self, entries: &[Entry], now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        for file in &mut self.files {
            let same = entries.iter().find(|entry| is_open_as(entry, file));
            file.listed = same.is_some();
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
                (_, Some(life)) if entry.generation.restart < life.restart => false,
                (Rank::Live, Some(life)) => {
                    entry.generation.restart > life.restart || life.live != Some(entry.status.inode)
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

    /// Opens a file behind all others that are not later.
    fn open(&mut self, entry: &Entry, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) -> Opening {
        let Some(directory) = &self.directory else {
            return Opening::Failed;
        };
        let path = format!("{}/{}", self.path, entry.name);
        match LogFile::open(directory, entry, path.as_str().into(), self.key, now) {
            Ok(Some(file)) if (file.device, file.inode) != status(entry) => {
                self.state = Standing::Stale;
                Opening::Renamed
            }
            Ok(Some(file)) if entry.compressed && self.is_known(&file) => Opening::Known,
            Ok(Some(mut file)) => {
                let restart = entry.generation.restart;
                let live = (entry.generation.rank == Rank::Live).then_some(file.inode);
                if live.is_some() || self.newest.is_none_or(|life| life.restart < restart) {
                    self.newest = Some(Life { restart, live });
                }
                // A name of a rotated file that is there already is older than this file.
                let mut before = self.rotated.iter();
                file.after = before.rfind(|it| **it <= entry.generation).cloned();
                // What bears the name of an earlier file and was not there is read first: it ends
                // no file that the runtime still writes to.
                let later = |open: &LogFile| open.listed && open.generation > file.generation;
                let at = self.files.iter().position(later);
                self.files.insert(at.unwrap_or(self.files.len()), file);
                Opening::Done
            }
            // No log, and nothing that could become one without being listed anew.
            Ok(None) => {
                self.tell_once(&entry.name, LogError::NotRegular { path }, sink);
                Opening::NotRegular
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.state = Standing::Stale;
                Opening::Renamed
            }
            Err(source) => {
                self.complete = false;
                self.refused_bytes += entry.status.size;
                let offset = 0;
                self.tell_once(
                    &entry.name,
                    LogError::File {
                        path,
                        offset,
                        source,
                    },
                    sink,
                );
                Opening::Failed
            }
        }
    }

    /// Tells of a trouble with a name, once as long as the reader runs.
    pub(super) fn tell_once(
        &mut self,
        name: &str,
        problem: LogError,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        if self.troubled.len() < MAX_ENTRIES && self.troubled.insert(name.to_owned()) {
            sink(LogEvent::Problem(problem));
        }
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
