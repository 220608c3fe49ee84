//! The reference collector's configuration.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

use super::{agent::listen, text};

/// What `collect` is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Where it listens for agents.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// How both ends prove who they are.
    pub tls: ServerTls,
    /// The subject alternative names of the agents that may send. The collector refuses to start
    /// without one.
    #[serde(default, deserialize_with = "names")]
    pub allow: Vec<String>,
    /// Where the records are stored.
    #[serde(deserialize_with = "text::path")]
    pub dir: PathBuf,
    /// A file that reached this length in bytes is followed by a new one.
    #[serde(
        default = "default_rotate",
        rename = "rotate",
        deserialize_with = "rotate"
    )]
    pub rotate_bytes: u64,
}

/// The server's side of mutual TLS. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The collector's certificate chain.
    #[serde(deserialize_with = "text::path")]
    pub cert: PathBuf,
    /// Its private key.
    #[serde(deserialize_with = "text::path")]
    pub key: PathBuf,
    /// Who signs the agents' certificates.
    #[serde(deserialize_with = "text::path")]
    pub client_ca: PathBuf,
}

/// Small enough to copy and search, large enough that a busy node has some hundred files a day.
fn default_rotate() -> u64 {
    128 << 20
}

fn rotate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = text::bytes(deserializer)?;
    match bytes >= 1 << 20 {
        true => Ok(bytes),
        false => Err(D::Error::custom("expected at least `1MiB`")),
    }
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let is_name =
        |name: &String| (1..=2048).contains(&name.len()) && !name.contains(char::is_control);
    match names.iter().all(is_name) {
        true => Ok(names),
        false => Err(D::Error::custom(
            "expected names as in certificates, such as `spiffe://cluster.local/ns/a/sa/b`",
        )),
    }
}
