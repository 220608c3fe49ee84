//! The log of one container, over all of its files.

mod opening;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use super::{
    LogEvent, LogRewritten, beneath,
    consumed::{Key, Look},
    error::LogError,
    generation::{Generation, Rank},
    intake::Intake,
    listing::Listing,
    log_file::{LogFile, Progress},
    positions::Position,
};
use crate::{envoy::LineParser, timestamp::Timestamp};

/// How long a file is kept at its end after the next one was found: the runtime may have been
/// about to write to it.
const LINGER: Duration = Duration::from_millis(500);

/// Where to begin in a log that is met for the first time by this run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    /// At its end: the first start.
    End,
    /// At its beginning: it appeared since.
    Beginning,
    /// Where the last run stopped.
    At(Box<Position>),
}

/// The files of a container, each open from when it is found until it is read.
///
/// ```text
///                found by a scan                 at its end, a later file is open,
///   (directory) ─────────────────▶ Open, queued ──▶ Open, read ──────────────▶ Finished
///                                                    │    ▲      LINGER passed
///                          at its end, no later file │    │ appended to, or renamed and
///                                                    ▼    │ appended to through the old name
///                                                    Waiting
/// ```
///
/// The kubelet renames `0.log`, then has the runtime open a new one, and compresses and removes
/// the old one a cycle later: an open file outlives all of it.
pub(super) struct ContainerLog {
    /// For the hashes of what was read.
    key: Key,
    /// Its directory beneath `logs.root`.
    path: String,
    /// None once it is gone.
    directory: Option<OwnedFd>,
    start: Option<Start>,
    /// Oldest first. The first one is being read.
    files: VecDeque<LogFile>,
    /// The rotated files of the last scan, oldest first.
    rotated: Vec<Generation>,
    /// The newest rotated file of any scan: all up to it are open, or were read or passed over.
    newest_rotated: Option<Generation>,
    /// The newest life of the container of which a file was opened.
    newest: Option<Life>,
    /// Begin of the last file that was finished.
    finished_head: Option<(u64, u64)>,
    /// What the last scan found.
    listing: Listing,
    /// All of it could be opened.
    complete: bool,
    /// The size of what could not.
    refused_bytes: u64,
    intake: Intake,
    state: Standing,
    /// Every line that was stamped before has been read.
    read_until: Option<Timestamp>,
    /// Files of which a trouble was told.
    troubled: BTreeSet<String>,
}

/// A life of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    restart: u64,
    /// The inode of what the runtime writes to, once it was opened and as long as that is it.
    live: Option<u64>,
}

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is more to read.
    Behind,
    /// At the end of a file that the runtime may still have written to, with a later one open.
    Lingering,
    /// At the end of the newest file.
    AtEnd,
    /// At the end of a file that may not be the newest: the directory must be looked at.
    Stale,
}

impl ContainerLog {
    pub(super) fn new(path: String, pod_uid: Arc<str>, start: Start, key: Key) -> Self {
        Self {
            key,
            path,
            directory: None,
            start: Some(start),
            files: VecDeque::new(),
            rotated: Vec::new(),
            newest_rotated: None,
            newest: None,
            finished_head: None,
            listing: Listing::default(),
            complete: false,
            refused_bytes: 0,
            intake: Intake::new(pod_uid),
            state: Standing::Stale,
            read_until: None,
            troubled: BTreeSet::new(),
        }
    }

    /// Looks for files again in the directory that is known, if that is due.
    pub(super) fn rescan_if_stale(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        if self.state != Standing::Stale {
            return;
        }
        // A second descriptor of the same directory begins its listing anew.
        let again = self
            .directory
            .as_ref()
            .map(|directory| beneath::open_directory(directory, "."));
        match again {
            Some(Ok(directory)) => self.scan(directory, now, sink),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => self.vanish(),
            // It is there and cannot be looked at now: its end is not known.
            Some(Err(_)) | None => {}
        }
    }

    /// The directory is gone. What is open is read to its end.
    pub(super) fn vanish(&mut self) {
        self.directory = None;
    }

    /// The directory is gone and everything was read.
    pub(super) fn is_finished(&self) -> bool {
        self.directory.is_none() && self.files.is_empty()
    }

    /// Reads up to about `budget` bytes, and returns how many it was.
    pub(super) fn read(
        &mut self,
        now: Timestamp,
        budget: usize,
        buffer: &mut [u8],
        parser: &mut LineParser,
        sink: &mut dyn FnMut(LogEvent),
    ) -> usize {
        let mut used = 0;
        while used < budget {
            let Some(file) = self.files.front_mut() else {
                self.settle_at_end();
                break;
            };
            let (intake, path) = (&mut self.intake, Arc::clone(&file.path));
            match file.read(buffer, |line| intake.take(&line, &path, now, parser, sink)) {
                Ok(Progress::Bytes(read)) => {
                    used += read;
                    self.state = Standing::Behind;
                }
                Ok(Progress::End) => {
                    if !self.at_file_end(now, parser, sink) {
                        break;
                    }
                    self.state = Standing::Behind;
                }
                // What the runtime writes to is tried again: until then its end is not known.
                Err(problem) if file.generation.rank == Rank::Live => {
                    self.tell_once(&path, problem, sink);
                    self.state = Standing::Stale;
                    break;
                }
                Err(problem) => {
                    let offset = file.lines.fed();
                    sink(LogEvent::Problem(problem));
                    self.intake.forget_parts();
                    self.intake.hole(&path, offset, now, sink);
                    self.finish_file(now, parser, sink);
                }
            }
        }
        // At its end the log is as far as the clock, also where that was set back.
        self.read_until = if self.state == Standing::AtEnd {
            Some(now)
        } else {
            self.read_until.max(self.intake.last_time())
        };
        used
    }

    /// Decides what to do at the end of the first file. True if there is something to read.
    fn at_file_end(
        &mut self,
        now: Timestamp,
        parser: &mut LineParser,
        sink: &mut dyn FnMut(LogEvent),
    ) -> bool {
        let Some(file) = self.files.front() else {
            return false;
        };
        if file.was_cut().unwrap_or(false) {
            self.begin_anew(now, sink);
            return true;
        }
        self.intake.give_up_torn(&file.path, now, sink);
        let lingered = match self.files.get(1) {
            // A clock that was set back is no reason to wait.
            Some(next) => now.distance(next.opened) >= LINGER,
            None => self.directory.is_none(),
        };
        if lingered {
            if file.lines.has_rest() {
                let (path, offset) = (Arc::clone(&file.path), file.lines.rest_offset());
                self.intake.hole(&path, offset, now, sink);
            }
            self.finish_file(now, parser, sink);
            return true;
        }
        if self.files.len() == 1 {
            self.settle_at_end();
        } else {
            self.state = Standing::Lingering;
        }
        false
    }

    fn finish_file(
        &mut self,
        now: Timestamp,
        parser: &mut LineParser,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        self.look_again(true, now, sink);
        if let Some(file) = self.files.pop_front() {
            let restart = file.generation.restart;
            let next = self.files.front().map(|next| next.generation.restart);
            if next.is_some_and(|next| next != restart) || self.directory.is_none() {
                self.intake.end_life(&file.path, parser, sink);
            }
            self.intake.next_file(&file.path);
            // Once it is closed its inode number can come again, for the next file.
            let in_place = file.listed && file.generation.rank == Rank::Live;
            if let Some(newest) = self.newest.as_mut().filter(|_| !in_place) {
                newest.live = newest.live.filter(|inode| *inode != file.inode);
            }
            self.finished_head = Some(file.head());
        }
    }

    /// The first file was written anew.
    fn begin_anew(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        let Some(file) = self.files.front_mut() else {
            return;
        };
        let (path, offset) = (Arc::clone(&file.path), file.lines.fed());
        if let Err(source) = file.start_anew() {
            sink(LogEvent::Problem(LogError::File {
                path: path.to_string(),
                offset,
                source,
            }));
        }
        self.intake.forget_parts();
        self.intake.hole(&path, offset, now, sink);
        sink(LogEvent::Problem(LogError::Rewritten {
            path: path.to_string(),
            offset,
        }));
        self.tell_rewritten(now, sink);
    }

    fn tell_rewritten(&self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        sink(LogEvent::Rewritten(LogRewritten {
            pod_uid: Arc::clone(self.pod_uid()),
            time: now,
        }));
    }

    /// Looks again at what was read of the first file: at some of it, or at all.
    fn look_again(&mut self, finally: bool, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        let Some(file) = self.files.front_mut() else {
            return;
        };
        // What cannot be read now is looked at another time; what was read is not lost by it.
        if let Ok(Look::Changed(offset)) = file.look_again(finally) {
            let path = file.path.to_string();
            sink(LogEvent::Problem(LogError::Changed { path, offset }));
            self.tell_rewritten(now, sink);
        }
    }

    /// Looks whether the first file is still what was read of it.
    pub(super) fn check_read(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        let Some(file) = self.files.front_mut() else {
            return;
        };
        if file.was_rewritten().unwrap_or(false) {
            self.begin_anew(now, sink);
        } else {
            self.look_again(false, now, sink);
        }
    }

    /// Nothing is left to read in what is open: is there anything else? Claiming the end of the
    /// log too early would make others believe that a line was never written.
    fn settle_at_end(&mut self) {
        let at_end = match &self.directory {
            None => true,
            Some(directory) => self.complete && self.listing.is_current(directory),
        };
        self.state = if at_end {
            Standing::AtEnd
        } else {
            Standing::Stale
        };
    }

    /// Up to when every line was read. None as long as nothing is known of that.
    pub(super) fn read_until(&self) -> Option<Timestamp> {
        self.read_until
    }

    pub(super) fn pod_uid(&self) -> &Arc<str> {
        self.intake.pod_uid()
    }

    /// How many bytes are there that are not read: of the file that is being read, and of those
    /// that cannot be opened.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.refused_bytes + self.files.front().map_or(0, LogFile::unread_bytes)
    }

    /// Whether it has more to read at once.
    pub(super) fn is_behind(&self) -> bool {
        self.state == Standing::Behind
    }

    /// Where it stands; none as long as there is no file.
    pub(super) fn position(&self) -> Option<Position> {
        if let Some(Start::At(position)) = &self.start {
            return Some(Position::clone(position));
        }
        let file = self.files.front()?;
        let [stdout, stderr] = self.intake.positions(&file.lines);
        let (head_length, head_hash) = file.head();
        let pending = stdout.offset.min(stderr.offset) < file.lines.rest_offset();
        Some(Position {
            path: file.path.to_string(),
            device: file.device,
            inode: file.inode,
            head_length,
            head_hash,
            stdout,
            stderr,
            unframed: self.intake.unframed(&file.lines),
            within_line: file.lines.is_skipping() && !pending,
            proof: file.proof(),
            generation: file.generation.clone(),
            after: file.after.clone(),
        })
    }
}
