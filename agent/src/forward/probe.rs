//! One connection that delivers nothing: whether a receiver is there and accepts us.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use super::{
    connect::{Credentials, Link, connect},
    error::ConnectionError,
    queue::Receiver,
    settings::{SinkSettings, Timing},
};

/// What became of it.
#[derive(Debug)]
pub enum Probe {
    /// The receiver has accepted our certificate, and we its.
    Accepted(Receiver),
    /// Nobody is there, for now. A sink keeps its records and tries again.
    Unreachable(ConnectionError),
    /// One of the two does not want the other. A sink delivers nothing until somebody mends that.
    Refused(ConnectionError),
}

/// Connects as the sink would, closes in order as soon as the receiver has accepted our
/// certificate, and sends it nothing. Takes at most about seven seconds.
pub async fn probe(settings: &SinkSettings) -> Probe {
    let timing = Timing {
        connect: Duration::from_secs(3),
        handshake: Duration::from_secs(3),
        ..Timing::default()
    };
    probe_with(settings, &timing).await
}

pub(super) async fn probe_with(settings: &SinkSettings, timing: &Timing) -> Probe {
    let connecting = async {
        let credentials = Credentials::read(settings.tls.clone()).await?;
        connect(&settings.endpoint, &settings.tls, credentials, timing).await
    };
    let link = match timeout(CONNECT_AT_MOST, connecting).await {
        Ok(Ok(link)) => link,
        // It went before it could have looked at our certificate.
        Ok(Err(error @ ConnectionError::ClosedUnproven { .. })) => {
            return Probe::Unreachable(error);
        }
        Ok(Err(error)) => return Probe::failed(error),
        Err(_) => {
            return Probe::Unreachable(ConnectionError::TimedOut {
                step: "connection",
                limit: CONNECT_AT_MOST,
            });
        }
    };
    let receiver = link.receiver;
    match accept(link, settings, timing).await {
        Ok(()) => Probe::Accepted(receiver),
        Err(error) => Probe::failed(error),
    }
}

impl Probe {
    fn failed(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Resolve(_)
            | ConnectionError::Unreachable(_)
            | ConnectionError::TimedOut { .. }
            | ConnectionError::Closed
            | ConnectionError::Lost(_) => Self::Unreachable(error),
            ConnectionError::Credentials(_)
            | ConnectionError::Refused { .. }
            | ConnectionError::Untrusted { .. }
            | ConnectionError::NotTls13(_)
            | ConnectionError::Tls(_)
            | ConnectionError::ClosedUnproven { .. }
            | ConnectionError::Answer(_)
            | ConnectionError::NotGiven(_) => Self::Refused(error),
        }
    }
}

/// Waits until the peer has accepted our certificate, and closes.
async fn accept(
    link: Link,
    settings: &SinkSettings,
    timing: &Timing,
) -> Result<(), ConnectionError> {
    let Link {
        mut stream,
        tickets,
        ..
    } = link;
    let certificate = &settings.tls.cert;
    let mut input = [0; INPUT_BYTES];
    let mut acceptance = std::pin::pin!(sleep(timing.acceptance));
    loop {
        tokio::select! {
            read = stream.read(&mut input) => match read {
                Ok(0) => {
                    let certificate = certificate.clone();
                    return Err(ConnectionError::ClosedUnproven { certificate });
                }
                // Whatever it says, it is no proof.
                Ok(_) => {}
                Err(error) => {
                    return Err(ConnectionError::from_stream(error, false, certificate.clone()));
                }
            },
            () = tickets.arrived() => break,
            () = &mut acceptance => break,
        }
    }
    match timeout(timing.close, close(&mut stream)).await {
        Ok(Err(error)) => match ConnectionError::from_stream(error, true, certificate.clone()) {
            refused @ ConnectionError::Refused { .. } => Err(refused),
            // How an accepted connection ends proves nothing.
            _ => Ok(()),
        },
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Says that we end, and lets the peer have its last word.
async fn close(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut input = [0; INPUT_BYTES];
    while stream.read(&mut input).await? > 0 {}
    Ok(())
}

/// For the files, the resolver, all addresses and TLS together.
const CONNECT_AT_MOST: Duration = Duration::from_secs(5);
const INPUT_BYTES: usize = 1024;
