//! What an operator writes: into which field it goes, and which texts it can be.
//!
//! A grammar admits at least everything that Envoy can write for the operator, whatever a client
//! sends: one that is too narrow could leave a forged reading of a line as the only one. Where a
//! value stems from a client it is free text, except where Envoy refuses the request otherwise
//! (checked with Envoy 1.40: method, `:path`, `:authority`). `x-envoy-original-path` is a header
//! that a client in the mesh can send as it likes.

use std::sync::Arc;

use super::{
    LogEntry, address,
    operator::Operator,
    sensitive::Holds,
    target::Target,
    time::{Moment, TimePattern},
};

/// A compiled operator.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// The operator as the format has it, without its percent signs.
    pub(super) name: Arc<str>,
    pub(super) holds: Holds,
    pub(super) target: Target,
    pub(super) grammar: Grammar,
    /// The value is cut to so many bytes.
    pub(super) length: Option<usize>,
}

/// Which texts a field can be. Each admits `-` and the empty text (`omit_empty_values`) too.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Grammar {
    /// A text of bytes of one class, of any length.
    Span(Class),
    /// A whole number, with or without a sign.
    Number,
    /// `HTTP/1.1` and the like.
    Protocol,
    /// Names joined by commas.
    Flags,
    /// A socket address or an address of another kind.
    Address,
    /// A time in a format.
    Time(TimePattern),
}

/// Classes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Any,
    /// No white space, no control characters.
    Visible,
    /// A token of RFC 9110 section 5.6.2.
    Token,
    /// What Envoy lets pass as an authority (wider than RFC 3986 section 3.2, but no quotes).
    Authority,
}

/// Which of several operators for one field a format has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Preference {
    full_path: bool,
    upstream_host: bool,
}

impl Preference {
    /// Looks through the operators of a whole format.
    pub(super) fn among<'a>(operators: impl Iterator<Item = &'a Operator>) -> Self {
        let mut preference = Self::default();
        for operator in operators {
            match target(operator) {
                Target::Path { query: true } => preference.full_path = true,
                Target::UpstreamHost { main: true } => preference.upstream_host = true,
                _ => {}
            }
        }
        preference
    }
}

impl Field {
    /// Compiles an operator. One that is not known becomes free text that goes nowhere.
    pub(super) fn compile(operator: &Operator, preference: Preference) -> Self {
        let target = match target(operator) {
            Target::Path { query: false } if preference.full_path => Target::Opaque,
            Target::UpstreamHost { main: false } if preference.upstream_host => Target::Opaque,
            target => target,
        };
        let grammar = grammar(operator);
        let field = Self {
            name: name(operator),
            holds: holds(operator, &grammar),
            target,
            grammar,
            length: operator.length,
        };
        if operator.length.is_none() {
            return field;
        }
        // Envoy documents the cut for header-like operators; others may write more than that.
        match operator.command.as_str() {
            "REQ" | "REQUEST_HEADER" | "PATH" | "RESP" | "RESPONSE_HEADER" | "TRAILER"
            | "RESPONSE_TRAILER" => field,
            _ => Self {
                target: Target::Opaque,
                grammar: Grammar::Span(Class::Any),
                length: None,
                ..field
            },
        }
    }

    /// Writes a value that this operator wrote into an entry.
    pub(super) fn write(&self, entry: &mut LogEntry, text: &[u8]) {
        // A value of exactly the length of the cut may be a part of a longer one.
        if self.length.is_some_and(|length| text.len() >= length) {
            return;
        }
        match (&self.grammar, self.target) {
            (Grammar::Time(pattern), Target::StartTime) => {
                if let (Some(Moment::At(time)), None) = (pattern.parse(text), entry.start_time) {
                    entry.start_time = Some(time);
                }
            }
            (_, target) => target.write(entry, text),
        }
    }

    /// Notes in a blank entry what the format tells about this field.
    pub(super) fn describe(&self, blank: &mut LogEntry) {
        match (self.target, &self.grammar) {
            (Target::Path { query }, _) => {
                blank.path_without_query = !query;
                blank.can_speak_http = true;
            }
            (Target::Method | Target::Protocol, _) => blank.can_speak_http = true,
            (Target::StartTime, Grammar::Time(pattern)) => {
                blank.start_time_precision_nanoseconds = pattern.precision_nanoseconds();
            }
            _ => {}
        }
    }
}

impl Grammar {
    /// The class of all bytes that can occur, and the longest text; none: without bound.
    pub(super) fn extent(&self) -> (Class, Option<usize>) {
        match self {
            Self::Span(class) => (*class, None),
            Self::Number => (Class::Visible, Some(20)),
            Self::Protocol => (Class::Visible, Some(16)),
            Self::Flags | Self::Address => (Class::Visible, Some(512)),
            Self::Time(_) => (Class::Any, Some(128)),
        }
    }

    /// Whether a text within the extent can be of this grammar.
    pub(super) fn admits(&self, text: &[u8]) -> bool {
        if matches!(text, b"" | b"-") {
            return true;
        }
        match self {
            Self::Span(_) => true,
            Self::Number => {
                let digits = text.strip_prefix(b"-").unwrap_or(text);
                digits.iter().all(u8::is_ascii_digit)
            }
            Self::Protocol => text.strip_prefix(b"HTTP/").is_some_and(|version| {
                version
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || *byte == b'.')
            }),
            Self::Flags => text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b'-')),
            Self::Address => address::is_address(text),
            Self::Time(pattern) => pattern.parse(text).is_some(),
        }
    }
}

impl Class {
    /// Which bytes belong to it.
    pub(super) fn table(self) -> &'static [bool; 256] {
        match self {
            Self::Any => &ANY,
            Self::Visible => &VISIBLE,
            Self::Token => &TOKEN,
            Self::Authority => &AUTHORITY,
        }
    }
}

static ANY: [bool; 256] = [true; 256];
static VISIBLE: [bool; 256] = without(b"");
static TOKEN: [bool; 256] = ascii_without(b"\"(),/:;<=>?@[\\]{}");
static AUTHORITY: [bool; 256] = ascii_without(b"\"<>\\^`{|}");

/// Visible bytes, those beyond ASCII included, except some.
const fn without(excluded: &[u8]) -> [bool; 256] {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte <= 0x20 {
        table[byte] = false;
        byte += 1;
    }
    table[0x7f] = false;
    let mut index = 0;
    while index < excluded.len() {
        table[excluded[index] as usize] = false;
        index += 1;
    }
    table
}

const fn ascii_without(excluded: &[u8]) -> [bool; 256] {
    let mut table = without(excluded);
    let mut byte = 0x80;
    while byte < 256 {
        table[byte] = false;
        byte += 1;
    }
    table
}

fn target(operator: &Operator) -> Target {
    let arguments = operator.arguments.as_deref().unwrap_or_default();
    match operator.command.as_str() {
        "START_TIME" | "START_TIME_LOCAL" => Target::StartTime,
        "PROTOCOL" => Target::Protocol,
        "RESPONSE_CODE" => Target::ResponseCode,
        "RESPONSE_FLAGS" | "RESPONSE_FLAGS_LONG" => Target::ResponseFlags,
        "RESPONSE_CODE_DETAILS" => Target::ResponseCodeDetails,
        "BYTES_RECEIVED" => Target::BytesReceived,
        "BYTES_SENT" => Target::BytesSent,
        "DURATION" => Target::Duration,
        "UPSTREAM_HOST" => Target::UpstreamHost { main: true },
        "UPSTREAM_REMOTE_ADDRESS" => Target::UpstreamHost { main: false },
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Target::UpstreamCluster,
        "UPSTREAM_LOCAL_ADDRESS" => Target::UpstreamLocalAddress,
        "DOWNSTREAM_LOCAL_ADDRESS" => Target::DownstreamLocalAddress,
        "DOWNSTREAM_REMOTE_ADDRESS" => Target::DownstreamRemoteAddress,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Target::DownstreamDirectRemoteAddress,
        "REQUESTED_SERVER_NAME" if operator.arguments.is_none() => Target::RequestedServerName,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Target::UpstreamTransportFailureReason,
        "CONNECTION_TERMINATION_DETAILS" => Target::ConnectionTerminationDetails,
        "ROUTE_NAME" => Target::RouteName,
        "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => Target::GrpcStatus,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Target::Attempts,
        "ACCESS_LOG_TYPE" => Target::AccessLogType,
        "DOWNSTREAM_PEER_URI_SAN" => Target::DownstreamPeer,
        "UPSTREAM_PEER_URI_SAN" => Target::UpstreamPeer,
        "PATH" => Target::Path {
            query: arguments.split(':').next() != Some("NQ"),
        },
        "REQ_WITHOUT_QUERY" if names_are(arguments, &PATHS) => Target::Path { query: false },
        "REQ" | "REQUEST_HEADER" => request_header(arguments),
        _ => Target::Opaque,
    }
}

fn name(operator: &Operator) -> Arc<str> {
    match &operator.arguments {
        Some(arguments) => format!("{}({arguments})", operator.command).into(),
        None => operator.command.as_str().into(),
    }
}

/// What an operator may write that a log must not hold.
fn holds(operator: &Operator, grammar: &Grammar) -> Holds {
    if !matches!(grammar, Grammar::Span(_)) {
        return Holds::Nothing;
    }
    let arguments = operator.arguments.as_deref().unwrap_or_default();
    match operator.command.as_str() {
        "REQ" | "REQUEST_HEADER" | "REQ_WITHOUT_QUERY" | "RESP" | "RESPONSE_HEADER" | "TRAILER"
        | "RESPONSE_TRAILER" | "QUERY_PARAM" => {
            let mut names = arguments.split('?').map(Holds::of_header);
            names
                .find(|holds| *holds != Holds::Text)
                .unwrap_or_default()
        }
        "STREAM_ID" | "TRACE_ID" | "SPAN_ID" | "UNIQUE_ID" => Holds::Identifier,
        _ => Holds::Text,
    }
}

const PATHS: [&str; 2] = [":path", "x-envoy-original-path"];
const AUTHORITIES: [&str; 3] = [":authority", "host", "x-envoy-original-host"];
const METHODS: [&str; 2] = [":method", "x-envoy-original-method"];

fn request_header(arguments: &str) -> Target {
    let names = |known: &[&str]| names_are(arguments, known);
    if names(&PATHS) {
        Target::Path { query: true }
    } else if names(&METHODS) {
        Target::Method
    } else if names(&AUTHORITIES) {
        Target::Authority
    } else if names(&["x-forwarded-for"]) {
        Target::XForwardedFor
    } else if names(&["user-agent"]) {
        Target::UserAgent
    } else if names(&["x-request-id"]) {
        Target::RequestId
    } else {
        Target::Opaque
    }
}

/// Whether `X?Y` names only headers of `known`.
fn names_are(arguments: &str, known: &[&str]) -> bool {
    arguments
        .split('?')
        .all(|name| known.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

fn grammar(operator: &Operator) -> Grammar {
    let command = operator.command.as_str();
    let arguments = operator.arguments.as_deref();
    match command {
        "START_TIME" | "START_TIME_LOCAL" | "EMIT_TIME" | "EMIT_TIME_LOCAL" => {
            let local = command.ends_with("_LOCAL");
            let pattern = match arguments {
                None | Some("") => TimePattern::default_for(local),
                Some(format) => TimePattern::compile(format, local),
            };
            pattern.map_or(Grammar::Span(Class::Any), Grammar::Time)
        }
        "PROTOCOL" | "UPSTREAM_PROTOCOL" => Grammar::Protocol,
        "RESPONSE_FLAGS" | "RESPONSE_FLAGS_LONG" => Grammar::Flags,
        "UPSTREAM_HOST"
        | "UPSTREAM_REMOTE_ADDRESS"
        | "UPSTREAM_LOCAL_ADDRESS"
        | "DOWNSTREAM_LOCAL_ADDRESS"
        | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS"
        | "DOWNSTREAM_REMOTE_ADDRESS"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Grammar::Address,
        "RESPONSE_CODE"
        | "DURATION"
        | "UPSTREAM_REQUEST_ATTEMPT_COUNT"
        | "GRPC_STATUS_NUMBER"
        | "CONNECTION_ID"
        | "UPSTREAM_CONNECTION_ID"
        | "COMMON_DURATION" => Grammar::Number,
        // White space in it becomes `_`, unless the argument says otherwise.
        "RESPONSE_CODE_DETAILS" if arguments.is_none() => Grammar::Span(Class::Visible),
        // Names from the mesh's configuration; access log types are Envoy's own.
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" | "ACCESS_LOG_TYPE" => {
            Grammar::Span(Class::Visible)
        }
        "REQ" | "REQUEST_HEADER" => Grammar::Span(request_header_class(arguments)),
        "PATH" if arguments.is_some_and(|it| it.ends_with(":PATH")) => {
            Grammar::Span(Class::Visible)
        }
        _ if is_count(command) => Grammar::Number,
        _ => Grammar::Span(Class::Any),
    }
}

fn request_header_class(arguments: Option<&str>) -> Class {
    let names = |known: &[&str]| arguments.is_some_and(|it| names_are(it, known));
    if names(&[":method"]) {
        Class::Token
    } else if names(&[":path", ":scheme"]) {
        Class::Visible
    } else if names(&[":authority", "host"]) {
        Class::Authority
    } else {
        Class::Any
    }
}

/// Sizes, durations and ports, which are numbers under all their names.
fn is_count(command: &str) -> bool {
    let bytes = command.starts_with("BYTES_")
        || command.ends_with("_BYTES")
        || command.ends_with("_BYTES_SENT")
        || command.ends_with("_BYTES_RECEIVED");
    bytes
        || command.ends_with("_DURATION")
        || command.ends_with("_PORT") && !command.contains("WITHOUT")
}

#[cfg(test)]
mod tests {
    use super::{Class, Field, Grammar, Preference, Target};
    use crate::envoy::operator::{Piece, split};

    fn field(format: &str) -> Field {
        match split(format).unwrap().as_slice() {
            [Piece::Operator(operator)] => Field::compile(operator, Preference::default()),
            pieces => panic!("one operator, got {pieces:?}"),
        }
    }

    #[test]
    fn knows_where_operators_go() {
        for (format, target) in [
            (
                "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
                Target::Path { query: true },
            ),
            ("%REQUEST_HEADER(:path)%", Target::Path { query: true }),
            ("%REQ(X-OTHER?:PATH)%", Target::Opaque),
            (
                "%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%",
                Target::Path { query: false },
            ),
            ("%PATH%", Target::Path { query: true }),
            ("%PATH(NQ:ORIG_OR_PATH)%", Target::Path { query: false }),
            ("%REQ(:AUTHORITY)%", Target::Authority),
            ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", Target::Opaque),
            ("%DOWNSTREAM_PEER_URI_SAN%", Target::DownstreamPeer),
            ("%UPSTREAM_PEER_URI_SAN%", Target::UpstreamPeer),
            ("%NOT_YET_INVENTED(x:y)%", Target::Opaque),
            ("%DYNAMIC_METADATA(a:b):12%", Target::Opaque),
        ] {
            assert_eq!(field(format).target, target, "{format}");
        }
    }

    #[test]
    fn what_a_client_chooses_is_free() {
        for format in [
            "%REQ(USER-AGENT)%",
            "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
            "%PATH(WQ:ORIG)%",
            "%REQUESTED_SERVER_NAME%",
            "%RESP(X)%",
            "%DOWNSTREAM_PEER_SUBJECT%",
            "%QUERY_PARAM(a)%",
            "%UPSTREAM_WITHOUT_PORT%",
        ] {
            assert_eq!(field(format).grammar, Grammar::Span(Class::Any), "{format}");
        }
    }

    #[test]
    fn numbers_are_numbers() {
        for format in [
            "%BYTES_RECEIVED%",
            "%UPSTREAM_WIRE_BYTES_SENT%",
            "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
            "%REQUEST_TX_DURATION%",
            "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
        ] {
            assert_eq!(field(format).grammar, Grammar::Number, "{format}");
        }
    }

    #[test]
    fn a_value_that_may_be_cut_says_nothing() {
        let mut entry = super::LogEntry::default();
        field("%REQ(:PATH):4%").write(&mut entry, b"/abc");
        assert_eq!(entry.path, None);
        field("%REQ(:PATH):5%").write(&mut entry, b"/abc");
        assert_eq!(entry.path.as_deref(), Some("/abc"));
    }
}
