//! The rule behind each verdict and each reason, in words.

use crate::record::{Reason, Verdict};

/// What a verdict says.
pub(super) fn of_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Matched => "both halves are there and nothing that must agree differs",
        Verdict::Mismatched => {
            "the line stands where the line of this exchange must stand, and says something else"
        }
        Verdict::Unlogged => {
            "the sidecar carried it, the pod's log was read past its end by `logs.flush` and 2 s, \
             and no line of it fits"
        }
        Verdict::Bypassed => {
            "the connection was established, its other end is not in this pod, and no socket of \
             the pod's proxy holds it"
        }
        Verdict::Unseen => {
            "everything that was captured up to 2 s past the line was processed, nothing was lost \
             there, and no exchange fits"
        }
        Verdict::ProxyAnswered => {
            "the proxy answered by itself, and held a network connection from where the line says"
        }
        Verdict::Outside => "it is not expected to pair",
        Verdict::Unverifiable => "the agent's own view is incomplete, so nobody is accused",
    }
}

/// What a reason says.
pub(super) fn of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSidecar => "the pod has no sidecar, or the socket belongs to no pod",
        Reason::Gateway => "the pod has a proxy and no app: its proxy held the connection",
        Reason::Ambient => "the other end belongs to an ambient mesh's own proxy",
        Reason::PodInternal => "both ends are in app containers of one pod",
        Reason::PilotAgent => "one end is pilot-agent's",
        Reason::MeshInit => "one end is in an init container of the mesh",
        Reason::Kubelet => "the same tuple belongs to a socket in a cgroup of `capture.kubelet`",
        Reason::EnvoyHealthCheck => "it is a health check of the proxy's",
        Reason::Dns => "it asks a private resolver for names",
        Reason::NoRequest => {
            "no line exists, and the connection was never established, carried nothing, or closed \
             before a request line ended: the proxy drops that without a line"
        }
        Reason::ProxyLeg => "it is the sidecar's own network leg",
        Reason::Policy => "a rule of `mesh.policy` expects it",
        Reason::RingLost => {
            "the kernel side refused events: a ring was full, or its ration used up"
        }
        Reason::StreamGap => "a part of the stream was not seen",
        Reason::StreamMismatch => "the two halves of the stream do not fit each other",
        Reason::Preexisting => {
            "the connection is older than the agent, and nothing on it has matched yet"
        }
        Reason::BeforeStart => "the line's START_TIME is before the agent's first start",
        Reason::AgentDown => "it fell into a time when the agent was not running, or was ending",
        Reason::NoBytes => "the connection lived and not one byte was ever seen on it",
        Reason::NoLog => "not one access-log line of this proxy was ever read",
        Reason::LogFormatUnknown => "no format reads the line",
        Reason::LineAmbiguous => "the line can be read in more than one way",
        Reason::LineLost => "its line may stand where the log has a known hole",
        Reason::Evicted => "the bound of what is kept was reached",
        Reason::Mptcp => "the connection spoke Multipath TCP",
        Reason::HpackUnknownEntry => "a header refers to an entry older than the agent",
        Reason::ProxyKilled => "all sockets of the proxy closed at once: its buffer died with it",
        Reason::LoggedAsTcp => "the proxy carried HTTP as TCP, and wrote one line for all of it",
        Reason::PathNormalized => "the paths agree only after RFC 3986 normalisation",
        Reason::Rewritten => {
            "the proxy's filters and routes lie between both accounts here, and may have changed it"
        }
        Reason::Repeated => "the same line stands in the log more than once",
        Reason::Aborted => "the client or the app left early",
        Reason::RoleByName => {
            "the proxy's listeners are older than the agent: it is known by its container's name"
        }
        Reason::Retried => "the proxy tried more than once",
        Reason::FromProxyContainer => {
            "the thread group that opened it is in the proxy's container, and is neither the proxy \
             nor pilot-agent"
        }
        Reason::LateLine => "the line came after it had been missed",
    }
}
