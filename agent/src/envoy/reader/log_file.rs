//! One file of a container's log, plain or compressed.

use std::{
    fs::File,
    hash::Hasher,
    io::{self, Read},
    os::fd::OwnedFd,
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use rustix::io::pread;
use siphasher::sip::SipHasher24;

use super::{
    beneath,
    consumed::{Consumed, Key, Look, Proof},
    cri::{self, Stream},
    error::LogError,
    generation::Generation,
    listing::Entry,
    raw_lines::RawLines,
};
use crate::timestamp::Timestamp;

/// How much of a file's beginning tells it from others.
pub(super) const HEAD_BYTES: usize = 1 << 10;

/// The most that is read of a compressed file, uncompressed. The kubelet rotates at 10 MiB unless
/// told otherwise.
const MAX_INFLATED_BYTES: u64 = 1 << 30;

/// And the most for each of its bytes: lines differ by a time at least, so that access logs come to
/// a fiftieth at best. More holds up the log that follows for nothing.
const MAX_INFLATION: u64 = 64;

/// So much may come out of a compressed file of any size.
const SMALL_INFLATED_BYTES: u64 = 1 << 20;

/// How far back the beginning of the last line is searched in a file that is read from its end:
/// longer than any framed part.
const LOOK_BACK_BYTES: u64 = 64 << 10;

/// An open file of a container's log.
pub(super) struct LogFile {
    /// Beneath `logs.root`, when it was opened.
    pub(super) path: Arc<str>,
    pub(super) generation: Generation,
    /// The last scan found it in its directory.
    pub(super) listed: bool,
    /// The newest rotated file that is surely no later than this one.
    pub(super) after: Option<Generation>,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// When it was opened.
    pub(super) opened: Timestamp,
    pub(super) lines: RawLines,
    source: Source,
    key: Key,
    /// What was read of it, while it is a plain file.
    consumed: Consumed,
    /// Its first bytes, up to [`HEAD_BYTES`], so far as they were there.
    head: Vec<u8>,
}

enum Source {
    Plain(OwnedFd),
    Gzip {
        decoder: Box<MultiGzDecoder<File>>,
        /// How many uncompressed bytes came out of it.
        produced: u64,
        /// And how many may.
        limit: u64,
    },
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many bytes went into lines, or were left out on the way to the first line.
    Bytes(usize),
    /// Nothing is there at the moment.
    End,
}

/// Where the lines begin in a file that is read from its end.
pub(super) struct TailStart {
    pub(super) offset: u64,
    /// The offset lies within a line.
    pub(super) within_line: bool,
    /// The last part of that stream's line is not there yet.
    pub(super) open: [bool; 2],
}

impl LogFile {
    /// Opens a listed file, to be read from its beginning. None if it is not regular.
    pub(super) fn open(
        directory: &OwnedFd,
        entry: &Entry,
        path: Arc<str>,
        key: Key,
        now: Timestamp,
    ) -> io::Result<Option<Self>> {
        let Some(file) = beneath::open_file(directory, &entry.name)? else {
            return Ok(None);
        };
        let status = beneath::status(&file)?;
        let (source, head) = if entry.compressed {
            // Read twice: once for the head alone.
            let mut head = Vec::new();
            let limit = HEAD_BYTES as u64;
            MultiGzDecoder::new(File::from(file))
                .take(limit)
                .read_to_end(&mut head)?;
            let Some(file) = beneath::open_file(directory, &entry.name)? else {
                return Ok(None);
            };
            let decoder = Box::new(MultiGzDecoder::new(File::from(file)));
            let limit = SMALL_INFLATED_BYTES + status.size.saturating_mul(MAX_INFLATION);
            (
                Source::Gzip {
                    decoder,
                    produced: 0,
                    limit: limit.min(MAX_INFLATED_BYTES),
                },
                head,
            )
        } else {
            let head = read_at(&file, 0, HEAD_BYTES)?;
            (Source::Plain(file), head)
        };
        Ok(Some(Self {
            path,
            generation: entry.generation.clone(),
            listed: true,
            after: None,
            device: status.device,
            inode: status.inode,
            opened: now,
            lines: RawLines::default(),
            source,
            key,
            consumed: Consumed::new(key, 0),
            head,
        }))
    }

    /// The length and hash of the file's beginning, as far as it was seen.
    pub(super) fn head(&self) -> (u64, u64) {
        (self.head.len() as u64, hash(&self.head))
    }

    /// Whether it begins as another one did.
    pub(super) fn begins_as(&self, (length, expected): (u64, u64)) -> bool {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.head
            .get(..length)
            .is_some_and(|head| hash(head) == expected)
    }

    /// Reads once into `buffer` and takes the lines that end in it.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        emit: impl FnMut(super::raw_lines::RawLine<'_>),
    ) -> Result<Progress, LogError> {
        let wanted = self.lines.fed();
        let failed = |path: &str, source| LogError::File {
            path: path.to_owned(),
            offset: wanted,
            source,
        };
        match &mut self.source {
            Source::Plain(file) => {
                let read = pread(&*file, &mut *buffer, wanted)
                    .map_err(|error| failed(&self.path, error.into()))?;
                if read == 0 {
                    return Ok(Progress::End);
                }
                // The head covers at least what was read, so that the file is known again.
                let known = usize::try_from(wanted)
                    .map_or(HEAD_BYTES, |wanted| self.head.len().saturating_sub(wanted));
                let room = HEAD_BYTES - self.head.len();
                if wanted <= self.head.len() as u64 && known < read {
                    let new = &buffer[known..read];
                    self.head.extend_from_slice(&new[..new.len().min(room)]);
                }
                self.consumed.absorb(wanted, &buffer[..read]);
                self.lines.feed(&buffer[..read], emit);
                Ok(Progress::Bytes(read))
            }
            Source::Gzip {
                decoder,
                produced,
                limit,
            } => {
                let read = decoder
                    .read(buffer)
                    .map_err(|error| failed(&self.path, error))?;
                if read == 0 {
                    return Ok(Progress::End);
                }
                let begin = *produced;
                *produced += read as u64;
                if *produced > *limit {
                    return Err(LogError::Inflated {
                        path: self.path.to_string(),
                        limit: *limit,
                    });
                }
                // What was handed out before a restart is uncompressed again, and left out.
                let skip = usize::try_from(wanted.saturating_sub(begin))
                    .unwrap_or(read)
                    .min(read);
                self.lines.feed(&buffer[skip..read], emit);
                Ok(Progress::Bytes(read))
            }
        }
    }

    /// Whether it is shorter than what was read of it, or begins otherwise than it did. Neither
    /// happens to a file that is only appended to.
    pub(super) fn was_rewritten(&mut self) -> io::Result<bool> {
        Ok(!self.refresh_head()? || self.was_cut()?)
    }

    /// Looks at the beginning again, which may have become longer. False if it has changed.
    pub(super) fn refresh_head(&mut self) -> io::Result<bool> {
        let Source::Plain(file) = &self.source else {
            return Ok(true);
        };
        let head = read_at(file, 0, HEAD_BYTES)?;
        let same = head.starts_with(&self.head);
        if same {
            self.head = head;
        }
        Ok(same)
    }

    /// Whether it is shorter than what was read of it.
    pub(super) fn was_cut(&self) -> io::Result<bool> {
        match &self.source {
            Source::Plain(file) => Ok(beneath::status(file)?.size < self.lines.fed()),
            Source::Gzip { .. } => Ok(false),
        }
    }

    /// How many bytes were written to it and not read.
    pub(super) fn unread_bytes(&self) -> u64 {
        match &self.source {
            Source::Plain(file) => {
                let size = beneath::status(file).map_or(0, |status| status.size);
                size.saturating_sub(self.lines.fed())
            }
            Source::Gzip { .. } => 0,
        }
    }

    /// Goes on after the file was written anew: from its beginning if it became shorter, else
    /// from where it stood, or from the next line if that is within one.
    pub(super) fn start_anew(&mut self) -> io::Result<()> {
        let Source::Plain(file) = &self.source else {
            return Ok(());
        };
        let cut = self.was_cut()?;
        self.head = read_at(file, 0, HEAD_BYTES)?;
        let offset = if cut { 0 } else { self.lines.fed() };
        let before = offset.checked_sub(1);
        let after_break = match before {
            Some(before) => read_at(file, before, 1)? == b"\n",
            None => true,
        };
        if cut {
            self.begin_at(offset, !after_break);
        } else {
            self.lines = RawLines::starting_at(offset, !after_break);
            // The rest of what has changed is told with it.
            self.look_again(true)?;
        }
        Ok(())
    }

    /// Begins to read at an offset; within a line of which nothing is wanted, if `skip`.
    pub(super) fn begin_at(&mut self, offset: u64, skip: bool) {
        self.lines = RawLines::starting_at(offset, skip);
        self.consumed = Consumed::new(self.key, offset);
    }

    /// Goes on behind what an earlier run had read. False if that is not as it was.
    pub(super) fn go_on(&mut self, proof: Proof) -> io::Result<bool> {
        let Source::Plain(file) = &self.source else {
            return Ok(true);
        };
        let again = Consumed::again(self.key, proof, |offset, length| {
            read_at(file, offset, length)
        })?;
        Ok(again.map(|again| self.consumed = again).is_some())
    }

    /// What was read of it, to be kept over a restart.
    pub(super) fn proof(&self) -> Option<Proof> {
        match self.source {
            Source::Plain(_) => self.consumed.proof_to_keep(),
            Source::Gzip { .. } => None,
        }
    }

    /// Looks again at some of what was read, or, `finally`, at all of it.
    pub(super) fn look_again(&mut self, finally: bool) -> io::Result<Look> {
        let Source::Plain(file) = &self.source else {
            return Ok(Look::Same);
        };
        let read = |offset, length| read_at(file, offset, length);
        if finally {
            return self.consumed.look_at_all(read);
        }
        let status = beneath::status(file)?;
        let state = (status.changed, status.size);
        self.consumed.look_again(state, read)
    }

    /// How many bytes it holds; none of a compressed one.
    pub(super) fn size(&self) -> io::Result<Option<u64>> {
        match &self.source {
            Source::Plain(file) => Ok(Some(beneath::status(file)?.size)),
            Source::Gzip { .. } => Ok(None),
        }
    }

    /// Finds where to begin so that nothing that was written before is handed out, except a line
    /// that is being written at this moment.
    pub(super) fn tail_start(&self) -> io::Result<TailStart> {
        let Source::Plain(file) = &self.source else {
            return Ok(TailStart {
                offset: 0,
                within_line: false,
                open: [false; 2],
            });
        };
        let size = beneath::status(file)?.size;
        let from = size.saturating_sub(LOOK_BACK_BYTES);
        let window = read_at(file, from, usize::try_from(size - from).unwrap_or(0))?;
        let Some(last_break) = window.iter().rposition(|byte| *byte == b'\n') else {
            let within_line = from > 0;
            let offset = if within_line {
                from + window.len() as u64
            } else {
                0
            };
            return Ok(TailStart {
                offset,
                within_line,
                open: [false; 2],
            });
        };
        let mut open = [false; 2];
        let mut lines = RawLines::starting_at(from, from > 0);
        lines.feed(&window[..=last_break], |line| {
            if let Some(line) = cri::parse(line.bytes) {
                open[stream_index(line.stream)] = line.partial;
            }
        });
        Ok(TailStart {
            offset: from + last_break as u64 + 1,
            within_line: false,
            open,
        })
    }
}

/// The place of a stream in arrays of two.
pub(super) fn stream_index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

fn read_at(file: &OwnedFd, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match pread(file, &mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
