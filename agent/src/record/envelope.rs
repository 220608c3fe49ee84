//! A record on its way to the sinks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{SinkGap, Verdict};

/// What a record speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One HTTP exchange.
    Http,
    /// One TCP connection or UDP flow.
    Connection,
    /// Something a security team should look at.
    Finding,
    /// The books of one interval.
    Ledger,
    /// A turn in the agent's own life.
    Lifecycle,
}

impl Kind {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Connection => "connection",
            Self::Finding => "finding",
            Self::Ledger => "ledger",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// An encoded record and what a sink needs to know of it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The record's id: the agent's start id and `sequence`, joined by `-`.
    pub id: Arc<str>,
    /// The sequence number in it.
    pub sequence: u64,
    /// What it speaks of.
    pub kind: Kind,
    /// Its verdict, if its kind has one.
    pub verdict: Option<Verdict>,
    /// The loss that it tells of, if it is a `gap` record.
    pub gap: Option<Arc<SinkGap>>,
    /// The JSON object, with the newline that ends it.
    pub line: Arc<[u8]>,
}

/// Which records a sink receives. `ledger` and `lifecycle` always pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// The kinds; none: all.
    pub kinds: Option<Vec<Kind>>,
    /// The verdicts; none: all. A record without a verdict passes.
    pub verdicts: Option<Vec<Verdict>>,
}

impl Include {
    /// Whether a record of this kind and verdict passes.
    #[must_use]
    pub fn passes(&self, kind: Kind, verdict: Option<Verdict>) -> bool {
        if matches!(kind, Kind::Ledger | Kind::Lifecycle) {
            return true;
        }
        let kind_passes = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| kinds.contains(&kind));
        let verdict_passes = match (&self.verdicts, verdict) {
            (Some(verdicts), Some(verdict)) => verdicts.contains(&verdict),
            _ => true,
        };
        kind_passes && verdict_passes
    }
}
