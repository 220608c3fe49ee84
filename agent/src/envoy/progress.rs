//! How far a proxy's log has been read.

use std::sync::Arc;

use crate::timestamp::Timestamp;

/// How far the log of one proxy container has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProgress {
    /// The pod whose proxy writes it.
    pub pod_uid: Arc<str>,
    /// Every line that the container runtime stamped before this moment has been read: the
    /// reader's own time when it stood at the end of the log, else the stamp of the last line.
    pub read_until: Timestamp,
}

/// What was read of a proxy's log is no longer there as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRewritten {
    /// The pod.
    pub pod_uid: Arc<str>,
    /// When that was noticed.
    pub time: Timestamp,
}
