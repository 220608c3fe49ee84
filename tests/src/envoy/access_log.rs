//! What the sidecar writes for each request.

use serde_json::{Map, Value, json};

use super::typed;

/// The format of the lines, and which are written.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// How a line looks; none: nothing is logged.
    pub format: Option<Format>,
    /// An `envoy.config.accesslog.v3.AccessLogFilter`; none: every line is written.
    pub filter: Option<Value>,
}

/// How a line looks.
#[derive(Clone, Debug)]
pub enum Format {
    /// Istio's default.
    IstioText,
    /// Istio's default with `accessLogEncoding: JSON`.
    IstioJson,
    /// A format string of Envoy's; it must end in a newline.
    Text(String),
    /// An object of Envoy's format strings.
    Json(Value),
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            format: Some(Format::IstioText),
            filter: None,
        }
    }
}

impl AccessLog {
    /// The configuration of a listener's filter.
    pub(super) fn config(&self) -> Value {
        let Some(format) = &self.format else {
            return json!([]);
        };
        let mut log = typed(
            "envoy.access_loggers.file",
            "extensions.access_loggers.file.v3.FileAccessLog",
            json!({ "path": "/dev/stdout", "log_format": format.config() }),
        );
        if let Some(filter) = &self.filter {
            log["filter"] = filter.clone();
        }
        json!([log])
    }
}

impl Format {
    /// An `envoy.config.core.v3.SubstitutionFormatString`.
    #[must_use]
    pub fn config(&self) -> Value {
        match self {
            Self::IstioText => json!({ "text_format_source": { "inline_string": ISTIO_TEXT } }),
            Self::Text(format) => json!({ "text_format_source": { "inline_string": format } }),
            Self::Json(object) => json!({ "json_format": object }),
            Self::IstioJson => {
                let fields: Map<String, Value> = ISTIO_JSON
                    .iter()
                    .map(|(name, operator)| ((*name).to_owned(), json!(operator)))
                    .collect();
                json!({ "json_format": fields })
            }
        }
    }
}

/// Istio 1.32, pilot/pkg/model/telemetry_logging.go.
const ISTIO_TEXT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" "#,
    r#"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "#,
    r#"%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" "#,
    r#"%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "#,
    r#""%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% "#,
    r#"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% "#,
    "%ROUTE_NAME%\n",
);

/// The same operators under Istio's names.
const ISTIO_JSON: [(&str, &str); 24] = [
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
];
