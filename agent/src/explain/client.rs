//! The end of the command: one question, one answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use super::{
    server::Place,
    wire::{Absence, Answer, Explanation, MOST_BYTES_AN_ANSWER, RecordId},
};

/// Longer than the agent gives a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the agent that holds a state directory.
///
/// # Errors
/// Why there is no answer.
pub fn ask(directory: &Path, id: &RecordId) -> Result<Explanation, AskError> {
    let not_running = || AskError::NotRunning {
        directory: directory.to_owned(),
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
        io::ErrorKind::PermissionDenied => AskError::Denied {
            directory: directory.to_owned(),
        },
        _ => AskError::Failed { source },
    };
    let place = Place::new(directory).map_err(failed)?;
    let mut stream = UnixStream::connect(&place.path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    stream
        .write_all(format!("{id}\n").as_bytes())
        .map_err(failed)?;
    let mut text = Vec::new();
    stream
        .take(MOST_BYTES_AN_ANSWER)
        .read_to_end(&mut text)
        .map_err(failed)?;
    match serde_json::from_slice(&text) {
        Ok(Answer::Found(found)) => Ok(*found),
        Ok(Answer::Absent(absence)) => Err(AskError::Absent(absence)),
        Err(_) => Err(AskError::NotUnderstood { bytes: text.len() }),
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The agent has none.
    #[error(transparent)]
    Absent(#[from] Absence),
    /// No agent holds the directory.
    #[error(
        "no agent runs with the state directory {}: start `run`, or name its configuration with \
         --config; evidence is in the agent's memory and ends with it",
        directory.display()
    )]
    NotRunning {
        /// `state.dir`.
        directory: PathBuf,
    },
    /// The directory or the socket is not ours.
    #[error("{}: only root may ask the agent", directory.display())]
    Denied {
        /// `state.dir`.
        directory: PathBuf,
    },
    /// The connection.
    #[error("the agent did not answer: {source}")]
    Failed {
        /// Why.
        source: io::Error,
    },
    /// What came is no answer.
    #[error(
        "the agent's answer of {bytes} bytes cannot be read; is it of the same version as this \
         command?"
    )]
    NotUnderstood {
        /// How long it is.
        bytes: usize,
    },
}
