//! Recordings: the ledger's inputs in a file, and the ledger fed from it again.
//!
//! JSON, a line each: first the ledger's settings, then one input a line. The inputs are redacted
//! before they reach the ledger, so a recording holds no secret: of each value to compare it has
//! keyed hashes, and the key is not in it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    ledger::{Input, Ledger, Settings},
    record::Record,
};

/// The version of the format; another one is refused.
const FORMAT: u32 = 4;

/// The longest line that is read back: an input with a head of 64 KiB, escaped.
const MOST_BYTES_A_LINE: u64 = 16 << 20;

/// A recording that is being written.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    meshwitness_recording: u32,
    settings: Settings,
}

impl Recorder {
    /// Begins a recording. The file is made new, readable by its owner alone.
    ///
    /// # Errors
    /// If the file exists already or cannot be written.
    pub fn create(path: &Path, settings: &Settings) -> Result<Self, RecordingError> {
        let at = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut recorder = Self {
            file: BufWriter::new(file.map_err(at)?),
            path: path.to_owned(),
        };
        let header = Header {
            meshwitness_recording: FORMAT,
            settings: settings.clone(),
        };
        recorder.write(&header)?;
        Ok(recorder)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, input: &Input) -> Result<(), RecordingError> {
        self.write(input)
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        let path = &self.path;
        self.file.flush().map_err(|source| RecordingError::Io {
            path: path.clone(),
            source,
        })
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), RecordingError> {
        let path = &self.path;
        let at = |source| RecordingError::Io {
            path: path.clone(),
            source,
        };
        serde_json::to_writer(&mut self.file, value).map_err(|error| at(error.into()))?;
        self.file.write_all(b"\n").map_err(at)
    }
}

/// A recording that is being read: its inputs, one after the other.
///
/// A last line that was cut off ends it in order: the recorder may have been killed.
#[derive(Debug)]
pub struct Recording {
    /// The settings of the ledger whose inputs they are.
    pub settings: Settings,
    lines: Lines,
}

impl Recording {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read or is no recording of this format.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let mut lines = Lines::open(path)?;
        let header = lines.next_as::<Header>().transpose()?;
        let header = header.ok_or_else(|| RecordingError::Empty {
            path: path.to_owned(),
        })?;
        if header.meshwitness_recording != FORMAT {
            return Err(RecordingError::Format {
                path: path.to_owned(),
                found: header.meshwitness_recording,
            });
        }
        Ok(Self {
            settings: header.settings,
            lines,
        })
    }
}

impl Iterator for Recording {
    type Item = Result<Input, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next_as()
    }
}

/// Feeds a recording to a new ledger; every record goes to `sink`.
///
/// # Errors
/// If the file cannot be read, is no recording of this format, or `sink` fails.
pub fn replay(
    path: &Path,
    mut sink: impl FnMut(&Record) -> io::Result<()>,
) -> Result<(), RecordingError> {
    let recording = Recording::open(path)?;
    let mut ledger = Ledger::new(recording.settings.clone());
    let mut records = Vec::new();
    for input in recording {
        ledger.handle(input?, &mut records);
        for record in records.drain(..) {
            sink(&record).map_err(|source| RecordingError::Sink { source })?;
        }
    }
    Ok(())
}

/// Whole lines of a file, read as JSON.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    /// Of the line, counted from 1.
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|source| RecordingError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            line: Vec::new(),
            number: 0,
        })
    }

    fn next_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, RecordingError>> {
        self.line.clear();
        let mut file = io::Read::take(&mut self.file, MOST_BYTES_A_LINE);
        match file.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) => return None,
            Err(source) => {
                return Some(Err(RecordingError::Io {
                    path: self.path.clone(),
                    source,
                }));
            }
        }
        self.number += 1;
        Some(
            serde_json::from_slice(&self.line).map_err(|error| RecordingError::Malformed {
                path: self.path.clone(),
                line: self.number,
                error,
            }),
        )
    }
}

/// Why a recording cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file.
    #[error("recording {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records' way out.
    #[error("cannot write the records: {source}")]
    Sink {
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("recording {}, line {line}: {error}; was it written by this version?", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// Another version's file.
    #[error("recording {}: format {found}, expected {FORMAT}; replay it with the version that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Nothing is in it.
    #[error("recording {}: expected a header, the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}
