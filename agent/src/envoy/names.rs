//! Names that Envoy writes in several spellings.

/// Response flags, long and short (Envoy's `RESPONSE_FLAGS_LONG` and `RESPONSE_FLAGS`).
const RESPONSE_FLAGS: [(&str, &str); 30] = [
    ("FailedLocalHealthCheck", "LH"),
    ("NoHealthyUpstream", "UH"),
    ("UpstreamRequestTimeout", "UT"),
    ("LocalReset", "LR"),
    ("UpstreamRemoteReset", "UR"),
    ("UpstreamConnectionFailure", "UF"),
    ("UpstreamConnectionTermination", "UC"),
    ("UpstreamOverflow", "UO"),
    ("NoRouteFound", "NR"),
    ("DelayInjected", "DI"),
    ("FaultInjected", "FI"),
    ("RateLimited", "RL"),
    ("UnauthorizedExternalService", "UAEX"),
    ("RateLimitServiceError", "RLSE"),
    ("DownstreamConnectionTermination", "DC"),
    ("UpstreamRetryLimitExceeded", "URX"),
    ("StreamIdleTimeout", "SI"),
    ("InvalidEnvoyRequestHeaders", "IH"),
    ("DownstreamProtocolError", "DPE"),
    ("UpstreamMaxStreamDurationReached", "UMSDR"),
    ("ResponseFromCacheFilter", "RFCF"),
    ("NoFilterConfigFound", "NFCF"),
    ("DurationTimeout", "DT"),
    ("UpstreamProtocolError", "UPE"),
    ("NoClusterFound", "NC"),
    ("OverloadManagerTerminated", "OM"),
    ("DnsResolutionFailed", "DF"),
    ("DropOverload", "DO"),
    ("DownstreamRemoteReset", "DR"),
    ("UnconditionalDropOverload", "UDO"),
];

/// gRPC status codes by number (`CAMEL_STRING`).
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The same flags with long names shortened; unknown ones stay.
pub(super) fn short_response_flags(flags: &str) -> String {
    let mut short = String::with_capacity(flags.len());
    for flag in flags.split(',') {
        if !short.is_empty() {
            short.push(',');
        }
        // Short names are the common case; the longest has five letters.
        let name = match flag.len() {
            0..=5 => flag,
            _ => RESPONSE_FLAGS
                .iter()
                .find(|(long, _)| *long == flag)
                .map_or(flag, |(_, name)| name),
        };
        short.push_str(name);
    }
    short
}

/// The number of a gRPC status in any of its spellings: `NotFound`, `NOT_FOUND`, `5`.
pub(super) fn grpc_status_number(text: &[u8]) -> Option<u32> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let letters = |name: &str| -> String {
        name.chars()
            .filter(|c| *c != '_')
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    let wanted = match letters(text) {
        // CANCELLED in SNAKE_STRING, Canceled in CAMEL_STRING.
        name if name == "cancelled" => "canceled".to_owned(),
        name => name,
    };
    let number = GRPC_STATUS
        .iter()
        .position(|name| letters(name) == wanted)?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::{grpc_status_number, short_response_flags};

    #[test]
    fn shortens_flags() {
        assert_eq!(short_response_flags("DownstreamProtocolError"), "DPE");
        assert_eq!(short_response_flags("UF,URX"), "UF,URX");
        assert_eq!(
            short_response_flags("UnconditionalDropOverload,NoHealthyUpstream,MyOwnFlag"),
            "UDO,UH,MyOwnFlag"
        );
    }

    #[test]
    fn numbers_statuses() {
        for (text, number) in [
            ("OK", Some(0)),
            ("Canceled", Some(1)),
            ("CANCELLED", Some(1)),
            ("InvalidArgument", Some(3)),
            ("INVALID_ARGUMENT", Some(3)),
            ("UNAUTHENTICATED", Some(16)),
            ("14", Some(14)),
            ("Foo", None),
        ] {
            assert_eq!(grpc_status_number(text.as_bytes()), number, "{text}");
        }
    }
}
