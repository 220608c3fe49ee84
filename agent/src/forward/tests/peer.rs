//! A scripted receiver without acknowledgements, and the scene in which sinks meet it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustls::{
    ServerConfig, pki_types::pem::PemObject, server::WebPkiClientVerifier, version::TLS13,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    forward::{ClientTls, Forwarder, Notice, Report, SinkSettings, settings::Timing},
    record::{Envelope, Include, Kind, Verdict},
    tls::{
        provider, read_authorities,
        testing::{Authority, Issued},
    },
};

/// An authority, an agent's files, and their directory.
pub(super) struct Scene {
    pub(super) directory: TempDir,
    pub(super) authority: Authority,
}

impl Scene {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write(directory.path());
        let scene = Self {
            directory,
            authority,
        };
        scene.set_agent(&scene.authority.issue(&["spiffe://mesh/node/n1"]));
        scene
    }

    /// Puts these in place of the agent's certificate and key.
    pub(super) fn set_agent(&self, issued: &Issued) {
        issued.write(self.directory.path(), "agent");
    }

    pub(super) fn settings(&self, endpoint: &str) -> SinkSettings {
        let file = |name: &str| self.directory.path().join(name);
        SinkSettings {
            endpoint: endpoint.to_owned(),
            tls: ClientTls {
                ca: file("ca.crt"),
                cert: file("agent.crt"),
                key: file("agent.key"),
                server_name: Some("collector.mesh".to_owned()),
            },
            include: Include::default(),
            queue_bytes: 64 << 20,
            window_bytes: 32 << 20,
        }
    }

    pub(super) async fn peer(&self, options: PeerOptions) -> Peer {
        let issued = options
            .certificate
            .unwrap_or_else(|| self.authority.issue(&["collector.mesh"]));
        let authorities = read_authorities(&self.directory.path().join("ca.crt")).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider())
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![PemObject::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PemObject::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.send_tls13_tickets = options.tickets;
        config.alpn_protocols = options.protocols.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Peer {
            endpoint: listener.local_addr().unwrap().to_string(),
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

pub(super) struct PeerOptions {
    pub(super) tickets: usize,
    pub(super) protocols: Vec<&'static [u8]>,
    pub(super) certificate: Option<Issued>,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            tickets: 2,
            protocols: Vec::new(),
            certificate: None,
        }
    }
}

pub(super) struct Peer {
    pub(super) endpoint: String,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Peer {
    pub(super) async fn accept(&self) -> Connection {
        self.try_accept(None).await.unwrap()
    }

    /// `gate`: after the client's hello nothing is read until it opens.
    pub(super) async fn try_accept(&self, gate: Option<Arc<Gate>>) -> io::Result<Connection> {
        let (stream, _) = within(self.listener.accept()).await?;
        let stream = Gated {
            stream,
            gate,
            reads: 0,
        };
        let stream = within(self.acceptor.accept(stream)).await?;
        Ok(Connection {
            stream,
            begun: Vec::new(),
        })
    }
}

pub(super) struct Connection {
    pub(super) stream: TlsStream<Gated>,
    begun: Vec<u8>,
}

impl Connection {
    /// Reads until so many whole lines are there; their sequence numbers.
    pub(super) async fn lines(&mut self, count: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        while sequences.len() < count {
            let mut byte = [0];
            within(self.stream.read_exact(&mut byte)).await.unwrap();
            if byte == *b"\n" {
                sequences.push(sequence_of(&self.begun));
                self.begun.clear();
            } else {
                self.begun.push(byte[0]);
            }
        }
        sequences
    }

    /// Reads to the end and closes. The lines must be whole and the end in order.
    pub(super) async fn lines_to_end(mut self) -> Vec<u64> {
        within(self.stream.read_to_end(&mut self.begun))
            .await
            .unwrap();
        within(self.stream.shutdown()).await.unwrap();
        assert!(self.begun.is_empty() || self.begun.ends_with(b"\n"));
        self.begun
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(sequence_of)
            .collect()
    }
}

fn sequence_of(line: &[u8]) -> u64 {
    let record: serde_json::Value = serde_json::from_slice(line).unwrap();
    let id = record["id"].as_str().unwrap();
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Opens once.
#[derive(Default)]
pub(super) struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: Option<Waker>,
}

impl Gate {
    pub(super) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.open = true;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    fn is_open(&self, context: &Context<'_>) -> bool {
        let mut state = self.0.lock().unwrap();
        state.waiting = Some(context.waker().clone());
        state.open
    }
}

/// A socket from which, behind a closed gate, only the first segment can be read.
pub(super) struct Gated {
    pub(super) stream: TcpStream,
    gate: Option<Arc<Gate>>,
    reads: usize,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads > 0
            && let Some(gate) = &self.gate
            && !gate.is_open(context)
        {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_ready() {
            self.reads += 1;
        }
        result
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    // An alert shares its system call with what was queued before it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Starts sinks that do not wait long; their notices come out of the channel.
pub(super) fn start(settings: Vec<SinkSettings>) -> (Forwarder, mpsc::UnboundedReceiver<Notice>) {
    start_with(settings, quick())
}

pub(super) fn start_with(
    settings: Vec<SinkSettings>,
    timing: Timing,
) -> (Forwarder, mpsc::UnboundedReceiver<Notice>) {
    let (sender, notices) = mpsc::unbounded_channel();
    let report: Report = Arc::new(move |notice: &Notice| {
        let _ = sender.send(notice.clone());
    });
    let forwarder = Forwarder::start_with(settings, report, timing).unwrap();
    (forwarder, notices)
}

pub(super) fn quick() -> Timing {
    Timing {
        acceptance: Duration::from_millis(200),
        // Who renews files says so by a reload, unless the looking is what is tested.
        look: Duration::from_secs(3600),
        retirement: Duration::from_millis(100),
        backoff_first: Duration::from_millis(5),
        backoff_limit: Duration::from_millis(50),
        ..Timing::default()
    }
}

pub(super) fn record(sequence: u64) -> Envelope {
    record_of(sequence, Kind::Http, Some(Verdict::Matched), 200)
}

pub(super) fn record_of(
    sequence: u64,
    kind: Kind,
    verdict: Option<Verdict>,
    padding: usize,
) -> Envelope {
    let line = format!(
        "{{\"id\":\"start-{sequence}\",\"kind\":\"{}\",\"node\":\"n1\",\"padding\":\"{:padding$}\"}}\n",
        kind.as_str(),
        ""
    );
    Envelope {
        id: Arc::from(format!("start-{sequence}")),
        sequence,
        kind,
        verdict,
        gap: None,
        line: Arc::from(line.into_bytes()),
    }
}

/// The next failure that a sink tells.
pub(super) async fn failure(notices: &mut mpsc::UnboundedReceiver<Notice>) -> String {
    loop {
        if let Notice::Failed { reason, .. } = within(notices.recv()).await.unwrap() {
            return reason;
        }
    }
}

/// The next word of files that cannot be used.
pub(super) async fn unusable(notices: &mut mpsc::UnboundedReceiver<Notice>) -> String {
    loop {
        if let Notice::Unusable { reason, .. } = within(notices.recv()).await.unwrap() {
            return reason;
        }
    }
}

/// Awaits a condition that nothing announces.
pub(super) async fn eventually(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Nothing here takes long, unless it is broken.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 s")
}
