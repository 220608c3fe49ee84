//! What a sink is told, and the times that nobody needs to tell it.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use rustls::pki_types::ServerName;
use thiserror::Error;

use super::{error::ConnectionError, queue::Bounds};
use crate::record::Include;

/// One entry of `forward` in the configuration.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// `host:port`, an IPv6 address in brackets; also the sink's name in records and metrics.
    pub endpoint: String,
    /// Certificates and names.
    pub tls: ClientTls,
    /// Which records it gets.
    pub include: Include,
    /// The bound of what does not count as sent, in bytes of lines.
    pub queue_bytes: usize,
    /// The bound of what is kept for a silent receiver's resend, in bytes of lines. Should exceed
    /// what the sockets of both ends buffer.
    pub window_bytes: usize,
}

/// The files and the name of one sink's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The authorities that may vouch for the receiver, PEM.
    pub ca: PathBuf,
    /// Our chain, leaf first, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The name that the receiver's certificate must bear; none: the endpoint's host.
    pub server_name: Option<String>,
}

/// Whether sinks can be set up so.
///
/// # Errors
/// Settings that can never work.
pub fn check(settings: &[SinkSettings]) -> Result<(), SettingsError> {
    let mut endpoints = HashSet::new();
    for sink in settings {
        sink.check()?;
        if !endpoints.insert(&sink.endpoint) {
            return Err(SettingsError::Duplicate {
                endpoint: sink.endpoint.clone(),
            });
        }
    }
    Ok(())
}

impl SinkSettings {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            queue_bytes: self.queue_bytes,
            window_bytes: self.window_bytes,
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        let port = self.endpoint.rsplit_once(':').map(|(_, port)| port);
        if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            return Err(SettingsError::Endpoint {
                endpoint: self.endpoint.clone(),
            });
        }
        let name = self.tls.expected_name(&self.endpoint);
        if ServerName::try_from(name).is_err() {
            return Err(SettingsError::ServerName {
                endpoint: self.endpoint.clone(),
                name: name.to_owned(),
            });
        }
        Ok(())
    }
}

impl ClientTls {
    pub(super) fn name(&self, endpoint: &str) -> Result<ServerName<'static>, ConnectionError> {
        let name = self.expected_name(endpoint);
        ServerName::try_from(name.to_owned()).map_err(|_| ConnectionError::Untrusted {
            reason: format!("`{name}` is no DNS name or IP address; check `tls.server_name`"),
        })
    }

    fn expected_name<'a>(&'a self, endpoint: &'a str) -> &'a str {
        self.server_name.as_deref().unwrap_or_else(|| {
            let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
            host.strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host)
        })
    }
}

/// Why sinks cannot be set up as told.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// The endpoint has no port.
    #[error(
        "`endpoint` is `{endpoint}`, expected HOST:PORT, as in `collector:6514` or `[::1]:6514`"
    )]
    Endpoint {
        /// What was told.
        endpoint: String,
    },
    /// No certificate could bear that name.
    #[error("sink `{endpoint}`: `{name}` is no DNS name or IP address; set `tls.server_name`")]
    ServerName {
        /// Which sink.
        endpoint: String,
        /// The name.
        name: String,
    },
    /// Two sinks cannot be told apart.
    #[error("`endpoint` `{endpoint}` occurs twice; a sink is known by its endpoint")]
    Duplicate {
        /// What occurs twice.
        endpoint: String,
    },
}

/// The times of a sink.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    /// For the resolver and for TCP, each address.
    pub(super) connect: Duration,
    /// For TLS. Longer than any that works.
    pub(super) handshake: Duration,
    /// A peer that sent no alert for so long after the handshake has accepted our certificate.
    pub(super) acceptance: Duration,
    /// A peer that stayed for so long was good: the next failure is a first one.
    pub(super) proof: Duration,
    /// How often certificate files are looked at. Who issues short-lived certificates renews them
    /// minutes before their end.
    pub(super) look: Duration,
    /// How long a peer may take to close its side after we have closed ours, and a begun batch to
    /// leave before a reload.
    pub(super) close: Duration,
    /// How long a sink that a reload takes away may go on delivering.
    pub(super) retirement: Duration,
    /// The step after a first failure.
    pub(super) backoff_first: Duration,
    /// The longest step. A receiver that comes back waits no longer for us.
    pub(super) backoff_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            acceptance: Duration::from_secs(1),
            proof: Duration::from_secs(10),
            look: Duration::from_secs(2),
            close: Duration::from_secs(1),
            retirement: Duration::from_secs(5),
            backoff_first: Duration::from_millis(200),
            backoff_limit: Duration::from_secs(30),
        }
    }
}
