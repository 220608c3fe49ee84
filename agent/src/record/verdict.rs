//! The closed lists of words that judge a unit.

use serde::{Deserialize, Serialize};

/// What the books say of a unit: of what the kernel saw, of what the proxy logged, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing comparable differs.
    Matched,
    /// Both are there and they differ; `differences` says in what.
    Mismatched,
    /// Carried through the sidecar and not logged.
    Unlogged,
    /// Traffic of a meshed pod that its sidecar never touched.
    Bypassed,
    /// A line without evidence.
    Unseen,
    /// An inbound line that the proxy answered by itself.
    ProxyAnswered,
    /// Not expected to pair; a reason says why.
    Outside,
    /// The agent's own view is incomplete; a reason says why.
    Unverifiable,
}

impl Verdict {
    /// Every verdict, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Matched,
        Self::Mismatched,
        Self::Unlogged,
        Self::Bypassed,
        Self::Unseen,
        Self::ProxyAnswered,
        Self::Outside,
        Self::Unverifiable,
    ];

    /// How bad it is for a connection that carries several: the worst of its exchanges stands.
    #[must_use]
    pub fn gravity(self) -> u8 {
        match self {
            Self::Bypassed => 7,
            Self::Unlogged => 6,
            Self::Mismatched => 5,
            Self::Unseen => 4,
            Self::Unverifiable => 3,
            Self::ProxyAnswered => 2,
            Self::Matched => 1,
            Self::Outside => 0,
        }
    }

    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Mismatched => "mismatched",
            Self::Unlogged => "unlogged",
            Self::Bypassed => "bypassed",
            Self::Unseen => "unseen",
            Self::ProxyAnswered => "proxy_answered",
            Self::Outside => "outside",
            Self::Unverifiable => "unverifiable",
        }
    }
}

/// Why a unit got its verdict, where the verdict alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `outside`: the pod has no sidecar.
    NoSidecar,
    /// `outside`: a pod with a proxy and no app container.
    Gateway,
    /// `outside`: an ambient mesh's own proxy holds the other end.
    Ambient,
    /// `outside`: both ends are app containers of one pod.
    PodInternal,
    /// `outside`: pilot-agent's traffic, its probes of the app included.
    PilotAgent,
    /// `outside`: the mesh's init containers.
    MeshInit,
    /// `outside`: the kubelet's probes.
    Kubelet,
    /// `outside`: Envoy's active health checks.
    EnvoyHealthCheck,
    /// `outside`: DNS to a private resolver.
    Dns,
    /// `outside`: a connection that never came to a request.
    NoRequest,
    /// `outside`: the sidecar's own network leg.
    ProxyLeg,
    /// A policy rule expects it.
    Policy,
    /// `unverifiable`: a ring buffer was full or its ration used up.
    RingLost,
    /// `unverifiable`: a part of the stream was not seen.
    StreamGap,
    /// `unverifiable`: the two halves of the stream do not fit each other.
    StreamMismatch,
    /// `unverifiable`: the connection is older than the agent.
    Preexisting,
    /// `unverifiable`: the line is of a time before the agent's first start.
    BeforeStart,
    /// `unverifiable`: it fell into a time when the agent was not running.
    AgentDown,
    /// `unverifiable`: the tuple lives, no byte was ever seen.
    NoBytes,
    /// `unverifiable`: not one line was ever read from this proxy.
    NoLog,
    /// `unverifiable`: no format reads the line.
    LogFormatUnknown,
    /// `unverifiable`: the line can be read in more than one way.
    LineAmbiguous,
    /// `unverifiable`: a known hole in the log file.
    LineLost,
    /// `unverifiable`: the bound of what is kept was reached.
    Evicted,
    /// `unverifiable`: the connection spoke Multipath TCP.
    Mptcp,
    /// `unverifiable`: an HPACK entry older than the agent.
    HpackUnknownEntry,
    /// The proxy was killed with lines in its buffer.
    ProxyKilled,
    /// HTTP that the proxy carried as TCP.
    LoggedAsTcp,
    /// The paths agree only after normalisation.
    PathNormalized,
    /// The proxy rewrote it; no accusation.
    Rewritten,
    /// A line that was written more than once.
    Repeated,
    /// The client or the app left early.
    Aborted,
    /// The proxy is known by its container's name alone.
    RoleByName,
    /// The proxy tried more than once.
    Retried,
    /// Another program in the proxy's container.
    FromProxyContainer,
    /// The line came after it had been missed.
    LateLine,
}

impl Reason {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSidecar => "no_sidecar",
            Self::Gateway => "gateway",
            Self::Ambient => "ambient",
            Self::PodInternal => "pod_internal",
            Self::PilotAgent => "pilot_agent",
            Self::MeshInit => "mesh_init",
            Self::Kubelet => "kubelet",
            Self::EnvoyHealthCheck => "envoy_health_check",
            Self::Dns => "dns",
            Self::NoRequest => "no_request",
            Self::ProxyLeg => "proxy_leg",
            Self::Policy => "policy",
            Self::RingLost => "ring_lost",
            Self::StreamGap => "stream_gap",
            Self::StreamMismatch => "stream_mismatch",
            Self::Preexisting => "preexisting",
            Self::BeforeStart => "before_start",
            Self::AgentDown => "agent_down",
            Self::NoBytes => "no_bytes",
            Self::NoLog => "no_log",
            Self::LogFormatUnknown => "log_format_unknown",
            Self::LineAmbiguous => "line_ambiguous",
            Self::LineLost => "line_lost",
            Self::Evicted => "evicted",
            Self::Mptcp => "mptcp",
            Self::HpackUnknownEntry => "hpack_unknown_entry",
            Self::ProxyKilled => "proxy_killed",
            Self::LoggedAsTcp => "logged_as_tcp",
            Self::PathNormalized => "path_normalized",
            Self::Rewritten => "rewritten",
            Self::Repeated => "repeated",
            Self::Aborted => "aborted",
            Self::RoleByName => "role_by_name",
            Self::Retried => "retried",
            Self::FromProxyContainer => "from_proxy_container",
            Self::LateLine => "late_line",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_serde_writes() {
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
        for reason in [
            Reason::NoSidecar,
            Reason::HpackUnknownEntry,
            Reason::LateLine,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
