//! `logs`: where the sidecars' access logs are and how they read.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};

use super::text;

/// Where the sidecars' access logs are and how they read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// The directory that holds `pods/` and `containers/` as the kubelet lays them out.
    #[serde(deserialize_with = "root")]
    pub root: PathBuf,
    /// The names of the containers that can be a proxy.
    #[serde(deserialize_with = "containers")]
    pub proxy_containers: Vec<String>,
    /// How an access-log line reads.
    pub format: LogFormat,
    /// The longest that a healthy proxy holds a line back.
    #[serde(deserialize_with = "flush")]
    pub flush: Duration,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            root: "/var/log".into(),
            proxy_containers: vec!["istio-proxy".to_owned()],
            format: LogFormat::Auto,
            // Envoy's own default, --file-flush-interval-msec.
            flush: Duration::from_secs(10),
        }
    }
}

/// How an access-log line reads.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    /// Decided per line.
    Auto,
    /// Istio's default text format.
    IstioText,
    /// Istio's default JSON format.
    IstioJson,
    /// An Envoy format string (`text_format`), as it is written.
    Text(String),
    /// An Envoy `json_format`: keys and format strings.
    Json(Map<String, Value>),
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormatVisitor)
    }
}

struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = LogFormat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`auto`, `istio-text`, `istio-json`, an Envoy format string with at least one \
             `%OPERATOR%`, or `{json: {…}}`",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LogFormat, E> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "istio-text" => Ok(LogFormat::IstioText),
            "istio-json" => Ok(LogFormat::IstioJson),
            _ if text.matches('%').count() >= 2 => Ok(LogFormat::Text(text.to_owned())),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LogFormat, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            json: Map<String, Value>,
        }

        let keys = Keys::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LogFormat::Json(keys.json))
    }
}

/// The log directory is opened beneath this path, which must not depend on where the agent runs.
fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = text::path(deserializer)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(D::Error::custom(
            "expected an absolute path such as `/var/log`",
        )),
    }
}

fn containers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = text::list::<_, ContainerName>(deserializer)?;
    if names.is_empty() || names.len() > 16 {
        return Err(D::Error::custom("expected 1 to 16 names of containers"));
    }
    Ok(names.into_iter().map(|name| name.0).collect())
}

struct ContainerName(String);

impl FromStr for ContainerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match (1..=63).contains(&text.len()) && text.bytes().all(is_name) {
            true => Ok(Self(text.to_owned())),
            false => Err("expected the name of a container, such as `istio-proxy`".to_owned()),
        }
    }
}

/// Absence is judged after this time, so it cannot be long; an hour is beyond every setting of
/// Envoy that makes sense.
fn flush<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let flush = text::duration(deserializer)?;
    match flush <= Duration::from_secs(3600) {
        true => Ok(flush),
        false => Err(D::Error::custom("expected at most `1h`")),
    }
}
