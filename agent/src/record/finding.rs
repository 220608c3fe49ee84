//! Findings: what somebody should look at. The list of them is closed; `docs/findings.md` is it.

use std::sync::Arc;

use serde::Serialize;

use super::Workload;
use crate::{envoy::SensitiveKind, timestamp::Timestamp};

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Traffic goes through a sidecar that has never written an access-log line.
    LoggingOff,
    /// Exchanges wait for the first HTTP line at a port.
    NoHttpLine,
    /// A sidecar that wrote lines writes none any more.
    LogSilence,
    /// Units without a line.
    UnloggedRequests,
    /// Lines without evidence.
    UnseenLine,
    /// Lines that were written twice.
    RepeatedLine,
    /// Lines that differ from their exchange.
    EditedLine,
    /// A log file that is not what it was.
    LogRewritten,
    /// Lines with more than one reading.
    AmbiguousLine,
    /// HTTP that the sidecar carries as bytes.
    LoggedAsTcp,
    /// Lines that hold secrets.
    SensitiveData,
    /// An app's connections past its sidecar.
    BypassOutbound,
    /// Connections to an app past its sidecar.
    BypassInbound,
    /// The proxy's user id outside the proxy's container.
    ProxyUser,
    /// A program in the proxy's container that is none of the mesh's.
    ProxyContainer,
    /// Traffic that the redirection seems to leave out, and no rule of the policy names.
    UndeclaredExclusion,
    /// Direct traffic that a rule of the policy names.
    DeclaredExclusion,
    /// Traffic before the proxy listened.
    BeforeSidecar,
    /// Traffic after the proxy ended.
    AfterSidecar,
    /// Datagrams past the sidecar.
    UnproxiedUdp,
    /// QUIC past the sidecar.
    UnproxiedQuic,
    /// An app at the proxy's administration.
    AdminPort,
    /// A leg between sidecars without TLS.
    PlaintextLeg,
    /// A pod without a sidecar that speaks with meshed ones.
    PodWithoutSidecar,
    /// Raw inet sockets of a meshed pod.
    RawSocket,
    /// Traffic that was not seen whole.
    CaptureGap,
    /// Traffic that cannot be seen.
    BlindSpot,
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
    pub const ALL: [Self; 27] = [
        Self::LoggingOff,
        Self::NoHttpLine,
        Self::LogSilence,
        Self::UnloggedRequests,
        Self::UnseenLine,
        Self::RepeatedLine,
        Self::EditedLine,
        Self::LogRewritten,
        Self::AmbiguousLine,
        Self::LoggedAsTcp,
        Self::SensitiveData,
        Self::BypassOutbound,
        Self::BypassInbound,
        Self::ProxyUser,
        Self::ProxyContainer,
        Self::UndeclaredExclusion,
        Self::DeclaredExclusion,
        Self::BeforeSidecar,
        Self::AfterSidecar,
        Self::UnproxiedUdp,
        Self::UnproxiedQuic,
        Self::AdminPort,
        Self::PlaintextLeg,
        Self::PodWithoutSidecar,
        Self::RawSocket,
        Self::CaptureGap,
        Self::BlindSpot,
    ];

    /// The id, which keeps its meaning for good.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.facts().0
    }

    /// What people read.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.facts().1
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.facts().2
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn facts(self) -> (&'static str, &'static str, Severity) {
        match self {
            Self::LoggingOff => ("MW-001", "The sidecar writes no access log", Severity::High),
            Self::NoHttpLine => (
                "MW-002",
                "HTTP requests wait for the first HTTP line of their port",
                Severity::Medium,
            ),
            Self::LogSilence => (
                "MW-003",
                "The sidecar has stopped writing its access log",
                Severity::High,
            ),
            Self::UnloggedRequests => (
                "MW-004",
                "Requests or connections have no access-log line",
                Severity::High,
            ),
            Self::UnseenLine => (
                "MW-005",
                "The log has lines for traffic that never was",
                Severity::High,
            ),
            Self::RepeatedLine => ("MW-006", "The log has lines twice", Severity::Medium),
            Self::EditedLine => (
                "MW-007",
                "Lines say something else than the traffic",
                Severity::High,
            ),
            Self::LogRewritten => (
                "MW-008",
                "A log file was rewritten or shortened",
                Severity::High,
            ),
            Self::AmbiguousLine => (
                "MW-009",
                "Lines can be read in more than one way",
                Severity::Medium,
            ),
            Self::LoggedAsTcp => ("MW-010", "HTTP is logged as bytes", Severity::Low),
            Self::SensitiveData => ("MW-011", "The access log holds secrets", Severity::High),
            Self::BypassOutbound => (
                "MW-101",
                "Connections leave the pod past its sidecar",
                Severity::High,
            ),
            Self::BypassInbound => (
                "MW-102",
                "Connections reach the app past its sidecar",
                Severity::High,
            ),
            Self::ProxyUser => (
                "MW-103",
                "A program runs as the proxy's user outside its container",
                Severity::Critical,
            ),
            Self::ProxyContainer => (
                "MW-104",
                "A program in the proxy's container that is not the proxy makes connections",
                Severity::Critical,
            ),
            Self::UndeclaredExclusion => (
                "MW-105",
                "A port or range that is not redirected is in use, undeclared",
                Severity::High,
            ),
            Self::DeclaredExclusion => {
                ("MW-106", "Declared direct traffic is in use", Severity::Low)
            }
            Self::BeforeSidecar => (
                "MW-107",
                "Traffic before the sidecar was ready",
                Severity::Medium,
            ),
            Self::AfterSidecar => (
                "MW-108",
                "Traffic after the sidecar was gone",
                Severity::High,
            ),
            Self::UnproxiedUdp => (
                "MW-109",
                "UDP leaves or reaches the pod past its sidecar",
                Severity::Medium,
            ),
            Self::UnproxiedQuic => (
                "MW-110",
                "QUIC leaves or reaches the pod past its sidecar",
                Severity::High,
            ),
            Self::AdminPort => (
                "MW-111",
                "An app touched the sidecar's administration",
                Severity::High,
            ),
            Self::PlaintextLeg => (
                "MW-112",
                "Plaintext where mutual TLS is expected",
                Severity::High,
            ),
            Self::PodWithoutSidecar => (
                "MW-113",
                "A pod without a sidecar talks to meshed pods",
                Severity::Low,
            ),
            Self::RawSocket => ("MW-114", "A pod opened raw sockets", Severity::Medium),
            Self::CaptureGap => ("MW-201", "The agent has missed traffic", Severity::Medium),
            Self::BlindSpot => (
                "MW-202",
                "Traffic that the agent cannot read",
                Severity::Medium,
            ),
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
    /// Of requests without a line: their part of all that went through the sidecar meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// When it was found first.
    #[serde(serialize_with = "super::model::as_text")]
    pub first: Timestamp,
    /// When it was found last.
    #[serde(serialize_with = "super::model::as_text")]
    pub last: Timestamp,
    /// The first records that it rests on.
    pub records: Vec<String>,
    /// Of [`FindingKind::SensitiveData`]: the first places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<SensitivePlace>,
}

/// Where a log holds what it must not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SensitivePlace {
    /// The file, beneath the log root.
    #[serde(rename = "log.file")]
    pub file: Arc<str>,
    /// Where its line begins, in bytes.
    #[serde(rename = "log.offset")]
    pub offset: u64,
    /// An operator of the log format or a key of JSON; null where the line does not tell.
    pub field: Option<Arc<str>>,
    /// What it is.
    pub kind: SensitiveKind,
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
