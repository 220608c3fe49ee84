//! Access-log formats, and what the lines of a proxy container are.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::{
    Content, FormatError, LogEntry,
    json::{JsonFormat, Outcome},
    sensitive::{self, Sensitive},
    text::{Match, Scratch, TextFormat},
    time,
};

/// Istio's text format since 1.9; since 1.30 it has `UPSTREAM_CLUSTER_RAW` for
/// `UPSTREAM_CLUSTER`, which reads the same.
const ISTIO_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's JSON format, and the operators that are commonly added to it under their own names.
const ISTIO_JSON: [(&str, &str); 32] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("access_log_type", "%ACCESS_LOG_TYPE%"),
    (
        "downstream_direct_remote_address",
        "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    ),
    ("downstream_peer_uri_san", "%DOWNSTREAM_PEER_URI_SAN%"),
    ("upstream_peer_uri_san", "%UPSTREAM_PEER_URI_SAN%"),
    ("grpc_status", "%GRPC_STATUS%"),
    ("grpc_status_number", "%GRPC_STATUS_NUMBER%"),
    ("response_flags_long", "%RESPONSE_FLAGS_LONG%"),
    (
        "upstream_request_attempt_count",
        "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    ),
];

/// A compiled access-log format, or several of which each line decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    text: Option<Described<TextFormat>>,
    json: Option<Described<JsonFormat>>,
}

/// A format, and what it tells about all of its lines.
#[derive(Clone, Debug, PartialEq)]
struct Described<F> {
    format: F,
    blank: LogEntry,
    /// A field of it is made to hold a credential.
    holds_credentials: bool,
}

impl Format {
    /// Compiles what stands under `logs.format`: `auto`, `istio-text`, `istio-json`, or a format
    /// string of Envoy's.
    ///
    /// # Errors
    /// [`FormatError`] if it is a format string that Envoy would not take, or holds no operator.
    pub fn compile(format: &str) -> Result<Self, FormatError> {
        match format {
            "auto" => Ok(Self {
                text: Self::text(ISTIO_TEXT)?.text,
                json: istio_json()?.json,
            }),
            "istio-text" => Self::text(ISTIO_TEXT),
            "istio-json" => istio_json(),
            format => Self::text(format),
        }
    }

    /// Compiles what stands under `logs.format.json`: Envoy's `json_format`.
    ///
    /// # Errors
    /// [`FormatError`] if a text in it is no format string, or none holds an operator.
    pub fn compile_json(format: &Map<String, Value>) -> Result<Self, FormatError> {
        let format = JsonFormat::compile(format)?;
        let mut blank = LogEntry::default();
        format.describe(&mut blank);
        Ok(Self {
            text: None,
            json: Some(Described {
                holds_credentials: format.holds_credentials(),
                format,
                blank,
            }),
        })
    }

    fn text(format: &str) -> Result<Self, FormatError> {
        let format = TextFormat::compile(format)?;
        let mut blank = LogEntry::default();
        format.describe(&mut blank);
        let holds_credentials = format.fields().any(|field| field.holds.is_credential());
        Ok(Self {
            text: Some(Described {
                holds_credentials,
                format,
                blank,
            }),
            json: None,
        })
    }
}

fn istio_json() -> Result<Format, FormatError> {
    let members = ISTIO_JSON.map(|(key, text)| (key.to_owned(), Value::from(text)));
    Format::compile_json(&members.into_iter().collect())
}

/// Reads the lines of proxy containers.
///
/// What is no entry is told apart by these rules, line by line:
///
/// - a line that begins as the format does (its literal text up to the first field, that field,
///   and the text behind it), or as Istio's text format does (`[`, a time of RFC 3339, `]`), and
///   is not whole in it, is [`Content::Unknown`];
/// - so is a JSON object without a level, and broken JSON that has two of the format's keys;
/// - all else is [`Content::Other`]: what pilot-agent writes begins with a time without a bracket
///   or is a JSON object with a level, what Envoy itself logs begins with `[`, a date and a space.
#[derive(Debug)]
pub struct LineParser {
    format: Format,
    scratch: Scratch,
}

impl LineParser {
    /// A parser for one format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            scratch: Scratch::default(),
        }
    }

    /// Says what a line is; without the line break, and without the framing of the container
    /// runtime. Never [`Content::Hole`].
    pub fn parse(&mut self, line: &[u8]) -> Content {
        let mut level = false;
        let mut object = false;
        if let (Some(json), Some(b'{')) = (&self.format.json, line.first()) {
            let mut entry = json.blank.clone();
            match json.format.read(line, &mut self.scratch, &mut entry) {
                Outcome::Sure => return Content::Entry(Box::new(entry)),
                Outcome::Ambiguous => return Content::Ambiguous(Box::new(entry)),
                Outcome::Foreign { level: found } => (object, level) = (true, found),
                Outcome::NotJson => {}
            }
        }
        if let Some(text) = &self.format.text {
            let mut entry = text.blank.clone();
            match text.format.read(line, &mut self.scratch, &mut entry) {
                Match::Sure => return Content::Entry(Box::new(entry)),
                Match::Ambiguous => return Content::Ambiguous(Box::new(entry)),
                Match::No => {}
            }
        }
        if object && !level {
            Content::Unknown
        } else {
            self.judge(line)
        }
    }

    /// What a line holds that an access log must not, where it is one of an access log.
    pub fn sensitive(&mut self, line: &[u8], content: &Content) -> Vec<Sensitive> {
        match content {
            Content::Other | Content::Hole => return Vec::new(),
            Content::Entry(_) | Content::Ambiguous(_) | Content::Unknown => {}
        }
        let Format { text, json } = &self.format;
        let holds_credentials = text.as_ref().is_some_and(|text| text.holds_credentials)
            || json.as_ref().is_some_and(|json| json.holds_credentials)
            || sensitive::may_have_credential_key(line);
        if !holds_credentials && !sensitive::may_be_in(line) {
            return Vec::new();
        }
        let mut findings = sensitive::Findings::default();
        if let (Some(json), Some(b'{')) = (json, line.first())
            && json
                .format
                .look_through(line, &mut self.scratch, &mut findings)
        {
            return findings.into_vec();
        }
        let mut findings = sensitive::Findings::default();
        match text {
            Some(text) => text
                .format
                .look_through(line, None, &mut self.scratch, &mut findings),
            None => findings.look_at(None, sensitive::Holds::Text, line),
        }
        findings.into_vec()
    }

    /// Says of a line that no format reads, or of the beginning of one, whether it was meant to
    /// be an access-log entry: [`Content::Unknown`] or [`Content::Other`].
    #[must_use]
    pub fn judge(&self, line: &[u8]) -> Content {
        let text = self
            .format
            .text
            .as_ref()
            .is_some_and(|text| text.format.resembles(line));
        let json = || {
            line.first() == Some(&b'{')
                && self
                    .format
                    .json
                    .as_ref()
                    .is_some_and(|json| json.format.keys_in(line) >= 2)
        };
        if text || begins_with_bracketed_time(line) || json() {
            Content::Unknown
        } else {
            Content::Other
        }
    }
}

/// Whether a line begins with `[2026-11-22T08:08:17.914Z]` or another time of RFC 3339.
fn begins_with_bracketed_time(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"[") else {
        return false;
    };
    let end = rest.iter().take(40).position(|byte| *byte == b']');
    end.is_some_and(|end| time::parse_rfc3339(&rest[..end]).is_some())
}
