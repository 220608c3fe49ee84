//! What went wrong with a log. Names and offsets only: what a log says never gets in here.

use std::io;

use thiserror::Error;

/// A trouble with a log that the reader lives with. It goes on with the next file, and tries
/// again at the next scan where that makes sense.
#[derive(Debug, Error)]
pub enum LogError {
    /// `logs.root`, or `pods` beneath it, cannot be listed.
    #[error(
        "logs.root: cannot list {path:?}: {source}; expected the directory that holds pods/ and containers/, mounted from the host"
    )]
    Root {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory beneath it cannot be listed.
    #[error("log directory {path:?}: {source}")]
    Directory {
        /// Its path beneath `logs.root`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A log is a symbolic link, a FIFO, a device or the like.
    #[error("log {path:?}: expected a regular file; it is not read")]
    NotRegular {
        /// Its path beneath `logs.root`.
        path: String,
    },
    /// A log cannot be opened or read.
    #[error("log {path:?} at byte {offset}: {source}")]
    File {
        /// Its path beneath `logs.root`.
        path: String,
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A compressed log holds more than is read of one.
    #[error("log {path:?}: more than {limit} bytes when uncompressed; the rest is left out")]
    Inflated {
        /// Its path beneath `logs.root`.
        path: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// A log became shorter, or its beginning changed.
    #[error(
        "log {path:?} was cut or written anew before byte {offset}: a container runtime only appends"
    )]
    Rewritten {
        /// Its path beneath `logs.root`.
        path: String,
        /// How far it had been read.
        offset: u64,
    },
    /// What was read of a log has changed.
    #[error(
        "log {path:?}: what had been read from byte {offset} on has changed: a container runtime only appends"
    )]
    Changed {
        /// Its path beneath `logs.root`.
        path: String,
        /// Where the part begins that was looked at.
        offset: u64,
    },
    /// What a stored position stands for is gone.
    #[error("log {path:?}: what follows byte {offset}, where the last run stopped, is gone")]
    PositionLost {
        /// Its path beneath `logs.root`, as stored.
        path: String,
        /// The offset, as stored.
        offset: u64,
    },
    /// A directory holds more than is followed.
    #[error("log directory {path:?}: more than {limit} entries; the rest is left out")]
    TooMany {
        /// Its path beneath `logs.root`.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// The kernel refuses to tell of changes; they are found by scanning alone.
    #[error(
        "inotify: {source}; new logs are found by scanning; raise fs.inotify.max_user_instances or max_user_watches"
    )]
    Watch {
        /// Why.
        #[source]
        source: io::Error,
    },
}
