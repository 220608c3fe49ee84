//! One attempt to reach a receiver: TCP, then TLS 1.3 with both certificates.

use std::{io, sync::Arc, time::Duration};

use rustix::net::sockopt;
use rustls::{
    ClientConfig, NamedGroup,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
    version::TLS13,
};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Notify,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    error::{ConnectionError, refuses_protocol},
    queue::Receiver,
    settings::{ClientTls, Timing},
};
use crate::{
    timestamp::Timestamp,
    tls::{ACKNOWLEDGING_PROTOCOL, Identity, provider, read_authorities},
};

/// What we prove ourselves with, freshly read.
pub(super) struct Credentials {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
    /// When our certificate ends.
    pub(super) not_after: Timestamp,
}

impl Credentials {
    /// Reads the files; they may have been renewed since the last time.
    pub(super) async fn read(tls: ClientTls) -> Result<Self, ConnectionError> {
        // A file may lie on a volume that hangs; the other sinks go on.
        spawn_blocking(move || Self::read_now(&tls))
            .await
            .map_err(|error| ConnectionError::Lost(io::Error::other(error)))?
    }

    fn read_now(tls: &ClientTls) -> Result<Self, ConnectionError> {
        let identity = Identity::read(&tls.cert, &tls.key)?;
        let authorities = read_authorities(&tls.ca)?;
        let tickets = Arc::new(Tickets::default());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(ConnectionError::Tls)?
            .with_root_certificates(authorities)
            .with_client_cert_resolver(identity.resolver);
        config.alpn_protocols = vec![ACKNOWLEDGING_PROTOCOL.to_vec()];
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
        Ok(Self {
            config: Arc::new(config),
            tickets,
            not_after: identity.not_after,
        })
    }
}

/// A connection whose TLS handshake is done on our side. The peer may still refuse us.
pub(super) struct Link {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) receiver: Receiver,
    pub(super) tickets: Arc<Tickets>,
}

/// Reaches the receiver at `endpoint`.
///
/// A receiver that knows ALPN but not our protocol is reached a second time without it.
pub(super) async fn connect(
    endpoint: &str,
    tls: &ClientTls,
    credentials: Credentials,
    timing: &Timing,
) -> Result<Link, ConnectionError> {
    let name = tls.name(endpoint)?;
    let connector = TlsConnector::from(credentials.config);
    let mut protocols = vec![ACKNOWLEDGING_PROTOCOL.to_vec()];
    let stream = loop {
        let tcp = reach(endpoint, timing.connect).await?;
        let handshake = connector.with_alpn(protocols.clone());
        match timeout(timing.handshake, handshake.connect(name.clone(), tcp)).await {
            Ok(Ok(stream)) => break stream,
            Ok(Err(error)) if refuses_protocol(&error) && !protocols.is_empty() => {
                protocols.clear();
            }
            Ok(Err(error)) => {
                return Err(ConnectionError::from_stream(error, false, tls.cert.clone()));
            }
            Err(_) => {
                return Err(ConnectionError::TimedOut {
                    step: "TLS handshake",
                    limit: timing.handshake,
                });
            }
        }
    };
    let receiver = match stream.get_ref().1.alpn_protocol() {
        Some(ACKNOWLEDGING_PROTOCOL) => Receiver::Acknowledging,
        _ => Receiver::Silent,
    };
    Ok(Link {
        stream,
        receiver,
        tickets: credentials.tickets,
    })
}

async fn reach(endpoint: &str, limit: Duration) -> Result<TcpStream, ConnectionError> {
    let timed_out = |step| ConnectionError::TimedOut { step, limit };
    let addresses = timeout(limit, lookup_host(endpoint))
        .await
        .map_err(|_| timed_out("answer from the resolver"))?
        .map_err(ConnectionError::Resolve)?;
    let mut last = ConnectionError::Resolve(io::ErrorKind::NotFound.into());
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                notice_dead_peer(&stream).map_err(ConnectionError::Lost)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = ConnectionError::Unreachable(error),
            Err(_) => last = timed_out("TCP connection"),
        }
    }
    Err(last)
}

/// An idle peer is dead after 15 s + 3 × 5 s without an answer; a busy one after a minute in which
/// TCP made no headway. That includes a live peer that reads nothing for so long (tcp(7),
/// TCP_USER_TIMEOUT): its lines are sent again on the next connection.
fn notice_dead_peer(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, 60_000)?;
    stream.set_nodelay(true)
}

/// Tells that a TLS 1.3 session ticket came: a server that asked for a certificate sends none
/// before it has verified it (RFC 8446 section 4.6.1).
///
/// No ticket is kept: a resumed session would not look at either certificate again.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    arrived: Notify,
}

impl Tickets {
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.arrived.notify_one();
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
