//! Where the reader stands, over restarts of the agent.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    consumed::{Key, Proof},
    generation::Generation,
};
use crate::replacement::replace;

/// The form of the stored file; raised when an older reader could not follow.
const VERSION: u32 = 1;

/// The most bytes of a stored file that are read.
const MAX_BYTES: u64 = 64 << 20;

/// Where the reader stands in each container's log: everything before was handed out, nothing
/// behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    version: u32,
    /// Of the proofs. Nobody but the agent may read this file.
    #[serde(default)]
    pub(super) key: Option<Key>,
    /// By directory beneath `logs.root`.
    pub(super) containers: BTreeMap<String, Position>,
}

/// Where the reader stands in one container's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The file's path beneath `logs.root` when it was opened.
    pub(super) path: String,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// How many bytes of the file's beginning `head_hash` covers, up to 1 KiB.
    pub(super) head_length: u64,
    /// SipHash-2-4, key zero.
    pub(super) head_hash: u64,
    pub(super) stdout: StreamPosition,
    pub(super) stderr: StreamPosition,
    /// Every line without framing that begins before was handed out.
    #[serde(default)]
    pub(super) unframed: u64,
    /// The offset lies within a line whose beginning was booked.
    pub(super) within_line: bool,
    /// What was read of the file.
    #[serde(default)]
    pub(super) proof: Option<Proof>,
    /// Which file it was then. Those of earlier lives of the container were read.
    pub(super) generation: Generation,
    /// The newest rotated file that was read, or passed over; all later ones were not.
    pub(super) after: Option<Generation>,
}

/// Where the reader stands among the lines of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamPosition {
    /// The first byte that belongs to no line that was handed out.
    pub(super) offset: u64,
    pub(super) remainder: Remainder,
}

/// What the next part of a stream continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Remainder {
    /// Nothing: a line begins.
    None,
    /// A line that was handed out as far as it goes.
    Booked,
    /// A line that began in an earlier file and was not handed out.
    Untold,
}

/// Positions that cannot be stored or read back.
#[derive(Debug, Error)]
pub enum PositionsError {
    /// The file or its directory.
    #[error(
        "log positions {path:?}: {source}; expected a file in state.dir that the agent may write"
    )]
    Io {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error(
        "log positions {path:?}: expected version {VERSION} of the agent's own format ({reason}); remove the file to begin at the ends of the logs"
    )]
    Format {
        /// Its path.
        path: String,
        /// Line and column.
        reason: String,
    },
}

impl Positions {
    pub(super) fn new(key: Key, containers: BTreeMap<String, Position>) -> Self {
        Self {
            version: VERSION,
            key: Some(key),
            containers,
        }
    }

    /// Reads stored positions; none if nothing was stored yet: the first start.
    ///
    /// # Errors
    /// [`PositionsError`].
    pub fn load(path: &Path) -> Result<Option<Self>, PositionsError> {
        let failed = |source| PositionsError::Io {
            path: path.display().to_string(),
            source,
        };
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)
                    .map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let format = |reason| PositionsError::Format {
            path: path.display().to_string(),
            reason,
        };
        // The error's own text may quote the file.
        let positions: Self = serde_json::from_slice(&bytes)
            .map_err(|error| format(format!("line {} column {}", error.line(), error.column())))?;
        if positions.version == VERSION {
            Ok(Some(positions))
        } else {
            Err(format(format!("version {}", positions.version)))
        }
    }

    /// Stores them: all or nothing, even if the machine stops in between.
    ///
    /// # Errors
    /// [`PositionsError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), PositionsError> {
        let failed = |source| PositionsError::Io {
            path: path.display().to_string(),
            source,
        };
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        replace(path, &bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::{
        super::generation::parse, Position, Positions, PositionsError, Remainder, StreamPosition,
    };

    fn positions() -> Positions {
        let stream = StreamPosition {
            offset: u64::MAX,
            remainder: Remainder::Untold,
        };
        let position = Position {
            path: "pods/a_b_c/istio-proxy/0.log".to_owned(),
            device: 1,
            inode: 2,
            head_length: 1024,
            head_hash: u64::MAX,
            stdout: stream,
            stderr: stream,
            unframed: u64::MAX,
            within_line: true,
            proof: None,
            generation: parse("0.log").unwrap().0,
            after: parse("0.log.20260822-101112").map(|(generation, _)| generation),
        };
        Positions::new(
            [1; 16],
            BTreeMap::from([("pods/a_b_c/istio-proxy".to_owned(), position)]),
        )
    }

    #[test]
    fn comes_back_as_stored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.json");
        assert_eq!(Positions::load(&path).unwrap(), None);
        positions().save(&path).unwrap();
        positions().save(&path).unwrap();
        assert_eq!(Positions::load(&path).unwrap(), Some(positions()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.json");
        for text in ["", "{", "{\"version\":2,\"containers\":{}}", "secret"] {
            fs::write(&path, text).unwrap();
            let error = Positions::load(&path).unwrap_err();
            assert!(matches!(error, PositionsError::Format { .. }), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
        assert!(matches!(
            positions().save(&directory.path().join("missing/positions.json")),
            Err(PositionsError::Io { .. })
        ));
    }
}
