//! How a pod comes up.

use std::{
    ffi::OsStr,
    fs,
    io::PipeWriter,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use rustix::fs::{Gid, Uid, fchown};

use super::{APP, Container, Kind, PROXY, Pod, PodSpec};
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
        for name in pod.spec.containers.clone() {
            pod.add_container(name, User::APP, around)?;
        }
        let has_app = !matches!(pod.spec.kind, Kind::Gateway { .. });
        let comes_early = !pod.spec.early.is_empty();
        if has_app && comes_early {
            pod.start_app(around)?;
            pod.run_early()?;
        }
        if pod.spec.kind != Kind::Plain {
            pod.start_proxy(around)?;
        }
        if has_app && !comes_early {
            pod.start_app(around)?;
        }
        Ok(pod)
    }

    fn run_early(&self) -> Result<()> {
        let own = self.addresses.v4.to_string();
        for (container, user, words) in &self.spec.early {
            let words = words.iter().map(|word| match word.as_str() {
                "HELPER" => self.helper.as_os_str(),
                "OWN" => OsStr::new(&own),
                word => OsStr::new(word),
            });
            // That it fails may be the point of it.
            self.run(container, *user, words)?;
        }
        Ok(())
    }

    fn start_proxy(&mut self, around: &Surroundings<'_>) -> Result<()> {
        let (container, stdout, stderr) = self.add_container(PROXY, User::PROXY, around)?;
        let config = self.directory.join("envoy.json");
        fs::write(&config, self.envoy_config(around)?.to_string())?;

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
        if let Some(port) = self.spec.metrics {
            command.arg("--metrics").arg(port.to_string());
        }
        self.others.push(Process::start(&mut command)?);
        Ok(())
    }

    fn envoy_config(&self, around: &Surroundings<'_>) -> Result<serde_json::Value> {
        let own = self.spec.peer(self.addresses);
        let peers = around.peers.iter().filter(|peer| self.spec.knows(peer));
        let peers: Vec<Peer> = peers.cloned().collect();
        let name = Name::Uri(own.identity.clone());
        let certificate = around
            .authority
            .issue(&self.spec.name, &[name], Validity::Current)?;
        let sidecar = Sidecar {
            own: &own,
            peers: &peers,
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
            edit(&mut config, &sidecar);
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
