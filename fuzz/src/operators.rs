//! Envoy's command operators, and which field of an entry each of them fills.

use std::{collections::HashMap, fmt::Debug};

use meshwitness::envoy::{Content, Format, LineParser, LogEntry};

/// A command operator.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    /// As it stands in a format.
    pub text: &'static str,
    /// Its key in Istio's JSON format, or one that is none of that.
    pub key: &'static str,
    of: fn(&LogEntry) -> Option<String>,
}

impl Operator {
    /// What an entry has in its field, if anything.
    #[must_use]
    pub fn of(&self, entry: &LogEntry) -> Option<String> {
        (self.of)(entry)
    }
}

fn shown<T: Debug>(field: &Option<T>) -> Option<String> {
    field.as_ref().map(|value| format!("{value:?}"))
}

macro_rules! operators {
    ($($text:literal $key:literal $field:ident,)*) => {
        /// In the order of Istio's text format, then others.
        pub const OPERATORS: &[Operator] = &[$(Operator {
            text: $text,
            key: $key,
            of: |entry| shown(&entry.$field),
        },)*];
    };
}

// Those that fill nothing stand here with a field that only others fill.
operators! {
    "%START_TIME%" "start_time" start_time,
    "%REQ(:METHOD)%" "method" method,
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" "path" path,
    "%PROTOCOL%" "protocol" protocol,
    "%RESPONSE_CODE%" "response_code" response_code,
    "%RESPONSE_FLAGS%" "response_flags" response_flags,
    "%RESPONSE_CODE_DETAILS%" "response_code_details" response_code_details,
    "%CONNECTION_TERMINATION_DETAILS%" "connection_termination_details" connection_termination_details,
    "%UPSTREAM_TRANSPORT_FAILURE_REASON%" "upstream_transport_failure_reason" upstream_transport_failure_reason,
    "%BYTES_RECEIVED%" "bytes_received" bytes_received,
    "%BYTES_SENT%" "bytes_sent" bytes_sent,
    "%DURATION%" "duration" duration_milliseconds,
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%" "upstream_service_time" access_log_type,
    "%REQ(X-FORWARDED-FOR)%" "x_forwarded_for" x_forwarded_for,
    "%REQ(USER-AGENT)%" "user_agent" user_agent,
    "%REQ(X-REQUEST-ID)%" "request_id" request_id,
    "%REQ(:AUTHORITY)%" "authority" authority,
    "%UPSTREAM_HOST%" "upstream_host" upstream_host,
    "%UPSTREAM_CLUSTER_RAW%" "upstream_cluster" upstream_cluster,
    "%UPSTREAM_LOCAL_ADDRESS%" "upstream_local_address" upstream_local_address,
    "%DOWNSTREAM_LOCAL_ADDRESS%" "downstream_local_address" downstream_local_address,
    "%DOWNSTREAM_REMOTE_ADDRESS%" "downstream_remote_address" downstream_remote_address,
    "%REQUESTED_SERVER_NAME%" "requested_server_name" requested_server_name,
    "%ROUTE_NAME%" "route_name" route_name,
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%" "downstream_direct_remote_address" downstream_direct_remote_address,
    "%GRPC_STATUS_NUMBER%" "grpc_status_number" grpc_status,
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%" "upstream_request_attempt_count" attempts,
    "%REQUEST_DURATION%" "x" access_log_type,
    "%DYNAMIC_METADATA(a:b)%" "y" access_log_type,
}

/// What single values mean, each to its own operator alone: in that there is nothing to tell apart.
pub struct Meanings {
    parsers: HashMap<&'static str, LineParser>,
}

impl Meanings {
    /// For all of [`OPERATORS`].
    #[must_use]
    pub fn new() -> Self {
        let parser = |operator: &Operator| {
            let format = Format::compile(operator.text).expect("a format of one operator");
            (operator.text, LineParser::new(format))
        };
        Self {
            parsers: OPERATORS.iter().map(parser).collect(),
        }
    }

    /// What an entry has of a value that this operator wrote. None within if nothing; none if it
    /// writes no such value.
    pub fn meant(&mut self, operator: &Operator, value: &[u8]) -> Option<Option<String>> {
        match self.parsers.get_mut(operator.text)?.parse(value) {
            Content::Entry(entry) => Some(operator.of(&entry)),
            Content::Ambiguous(_) | Content::Other | Content::Unknown | Content::Hole => None,
        }
    }
}

impl Default for Meanings {
    fn default() -> Self {
        Self::new()
    }
}
