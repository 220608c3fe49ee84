//! The reference collector: stores what agents send, then says so.
//!
//! - [`listener`]: connections, within bounds
//! - [`identity`], [`allow`]: TLS; who may send, and for which node
//! - [`session`]: one connection
//! - [`line`](mod@line): bytes into records
//! - [`store`], [`segment`]: records onto the disk
//! - [`highest`], [`recover`]: what a resend is told apart by; what a crash left behind
//! - [`counters`], [`notice`]: what can be said of all that

mod allow;
mod counters;
mod highest;
mod identity;
mod line;
mod listener;
mod notice;
mod recover;
mod segment;
mod session;
mod store;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

pub use allow::AllowError;
pub use counters::{Count, Counters};
pub use identity::{ServerTls, TlsError};
pub use line::LineError;
pub use listener::Collector;
use notice::Reporter;
pub use notice::{Notice, Report};
pub use segment::StoreError;
pub use store::OpenError;

/// The configuration of the collector.
#[derive(Clone, Debug)]
pub struct CollectSettings {
    /// Where to listen, `address:port`.
    pub listen: String,
    /// Certificates.
    pub tls: ServerTls,
    /// The names that may send: exact, or with parts `*` (any) and `{node}` (the node whose
    /// records it may send), as in `spiffe://mesh/node/{node}` or `{node}.agents.mesh`.
    pub allow: Vec<String>,
    /// Where to store; holds a directory for each sender.
    pub dir: PathBuf,
    /// The length at which a segment is followed by the next, in bytes.
    pub rotate_bytes: u64,
}

/// Collects until `shutdown` completes.
///
/// # Errors
/// What cannot work as told, before anything is collected.
pub async fn run(
    settings: CollectSettings,
    report: Report,
    shutdown: impl Future<Output = ()>,
) -> Result<(), CollectError> {
    Collector::bind(settings, report).await?.run(shutdown).await;
    Ok(())
}

/// Why the collector cannot run.
#[derive(Debug, Error)]
pub enum CollectError {
    /// Nobody, or nobody sensible, may send.
    #[error(transparent)]
    Allow(#[from] AllowError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The address cannot be used.
    #[error("`listen`: cannot listen on `{listen}`: {source}; expected ADDRESS:PORT that is free")]
    Listen {
        /// What was told.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The bounds of the listener.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Handshakes at a time; whoever has not shown a certificate yet can use up no more.
    handshakes: usize,
    /// Sessions at a time; each needs up to 1.5 MiB.
    sessions: usize,
    /// For a handshake. Longer than any that works.
    handshake: Duration,
    /// A sender that says nothing for so long is let go; it comes back when it has something. An
    /// agent has something once an interval of its ledger.
    idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            sessions: 1024,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(900),
        }
    }
}
