//! Where the value of an operator goes in a [`LogEntry`].

use std::net::SocketAddr;

use super::{
    LogEntry, address,
    names::{grpc_status_number, short_response_flags},
};

/// A field of [`LogEntry`], or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing that this product uses.
    Opaque,
    StartTime,
    Method,
    Path {
        query: bool,
    },
    Protocol,
    ResponseCode,
    ResponseFlags,
    ResponseCodeDetails,
    BytesReceived,
    BytesSent,
    Duration,
    XForwardedFor,
    UserAgent,
    RequestId,
    Authority,
    /// `UPSTREAM_HOST`, or in its absence `UPSTREAM_REMOTE_ADDRESS`.
    UpstreamHost {
        main: bool,
    },
    UpstreamCluster,
    UpstreamLocalAddress,
    DownstreamLocalAddress,
    DownstreamRemoteAddress,
    DownstreamDirectRemoteAddress,
    RequestedServerName,
    UpstreamTransportFailureReason,
    ConnectionTerminationDetails,
    RouteName,
    GrpcStatus,
    Attempts,
    AccessLogType,
    DownstreamPeer,
    UpstreamPeer,
}

impl Target {
    /// Writes what `text` says. Nothing changes if it says nothing (`-`, empty, or not of the
    /// field's type), or if another operator has filled the field. A start time is the caller's.
    pub(super) fn write(self, entry: &mut LogEntry, text: &[u8]) {
        if text == b"-" || text.is_empty() {
            return;
        }
        match self.slot(entry) {
            Slot::Text(slot @ None) => *slot = Some(decode(text)),
            Slot::Flags(slot @ None) => *slot = Some(short_response_flags(&decode(text))),
            Slot::Address(slot @ None) => *slot = address::parse(text),
            Slot::Grpc(slot @ None) => *slot = grpc_status_number(text),
            Slot::Code(slot @ None) => *slot = number(text).and_then(|n| n.try_into().ok()),
            Slot::Small(slot @ None) => *slot = number(text).and_then(|n| n.try_into().ok()),
            Slot::Large(slot @ None) => *slot = number(text),
            _ => {}
        }
    }

    /// Writes a number. Nothing changes if the field does not hold one.
    pub(super) fn write_number(self, entry: &mut LogEntry, value: u64) {
        match self.slot(entry) {
            Slot::Grpc(slot @ None) | Slot::Small(slot @ None) => *slot = value.try_into().ok(),
            Slot::Code(slot @ None) => *slot = value.try_into().ok(),
            Slot::Large(slot @ None) => *slot = Some(value),
            _ => {}
        }
    }

    /// Takes back what was written.
    pub(super) fn erase(self, entry: &mut LogEntry) {
        match self.slot(entry) {
            Slot::Nothing => {}
            Slot::StartTime => entry.start_time = None,
            Slot::Text(slot) | Slot::Flags(slot) => *slot = None,
            Slot::Address(slot) => *slot = None,
            Slot::Grpc(slot) | Slot::Small(slot) => *slot = None,
            Slot::Code(slot) => *slot = None,
            Slot::Large(slot) => *slot = None,
        }
    }

    fn slot(self, entry: &mut LogEntry) -> Slot<'_> {
        match self {
            Self::Opaque => Slot::Nothing,
            Self::StartTime => Slot::StartTime,
            Self::Method => Slot::Text(&mut entry.method),
            Self::Path { .. } => Slot::Text(&mut entry.path),
            Self::Protocol => Slot::Text(&mut entry.protocol),
            Self::ResponseCode => Slot::Code(&mut entry.response_code),
            Self::ResponseFlags => Slot::Flags(&mut entry.response_flags),
            Self::ResponseCodeDetails => Slot::Text(&mut entry.response_code_details),
            Self::BytesReceived => Slot::Large(&mut entry.bytes_received),
            Self::BytesSent => Slot::Large(&mut entry.bytes_sent),
            Self::Duration => Slot::Large(&mut entry.duration_milliseconds),
            Self::XForwardedFor => Slot::Text(&mut entry.x_forwarded_for),
            Self::UserAgent => Slot::Text(&mut entry.user_agent),
            Self::RequestId => Slot::Text(&mut entry.request_id),
            Self::Authority => Slot::Text(&mut entry.authority),
            Self::UpstreamHost { .. } => Slot::Text(&mut entry.upstream_host),
            Self::UpstreamCluster => Slot::Text(&mut entry.upstream_cluster),
            Self::UpstreamLocalAddress => Slot::Address(&mut entry.upstream_local_address),
            Self::DownstreamLocalAddress => Slot::Address(&mut entry.downstream_local_address),
            Self::DownstreamRemoteAddress => Slot::Address(&mut entry.downstream_remote_address),
            Self::DownstreamDirectRemoteAddress => {
                Slot::Address(&mut entry.downstream_direct_remote_address)
            }
            Self::RequestedServerName => Slot::Text(&mut entry.requested_server_name),
            Self::UpstreamTransportFailureReason => {
                Slot::Text(&mut entry.upstream_transport_failure_reason)
            }
            Self::ConnectionTerminationDetails => {
                Slot::Text(&mut entry.connection_termination_details)
            }
            Self::RouteName => Slot::Text(&mut entry.route_name),
            Self::GrpcStatus => Slot::Grpc(&mut entry.grpc_status),
            Self::Attempts => Slot::Small(&mut entry.attempts),
            Self::AccessLogType => Slot::Text(&mut entry.access_log_type),
            Self::DownstreamPeer => Slot::Text(&mut entry.downstream_peer),
            Self::UpstreamPeer => Slot::Text(&mut entry.upstream_peer),
        }
    }
}

/// A field of an entry by its type.
enum Slot<'a> {
    Nothing,
    StartTime,
    Text(&'a mut Option<String>),
    Flags(&'a mut Option<String>),
    Address(&'a mut Option<SocketAddr>),
    Grpc(&'a mut Option<u32>),
    Code(&'a mut Option<u16>),
    Small(&'a mut Option<u32>),
    Large(&'a mut Option<u64>),
}

/// UTF-8 as it is; otherwise each byte becomes the character of its number, which is also what
/// Envoy's JSON writer makes of such a value.
fn decode(text: &[u8]) -> String {
    match str::from_utf8(text) {
        Ok(text) => text.to_owned(),
        Err(_) => text.iter().copied().map(char::from).collect(),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    if digits {
        str::from_utf8(text).ok()?.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{LogEntry, Target};

    #[test]
    fn nothing_stays_nothing() {
        let mut entry = LogEntry::default();
        Target::Method.write(&mut entry, b"-");
        Target::Method.write(&mut entry, b"");
        Target::BytesSent.write(&mut entry, b"-3");
        Target::ResponseCode.write(&mut entry, b"70000");
        Target::UpstreamLocalAddress.write(&mut entry, b"/pipe");
        assert_eq!(entry, LogEntry::default());
    }

    #[test]
    fn a_filled_field_stays_and_can_be_taken_back() {
        let mut entry = LogEntry::default();
        Target::Path { query: true }.write(&mut entry, b"/a");
        Target::Path { query: true }.write(&mut entry, b"/b");
        assert_eq!(entry.path.as_deref(), Some("/a"));
        Target::Path { query: true }.erase(&mut entry);
        assert_eq!(entry, LogEntry::default());
    }

    #[test]
    fn values_become_what_the_fields_say() {
        let mut entry = LogEntry::default();
        Target::UserAgent.write(&mut entry, b"\xff\xfe");
        Target::ResponseFlags.write(&mut entry, b"UpstreamConnectionFailure,URX");
        Target::GrpcStatus.write(&mut entry, b"NotFound");
        Target::ResponseCode.write_number(&mut entry, 204);
        assert_eq!(entry.user_agent.as_deref(), Some("ÿþ"));
        assert_eq!(entry.response_flags.as_deref(), Some("UF,URX"));
        assert_eq!(entry.grpc_status, Some(5));
        assert_eq!(entry.response_code, Some(204));
    }
}
