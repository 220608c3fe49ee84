//! A pod, as the kubelet, containerd and Istio make one.

mod container;
mod spec;

use std::{
    ffi::OsStr,
    fs,
    io::PipeWriter,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::fs::{Gid, Uid, fchown};

pub use container::Container;
pub use spec::{Kind, PodSpec};

use crate::{
    certificate::{Authority, Name, Validity},
    cgroup::Cgroup,
    cri::Stream,
    envoy::{self, Peer, Sidecar},
    identifier, iptables,
    network::{Addresses, Namespace},
    nginx,
    process::{Place, Process, User},
    requirements,
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

/// What a pod needs from the lab that it is in.
pub(crate) struct Surroundings<'a> {
    pub(crate) mount: &'a Path,
    pub(crate) hub: &'a Namespace,
    pub(crate) tools: &'a Cgroup,
    /// Holds `pods/` and `containers/`.
    pub(crate) logs: &'a Path,
    /// For files that are no logs.
    pub(crate) directory: &'a Path,
    pub(crate) authority: &'a Authority,
    pub(crate) peers: &'a [Peer],
}

impl Surroundings<'_> {
    fn helper(&self) -> Result<PathBuf> {
        requirements::executable_by_all(&requirements::helper("lab-helper")?, self.directory)
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
    /// Makes the pod and starts its programs; [`Self::wait_until_ready`] waits for them.
    pub(crate) fn launch(
        spec: PodSpec,
        addresses: Addresses,
        around: &Surroundings<'_>,
    ) -> Result<Self> {
        let uid = identifier::pod_uid()?;
        let slice = PathBuf::from(format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice",
            uid.replace('-', "_")
        ));
        let directory = around.directory.join("pods").join(&spec.name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let mut pod = Self {
            namespace: Namespace::host(around.hub, &spec.name, addresses)?,
            slice: Cgroup::create(around.mount, &slice)?,
            containers: Vec::new(),
            helper: around.helper()?,
            envoy: None,
            others: Vec::new(),
            spec,
            uid,
            addresses,
            directory,
        };
        if pod.spec.kind == Kind::Meshed {
            let place = Place {
                cgroup: around.tools.path(),
                namespace: Some(&pod.namespace),
                user: User::ROOT,
                capabilities: None,
            };
            iptables::install(&place, &pod.spec.exclusions)?;
        }
        if pod.spec.kind != Kind::Plain {
            pod.start_proxy(around)?;
        }
        if !matches!(pod.spec.kind, Kind::Gateway { .. }) {
            pod.start_app(around)?;
        }
        Ok(pod)
    }

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
    pub fn envoy(&mut self) -> Option<&mut Process> {
        self.envoy.as_mut()
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
    /// `short ADDRESS,ADDRESS PATH COUNT` · `websocket ADDRESS PATH COUNT`
    ///
    /// # Errors
    ///
    /// If the client fails; the message has what it said.
    pub fn client(&self, words: &[&str]) -> Result<Vec<Response>> {
        let program = [self.helper.as_os_str()];
        let words = program.into_iter().chain(words.iter().map(OsStr::new));
        let output = self.run(APP, User::APP, words)?;
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

    fn start_proxy(&mut self, around: &Surroundings<'_>) -> Result<()> {
        let (container, stdout, stderr) = self.add_container(PROXY, User::PROXY, around)?;
        let config = self.directory.join("envoy.json");
        fs::write(&config, format!("{:#}", self.envoy_config(around)?))?;

        let envoy = requirements::executable_by_all(&requirements::envoy()?, around.directory)?;
        let place = self.place(PROXY, User::PROXY);
        let mut command = place.command([envoy.as_os_str()])?;
        command
            .arg("--config-path")
            .arg(&config)
            .args(["--concurrency", "2", "--disable-hot-restart"])
            .args(["--log-level", "warning", "--file-flush-interval-msec"])
            .arg(self.spec.flush.as_millis().to_string())
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        self.envoy = Some(Process::start(&mut command)?);

        let mut command = self
            .place(container, User::PROXY)
            .command([self.helper.as_os_str()])?;
        command
            .args(["pilot-agent", "--admin", "127.0.0.1:15000"])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        if let (Some(interval), true) = (self.spec.probe, self.spec.kind == Kind::Meshed) {
            command
                .arg("--probe")
                .arg(format!("{}:{}", self.addresses.v4, nginx::HTTP_PORT))
                .arg("--interval-msec")
                .arg(interval.as_millis().to_string());
        }
        self.others.push(Process::start(&mut command)?);
        Ok(())
    }

    fn envoy_config(&self, around: &Surroundings<'_>) -> Result<serde_json::Value> {
        let own = self.spec.peer(self.addresses);
        let name = Name::Uri(own.identity.clone());
        let certificate = around
            .authority
            .issue(&self.spec.name, &[name], Validity::Current)?;
        let sidecar = Sidecar {
            own: &own,
            peers: around.peers,
            certificate: &certificate,
            authority: around.authority.certificate(),
            access_log: &self.spec.access_log,
            denied: &self.spec.denied,
        };
        let mut config = match &self.spec.kind {
            Kind::Gateway {
                port,
                target,
                target_port,
            } => {
                let target = around
                    .peers
                    .iter()
                    .find(|peer| peer.name == *target)
                    .with_context(|| format!("no pod {target} for the gateway"))?;
                envoy::gateway(&sidecar, *port, target, *target_port)
            }
            Kind::Meshed | Kind::Plain => envoy::sidecar(&sidecar),
        };
        if let Some(edit) = self.spec.edit {
            edit(&mut config);
        }
        Ok(config)
    }

    fn start_app(&mut self, around: &Surroundings<'_>) -> Result<()> {
        let (container, stdout, stderr) = self.add_container(APP, User::APP, around)?;
        let directory = self.directory.join("nginx");
        fs::create_dir_all(&directory)?;
        chown(&directory, Some(User::APP.0), Some(User::APP.0))?;
        let socket = directory.join("helper.socket");
        nginx::prepare(&directory, &self.spec.nginx_ports(), &socket)?;

        let place = self.place(container, User::APP);
        let mut app = place.command([self.helper.as_os_str()])?;
        app.arg("app")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let mut nginx = place.command(["nginx", "-e", "stderr", "-p"])?;
        nginx
            .arg(&directory)
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        self.others.push(Process::start(&mut app)?);
        self.others.push(Process::start(&mut nginx)?);
        Ok(())
    }

    /// Makes a container and returns its name with the ends that its programs write to.
    fn add_container(
        &mut self,
        name: &'static str,
        user: User,
        around: &Surroundings<'_>,
    ) -> Result<(&'static str, PipeWriter, PipeWriter)> {
        let mut container = Container::create(
            name,
            self.slice.path(),
            &format!("{}_{}", self.spec.namespace, self.spec.name),
            &format!("{}_{}", self.spec.name, self.spec.namespace),
            &self.uid,
            around.logs,
        )?;
        let mut writers = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (reader, writer) = std::io::pipe()?;
            // A program that is not root opens /dev/stdout anew, as Envoy does, only if it owns it.
            fchown(
                &writer,
                Some(Uid::from_raw(user.0)),
                Some(Gid::from_raw(user.0)),
            )?;
            container.log.follow(stream, reader);
            writers.push(writer);
        }
        self.containers.push(container);
        match (writers.pop(), writers.pop()) {
            (Some(stderr), Some(stdout)) => Ok((name, stdout, stderr)),
            _ => bail!("expected two pipes"),
        }
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
pub(crate) fn wait_for_listener(process: u32, port: u16) -> Result<()> {
    let deadline = Instant::now() + READY;
    // proc_pid_net(5): the local address, the remote one, the state; 0A is LISTEN.
    let suffix = format!(":{port:04X}");
    loop {
        let listens = ["tcp", "tcp6"].iter().any(|table| {
            fs::read_to_string(format!("/proc/{process}/net/{table}"))
                .unwrap_or_default()
                .lines()
                .any(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    fields.get(1).is_some_and(|local| local.ends_with(&suffix))
                        && fields.get(3) == Some(&"0A")
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
