//! A pod, as the kubelet, containerd and Istio make one.

mod container;
mod launch;
mod spec;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use container::Container;
pub(crate) use launch::Surroundings;
pub use spec::{Edit, Kind, PodSpec};

use crate::{
    cgroup::Cgroup,
    network::{Addresses, Namespace},
    nginx,
    process::{Place, Process, User},
};

/// The container of the application.
pub const APP: &str = "app";
/// The container of the sidecar.
pub const PROXY: &str = "istio-proxy";

/// How long the programs of a pod may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// What a client of the helper received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The size of the body.
    pub body_bytes: u64,
}

/// A client of the helper that runs. Dropped, it is killed.
pub struct Client(Process);

impl Client {
    /// Waits for its end and returns what it received.
    ///
    /// # Errors
    ///
    /// If it fails; the message has what it said.
    pub fn responses(self) -> Result<Vec<Response>> {
        let output = self.0.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                let (status, body_bytes) = line.split_once(' ').context("in a client's line")?;
                Ok(Response {
                    status: status.parse()?,
                    body_bytes: body_bytes.parse()?,
                })
            })
            .collect()
    }
}

/// A running pod. Dropped, its processes are killed and nothing of it stays but its logs.
pub struct Pod {
    spec: PodSpec,
    uid: String,
    addresses: Addresses,
    directory: PathBuf,
    helper: PathBuf,
    envoy: Option<Process>,
    others: Vec<Process>,
    containers: Vec<Container>,
    slice: Cgroup,
    namespace: Namespace,
}

impl Pod {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// A directory for whatever goes with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// One of its containers.
    ///
    /// # Panics
    ///
    /// If it has none of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> &Container {
        match self.containers.iter().find(|found| found.name == name) {
            Some(container) => container,
            None => panic!("pod {} has no container {name}", self.spec.name),
        }
    }

    /// Its Envoy.
    ///
    /// # Errors
    ///
    /// If it has none.
    pub fn envoy(&mut self) -> Result<&mut Process> {
        let envoy = self.envoy.as_mut();
        envoy.with_context(|| format!("pod {} has no sidecar", self.spec.name))
    }

    /// Where a process of `container` runs.
    #[must_use]
    pub fn place(&self, container: &str, user: User) -> Place<'_> {
        Place {
            cgroup: self.container(container).cgroup.path(),
            namespace: Some(&self.namespace),
            user,
            capabilities: None,
        }
    }

    /// Runs a command in a container to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started. A failed command is no error here.
    pub fn run<I, S>(&self, container: &str, user: User, words: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.place(container, user).run(words)
    }

    /// Starts a command in a container.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn<I, S>(&self, container: &str, user: User, words: I) -> Result<Process>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.place(container, user).spawn(words)
    }

    /// Runs one of the helper's clients in the app container and returns what it received.
    ///
    /// `pipeline ADDRESS PATH COUNT` · `bytes ADDRESS TEXT WAIT-MSEC` · `requests ADDRESS SCRIPT` ·
    /// `short ADDRESS,ADDRESS PATH COUNT` · `websocket ADDRESS PATH COUNT` ·
    /// `reuseport ADDRESS,ADDRESS PATH` · `transfer ADDRESS COUNT BYTES` ·
    /// `half-close ADDRESS PATH COUNT` · `linger ADDRESS PATH FILE` · `flood ADDRESS PATH SECONDS`
    ///
    /// # Errors
    ///
    /// If the client fails; the message has what it said.
    pub fn client(&self, words: &[&str]) -> Result<Vec<Response>> {
        self.spawn_client(words)?.responses()
    }

    /// Starts one of the helper's clients in the app container.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn_client(&self, words: &[&str]) -> Result<Client> {
        let program = [self.helper.as_os_str()];
        let words = program.into_iter().chain(words.iter().map(OsStr::new));
        Ok(Client(self.spawn(APP, User::APP, words)?))
    }

    /// Starts one of the helper's servers in the app container and waits until it listens.
    ///
    /// `echo`: sends back what comes. `garble`: answers what is no HTTP. `mute`: says nothing.
    ///
    /// # Errors
    ///
    /// If it does not come to listen.
    pub fn serve(&self, what: &str, port: u16) -> Result<Process> {
        let number = port.to_string();
        let words = [OsStr::new("serve"), OsStr::new(what), OsStr::new(&number)];
        let words = [self.helper.as_os_str()].into_iter().chain(words);
        let server = self.spawn(APP, User::APP, words)?;
        wait_for_listener(server.id(), port)?;
        Ok(server)
    }

    /// The lab's own helper, which every user may execute.
    #[must_use]
    pub fn helper(&self) -> &Path {
        &self.helper
    }

    /// What nginx logged.
    ///
    /// # Errors
    ///
    /// If there is no nginx here, or its log has an unexpected form.
    pub fn nginx_log(&self) -> Result<Vec<nginx::Exchange>> {
        nginx::read_log(&self.directory.join("nginx/access.log"))
    }

    /// Waits until the sidecar and the app serve.
    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        if self.spec.kind != Kind::Plain {
            let proxy = self.container(PROXY);
            proxy
                .log
                .wait_for(READY, |line| line.contains("Envoy proxy is ready"))
                .with_context(|| format!("waiting for the Envoy of {}", self.spec.name))?;
        }
        if let Some(nginx) = self.others.last().filter(|_| self.has_app()) {
            for port in &self.spec.ports {
                wait_for_listener(nginx.id(), *port)
                    .with_context(|| format!("waiting for the nginx of {}", self.spec.name))?;
            }
        }
        Ok(())
    }

    fn has_app(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.name == APP)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // First the processes: the readers of their output wait for the last one to end.
        self.slice.kill();
    }
}

/// Waits until a socket in the namespace of `process` listens on `port`; without connecting to it,
/// which would be traffic.
pub fn wait_for_listener(process: u32, port: u16) -> Result<()> {
    let deadline = Instant::now() + READY;
    // 0A is LISTEN.
    wait_for_socket(process, port, ["tcp", "tcp6"], "0A", deadline)
}

/// Waits until a UDP socket in the namespace of `process` is bound to `port` and takes datagrams
/// from everywhere.
///
/// # Errors
///
/// If none comes to be.
pub fn wait_for_datagram_socket(process: u32, port: u16) -> Result<()> {
    let deadline = Instant::now() + READY;
    // 07 is CLOSE: it is not connected.
    wait_for_socket(process, port, ["udp", "udp6"], "07", deadline)
}

fn wait_for_socket(
    process: u32,
    port: u16,
    tables: [&str; 2],
    state: &str,
    deadline: Instant,
) -> Result<()> {
    // proc_pid_net(5): the local address, the remote one, the state.
    let suffix = format!(":{port:04X}");
    loop {
        let listens = tables.iter().any(|table| {
            fs::read_to_string(format!("/proc/{process}/net/{table}"))
                .unwrap_or_default()
                .lines()
                .any(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    fields.get(1).is_some_and(|local| local.ends_with(&suffix))
                        && fields.get(3) == Some(&state)
                })
        });
        if listens {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("nobody listens on port {port} after {READY:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
