//! `forward`: where the records go.

use std::{fmt, marker::PhantomData, net::IpAddr, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};

use super::text::{self, Endpoint};
use crate::record::{Include, Kind, Verdict};

/// A collector that receives records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// How records travel.
    #[serde(rename = "type", deserialize_with = "sink_type")]
    pub sink_type: SinkType,
    /// Where the collector listens.
    #[serde(deserialize_with = "text::value")]
    pub endpoint: Endpoint,
    /// How both ends prove who they are.
    pub tls: ClientTls,
    /// Which records it receives.
    #[serde(default, deserialize_with = "include")]
    pub include: Include,
    /// Bytes of records that wait for the collector; beyond, the oldest are dropped.
    #[serde(
        default = "default_queue",
        rename = "queue",
        deserialize_with = "buffer"
    )]
    pub queue_bytes: u64,
    /// Bytes that are sent again after a connection broke, to a receiver that acknowledges
    /// nothing.
    #[serde(
        default = "default_window",
        rename = "window",
        deserialize_with = "buffer"
    )]
    pub window_bytes: u64,
}

impl Sink {
    /// The name that the collector's certificate must carry.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.tls
            .server_name
            .as_deref()
            .unwrap_or(&self.endpoint.host)
    }
}

/// How records travel to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkType {
    /// Lines of JSON over mutual TLS.
    Ndjson,
}

/// The client's side of mutual TLS. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Who signs the collector's certificate.
    #[serde(deserialize_with = "text::path")]
    pub ca: PathBuf,
    /// The agent's certificate chain.
    #[serde(deserialize_with = "text::path")]
    pub cert: PathBuf,
    /// Its private key.
    #[serde(deserialize_with = "text::path")]
    pub key: PathBuf,
    /// The name that the collector's certificate must carry; the endpoint's host by default.
    #[serde(default, deserialize_with = "server_name")]
    pub server_name: Option<String>,
}

/// An hour of a quiet node, or half a minute of one at its limit (2,000 records a second of
/// 1 KiB): longer outages are told as a gap.
fn default_queue() -> u64 {
    64 << 20
}

/// More than the socket buffers of both ends and the collector's own reading buffer, the places
/// where bytes that TCP acknowledged die with a receiver.
fn default_window() -> u64 {
    32 << 20
}

/// At least some records of the greatest length; at most what a 32-bit length can say.
fn buffer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = text::bytes(deserializer)?;
    match (1 << 20..=4 << 30).contains(&bytes) {
        true => Ok(bytes),
        false => Err(D::Error::custom("expected `1MiB` to `4GiB`")),
    }
}

fn sink_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SinkType, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "ndjson" => Ok(SinkType::Ndjson),
        _ => Err(D::Error::custom(
            "this type of sink is not in this version; expected `ndjson`",
        )),
    }
}

fn server_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    match &name {
        Some(name) if !text::is_host_name(name) && name.parse::<IpAddr>().is_err() => {
            Err(D::Error::custom("expected a DNS name or an IP address"))
        }
        _ => Ok(name),
    }
}

fn include<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Include, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Keys {
        kinds: AllOr<Kind>,
        verdicts: AllOr<Verdict>,
    }

    let keys = Keys::deserialize(deserializer)?;
    Ok(Include {
        kinds: keys.kinds.0,
        verdicts: keys.verdicts.0,
    })
}

/// `all`, which is none, or a list.
struct AllOr<T>(Option<Vec<T>>);

impl<T> Default for AllOr<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AllOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllOrVisitor(PhantomData))
    }
}

struct AllOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AllOrVisitor<T> {
    type Value = AllOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`all` or a list")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<AllOr<T>, E> {
        match word {
            "all" => Ok(AllOr(None)),
            _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AllOr<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(AllOr(Some(list)))
    }
}
