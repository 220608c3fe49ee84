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

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ledger::{Input, Ledger, Settings},
    record::Record,
};

/// The version of the format; another one is refused.
const FORMAT: u32 = 1;

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

/// Feeds a recording to a new ledger; every record goes to `sink`.
///
/// A last line that was cut off ends the replay in order: the recorder may have been killed.
///
/// # Errors
/// If the file cannot be read, is no recording of this format, or `sink` fails.
pub fn replay(
    path: &Path,
    mut sink: impl FnMut(&Record) -> io::Result<()>,
) -> Result<(), RecordingError> {
    let at = |source| RecordingError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(at)?);
    let mut line = Vec::new();
    let mut ledger = None;
    for number in 1_u64.. {
        line.clear();
        let read = io::Read::take(&mut file, MOST_BYTES_A_LINE).read_until(b'\n', &mut line);
        if read.map_err(at)? == 0 || !line.ends_with(b"\n") {
            break;
        }
        let malformed = |error| RecordingError::Malformed {
            path: path.to_owned(),
            line: number,
            error,
        };
        match &mut ledger {
            None => {
                let header: Header = serde_json::from_slice(&line).map_err(malformed)?;
                if header.meshwitness_recording != FORMAT {
                    return Err(RecordingError::Format {
                        path: path.to_owned(),
                        found: header.meshwitness_recording,
                    });
                }
                ledger = Some(Ledger::new(header.settings));
            }
            Some(ledger) => {
                let input: Input = serde_json::from_slice(&line).map_err(malformed)?;
                for record in ledger.handle(input) {
                    sink(&record).map_err(|source| RecordingError::Sink { source })?;
                }
            }
        }
    }
    match ledger {
        Some(_) => Ok(()),
        None => Err(RecordingError::Empty {
            path: path.to_owned(),
        }),
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
