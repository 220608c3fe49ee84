//! Findings: what somebody should look at. The list of them is closed; `docs/findings.md` is it.

use serde::Serialize;

use super::Workload;
use crate::timestamp::Timestamp;

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Traffic goes through a sidecar that has never written an access-log line.
    LoggingOff,
    /// Exchanges wait for the first HTTP line at a port.
    NoHttpLine,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    Low,
    /// To be looked at.
    Medium,
    /// To be mended.
    High,
    /// To be mended at once.
    Critical,
}

impl FindingKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::LoggingOff, Self::NoHttpLine];

    /// The id, which keeps its meaning for good.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::LoggingOff => "MW-001",
            Self::NoHttpLine => "MW-002",
        }
    }

    /// What people read.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LoggingOff => "The sidecar writes no access log",
            Self::NoHttpLine => "HTTP requests wait for the first HTTP line of their port",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::LoggingOff => Severity::High,
            Self::NoHttpLine => Severity::Medium,
        }
    }
}

/// Where a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It goes on.
    Open,
    /// It has stopped, or the agent has.
    Closed,
    /// `mode: observe`: nobody is to be alarmed.
    Observed,
}

/// What a record of kind `finding` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingBody {
    /// Of the closed list.
    pub id: &'static str,
    /// What people read.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub state: FindingState,
    /// How often it was found since it was opened.
    pub count: u64,
    /// When it was found first.
    #[serde(serialize_with = "super::model::as_text")]
    pub first: Timestamp,
    /// When it was found last.
    #[serde(serialize_with = "super::model::as_text")]
    pub last: Timestamp,
    /// The first records that it rests on.
    pub records: Vec<String>,
}

/// A finding and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Whose.
    pub workload: Workload,
    /// What.
    pub finding: FindingBody,
}

#[cfg(test)]
mod tests {
    use super::FindingKind;

    #[test]
    fn the_documentation_has_all_of_them_and_no_other() {
        let documentation = include_str!("../../../docs/findings.md");
        let rows: Vec<&str> = documentation
            .lines()
            .filter(|line| line.starts_with("| `MW-"))
            .collect();
        assert_eq!(rows.len(), FindingKind::ALL.len());
        for (row, kind) in rows.iter().zip(FindingKind::ALL) {
            let severity = serde_json::to_value(kind.severity()).unwrap();
            let begin = format!(
                "| `{}` | {} | {} |",
                kind.id(),
                kind.title(),
                severity.as_str().unwrap()
            );
            assert!(row.starts_with(&begin), "{row} should begin with {begin}");
        }
    }
}
