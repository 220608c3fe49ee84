//! Accepts connections, within bounds.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    CollectError, CollectSettings, Limits, Notice, Report, Reporter, allow::Allow,
    counters::Counters, identity::Credentials, line::Intake, session::Session, store::Store,
};

/// A collector that listens.
pub struct Collector {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    credentials: Credentials,
}

/// What every connection needs.
struct Shared {
    allow: Allow,
    store: Store,
    limits: Limits,
    counters: Arc<Counters>,
    reporter: Arc<Reporter>,
}

impl Collector {
    /// Checks the settings, locks the directory and listens.
    ///
    /// # Errors
    /// What cannot work as told, by name.
    pub async fn bind(settings: CollectSettings, report: Report) -> Result<Self, CollectError> {
        Self::bind_with(settings, report, Limits::default()).await
    }

    pub(super) async fn bind_with(
        settings: CollectSettings,
        report: Report,
        limits: Limits,
    ) -> Result<Self, CollectError> {
        let allow = Allow::parse(&settings.allow)?;
        let credentials = Credentials::read(settings.tls, allow.clone())?;
        let store = Store::open(&settings.dir, settings.rotate_bytes)?;
        let refused = |source| CollectError::Listen {
            listen: settings.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&settings.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            shared: Arc::new(Shared {
                allow,
                store,
                limits,
                counters: Arc::default(),
                reporter: Arc::new(Reporter::new(report)),
            }),
            credentials,
        })
    }

    /// Where it listens; tells the port if it was left open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far, and goes on doing.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Collects until `shutdown` completes. Sessions then store and acknowledge what they have
    /// read, and close.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let handshakes = Arc::new(Semaphore::new(self.shared.limits.handshakes));
        let sessions = Arc::new(Semaphore::new(self.shared.limits.sessions));
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut shutdown => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: it passes when sessions end.
                    self.shared.reporter.tell(&Notice::AcceptFailed {
                        reason: error.to_string(),
                    });
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.refresh();
            let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
                self.shared.counters.turned_away.add(1);
                self.shared.reporter.tell(&Notice::TurnedAway { peer });
                continue;
            };
            let acceptor = TlsAcceptor::from(self.credentials.config());
            let shared = Arc::clone(&self.shared);
            let sessions = Arc::clone(&sessions);
            let stopped = stopped.clone();
            connections.spawn(async move {
                let session = shared.let_in(acceptor, stream, peer).await;
                drop(handshake);
                let Some(session) = session else { return };
                let Ok(_permit) = sessions.try_acquire_owned() else {
                    shared.counters.turned_away.add(1);
                    shared.reporter.tell(&Notice::TurnedAway { peer });
                    return;
                };
                shared.counters.sessions.add(1);
                session.run(stopped).await;
            });
        }
        let _ = stop.send(true);
        let settle = async { while connections.join_next().await.is_some() {} };
        // What is not settled then was not acknowledged.
        let _ = timeout(SETTLE, settle).await;
    }

    fn refresh(&mut self) {
        let notice = match self.credentials.refresh() {
            Ok(false) => return,
            Ok(true) => Notice::CertificatesRenewed,
            Err(error) => Notice::CertificatesUnusable {
                reason: error.to_string(),
            },
        };
        self.shared.reporter.tell(&notice);
    }
}

impl Shared {
    async fn let_in(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<Session> {
        let failed = |reason: String| {
            self.counters.handshakes_failed.add(1);
            self.reporter
                .tell(&Notice::HandshakeFailed { peer, reason });
        };
        let stream = match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                failed(describe(&error));
                return None;
            }
            Err(_) => {
                let seconds = self.limits.handshake.as_secs();
                failed(format!("no TLS handshake within {seconds} s"));
                return None;
            }
        };
        let leaf = stream.get_ref().1.peer_certificates()?.first()?;
        let sender = match self.allow.sender(leaf) {
            Ok(sender) => sender,
            // The handshake has looked already.
            Err(error) => {
                failed(error.to_string());
                return None;
            }
        };
        Some(Session {
            name: Arc::from(sender.name.as_str()),
            room: self.store.room(&sender),
            intake: Intake::new(sender),
            stream,
            counters: Arc::clone(&self.counters),
            reporter: Arc::clone(&self.reporter),
            idle: self.limits.idle,
        })
    }
}

fn describe(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => "the client has no certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::ApplicationVerificationFailure,
        )) => "no entry of `allow` fits the names of the client's certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(error)) => {
            format!("the client's certificate: {error}")
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!(
                "the client does not want us: {alert:?}; check `tls.cert` here and its `tls.ca`"
            )
        }
        Some(rustls::Error::NoApplicationProtocol) => {
            "the client offers only other application protocols (ALPN)".to_owned()
        }
        _ => error.to_string(),
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(4);
