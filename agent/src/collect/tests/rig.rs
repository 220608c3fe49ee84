//! A collector, its files, and senders to it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName, version::TLS13};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::segments::segments;
use crate::{
    collect::{CollectSettings, Collector, Counters, Limits, Notice, ServerTls, store::Store},
    forward::{ClientTls, SinkSettings},
    record::{Envelope, Include, Kind},
    tls::{
        ACKNOWLEDGING_PROTOCOL, Identity, provider, read_authorities,
        testing::{Authority, Issued},
    },
};

pub(super) const AGENT: &str = "spiffe://mesh/node/n1";

/// The files of a collector and of one agent, which outlive the collector.
pub(super) struct Rig {
    pub(super) files: TempDir,
    pub(super) authority: Authority,
    pub(super) listen: Mutex<String>,
    pub(super) notices: Arc<Mutex<Vec<String>>>,
    pub(super) limits: Limits,
    pub(super) rotate_bytes: u64,
}

/// A collector that runs.
pub(super) struct Running {
    pub(super) counters: Arc<Counters>,
    pub(super) endpoint: String,
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Rig {
    pub(super) fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write(files.path());
        authority
            .issue(&["collector.mesh"])
            .write(files.path(), "collector");
        authority.issue(&[AGENT]).write(files.path(), "agent");
        Self {
            files,
            authority,
            listen: Mutex::new("127.0.0.1:0".to_owned()),
            notices: Arc::default(),
            limits: Limits::default(),
            rotate_bytes: 128 << 20,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(super) fn settings(&self) -> CollectSettings {
        CollectSettings {
            listen: self.listen.lock().unwrap().clone(),
            tls: ServerTls {
                cert: self.file("collector.crt"),
                key: self.file("collector.key"),
                client_ca: self.file("ca.crt"),
            },
            allow: vec!["spiffe://mesh/node/{node}".to_owned()],
            dir: self.file("stored"),
            rotate_bytes: self.rotate_bytes,
        }
    }

    /// Starts a collector; a second one takes the place of the first, address and directory.
    pub(super) async fn start(&self) -> Running {
        let notices = Arc::clone(&self.notices);
        let report = Arc::new(move |notice: &Notice| {
            notices.lock().unwrap().push(notice.to_string());
        });
        self.unlocked().await;
        let collector = Collector::bind_with(self.settings(), report, self.limits)
            .await
            .unwrap();
        let endpoint = collector.address().to_string();
        *self.listen.lock().unwrap() = endpoint.clone();
        let counters = collector.counters();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(collector.run(async {
            let _ = stopped.await;
        }));
        Running {
            counters,
            endpoint,
            task,
            stop,
        }
    }

    /// Waits for a killed collector's last write: it is on a thread that nobody can stop.
    pub(super) async fn unlocked(&self) {
        eventually(|| Store::open(&self.settings().dir, self.rotate_bytes).is_ok()).await;
    }

    /// An agent's sink to the collector.
    pub(super) fn sink(&self) -> SinkSettings {
        SinkSettings {
            endpoint: self.listen.lock().unwrap().clone(),
            tls: ClientTls {
                ca: self.file("ca.crt"),
                cert: self.file("agent.crt"),
                key: self.file("agent.key"),
                server_name: Some("collector.mesh".to_owned()),
            },
            include: Include::default(),
            queue_bytes: 64 << 20,
            window_bytes: 32 << 20,
        }
    }

    /// A sender that does as it likes; none: without a certificate.
    pub(super) async fn client(&self, issued: Option<Issued>, protocols: &[&[u8]]) -> Client {
        let authorities = read_authorities(&self.file("ca.crt")).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(authorities);
        let mut config = match issued {
            Some(issued) => {
                let files = issued.write(self.files.path(), "client");
                let identity = Identity::read(&files.certificate, &files.key).unwrap();
                builder.with_client_cert_resolver(identity.resolver)
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let endpoint = self.listen.lock().unwrap().clone();
        let tcp = TcpStream::connect(endpoint).await.unwrap();
        let name = ServerName::try_from("collector.mesh").unwrap();
        let stream = within(TlsConnector::from(Arc::new(config)).connect(name, tcp))
            .await
            .unwrap();
        Client { stream }
    }

    /// As the agent `n1`, with acknowledgements.
    pub(super) async fn agent(&self) -> Client {
        let issued = self.authority.issue(&[AGENT]);
        self.client(Some(issued), &[ACKNOWLEDGING_PROTOCOL]).await
    }

    /// What is stored of a sender, as (start, sequence), in order.
    pub(super) fn stored(&self, directory: &str) -> Vec<(String, u64)> {
        let directory = self.file("stored").join(directory);
        let bytes: Vec<u8> = segments(&directory).into_values().flatten().collect();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                let (start, sequence) = record["id"].as_str().unwrap().rsplit_once('-').unwrap();
                (start.to_owned(), sequence.parse().unwrap())
            })
            .collect()
    }

    pub(super) async fn noticed(&self, text: &str) {
        eventually(|| {
            let notices = self.notices.lock().unwrap();
            notices.iter().any(|notice| notice.contains(text))
        })
        .await;
    }
}

impl Running {
    /// As kill -9 does it: nothing is finished, nothing is said.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(super) async fn shutdown(self) {
        self.stop.send(()).unwrap();
        within(self.task).await.unwrap();
    }
}

pub(super) struct Client {
    pub(super) stream: TlsStream<TcpStream>,
}

impl Client {
    pub(super) async fn send(&mut self, text: &str) {
        within(self.stream.write_all(text.as_bytes()))
            .await
            .unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    pub(super) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            within(self.stream.read_exact(&mut byte)).await.unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Everything up to the end, or how it broke.
    pub(super) async fn rest(&mut self) -> Result<String, String> {
        let mut rest = Vec::new();
        match within(self.stream.read_to_end(&mut rest)).await {
            Ok(_) => Ok(String::from_utf8(rest).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }
}

pub(super) fn line(start: &str, sequence: u64, node: &str) -> String {
    format!("{{\"id\":\"{start}-{sequence}\",\"kind\":\"http\",\"node\":\"{node}\"}}\n")
}

pub(super) fn record(sequence: u64) -> Envelope {
    Envelope {
        id: Arc::from(format!("start-{sequence}")),
        sequence,
        kind: Kind::Connection,
        verdict: None,
        gap: None,
        line: Arc::from(line("start", sequence, "n1").into_bytes()),
    }
}

pub(super) async fn eventually(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 s")
}
