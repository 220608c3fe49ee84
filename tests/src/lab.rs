//! The whole: a network, pods, one host outside.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    certificate::Authority,
    cgroup::{self, Cgroup},
    delivery::Certificates,
    envoy::Peer,
    network::{Addresses, Namespace},
    outside::Outside,
    pod::{Pod, PodSpec, Surroundings},
    process::{Place, User},
    requirements,
    sweep::{self, Turn},
};

/// The first pod's host number; the others follow.
const FIRST_POD: u8 = 11;
/// The outside host's number.
const OUTSIDE: u8 = 99;

/// A running lab. Dropped, it leaves nothing behind; killed, the next lab removes what it left.
pub struct Lab {
    // Fields are dropped in this order: the turn last.
    pods: Vec<Pod>,
    outside: Outside,
    kubelet: Cgroup,
    tools: Cgroup,
    hub: Namespace,
    peers: Vec<Peer>,
    authority: Authority,
    certificates: Certificates,
    agent: Cgroup,
    /// Above all other cgroups: they are there before the first and after the last.
    _slices: [Cgroup; 2],
    next: u8,
    mount: PathBuf,
    directory: TempDir,
    _turn: Turn,
}

impl Lab {
    /// Brings up a lab with these pods and the outside host, and waits until all of them serve.
    ///
    /// Waits first until no other lab runs on this machine, and removes what a killed one left.
    /// From then on SIGINT, SIGTERM and SIGHUP remove the lab before they end the process.
    ///
    /// # Errors
    ///
    /// If this is not root, a requirement is missing or a part does not come up.
    pub fn start(specs: impl IntoIterator<Item = PodSpec>) -> Result<Self> {
        requirements::check()?;
        let mount = cgroup::mount()?;
        let turn = Turn::take(&mount)?;

        let directory = tempfile::Builder::new()
            .prefix(sweep::DIRECTORY_PREFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        for name in ["logs/pods", "logs/containers"] {
            fs::create_dir_all(directory.path().join(name))?;
        }
        let authority = Authority::create(&directory.path().join("mesh"), "mesh")?;
        let certificates = Certificates::create(directory.path())?;
        let [pods, own] = ["kubepods.slice/kubepods-besteffort.slice", "mwlab.slice"]
            .map(|slice| Cgroup::create(&mount, Path::new(slice)));
        let slices = [pods?, own?];
        let agent = Cgroup::create(&mount, Path::new("mwlab.slice/agent.scope"))?;
        let tools = Cgroup::create(&mount, Path::new("mwlab.slice/tools.scope"))?;
        let kubelet = Cgroup::create(&mount, Path::new("system.slice/kubelet.service"))?;
        let hub = Namespace::hub()?;
        let outside = Outside::launch(&mount, &hub, Addresses::of(OUTSIDE), directory.path())?;
        let mut lab = Self {
            pods: Vec::new(),
            outside,
            kubelet,
            tools,
            hub,
            peers: Vec::new(),
            authority,
            certificates,
            agent,
            _slices: slices,
            next: FIRST_POD,
            mount,
            directory,
            _turn: turn,
        };
        lab.add_pods(specs)?;
        lab.outside.wait_until_ready()?;
        Ok(lab)
    }

    /// Adds pods that know each other and those that are there already, and waits until they
    /// serve. Older pods reach them as hosts outside the mesh.
    ///
    /// # Errors
    ///
    /// If a part does not come up.
    pub fn add_pods(&mut self, specs: impl IntoIterator<Item = PodSpec>) -> Result<()> {
        let mut new = Vec::new();
        for spec in specs {
            new.push((spec, Addresses::of(self.next)));
            self.next += 1;
        }
        self.launch(new)
    }

    /// Removes a pod and makes one from `spec` at its addresses: a new pod to Kubernetes, whatever
    /// it is called.
    ///
    /// # Errors
    ///
    /// If a part does not come up.
    pub fn replace_pod(&mut self, name: &str, spec: PodSpec) -> Result<()> {
        let addresses = self.pod(name).addresses();
        self.remove_pod(name);
        self.launch(vec![(spec, addresses)])
    }

    fn launch(&mut self, new: Vec<(PodSpec, Addresses)>) -> Result<()> {
        for (spec, addresses) in &new {
            self.peers.push(spec.peer(*addresses));
        }
        let around = Surroundings {
            mount: &self.mount,
            hub: &self.hub,
            tools: &self.tools,
            logs: &self.directory.path().join("logs"),
            directory: self.directory.path(),
            authority: &self.authority,
            peers: &self.peers,
        };
        let before = self.pods.len();
        for (spec, addresses) in new {
            self.pods.push(Pod::launch(spec, addresses, &around)?);
        }
        for pod in &mut self.pods[before..] {
            pod.wait_until_ready()?;
        }
        Ok(())
    }

    /// Removes a pod; its logs stay, as they do on a node for a while.
    pub fn remove_pod(&mut self, name: &str) {
        self.pods.retain(|pod| pod.name() != name);
        self.peers.retain(|peer| peer.name != name);
    }

    /// One of the pods.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    #[must_use]
    pub fn pod(&self, name: &str) -> &Pod {
        match self.pods.iter().find(|pod| pod.name() == name) {
            Some(pod) => pod,
            None => panic!("the lab has no pod {name}"),
        }
    }

    /// One of the pods, to change it.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn pod_mut(&mut self, name: &str) -> &mut Pod {
        match self.pods.iter_mut().find(|pod| pod.name() == name) {
            Some(pod) => pod,
            None => panic!("the lab has no pod {name}"),
        }
    }

    /// All pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The host outside the mesh.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// What the kubelet would call `/var/log`: it holds `pods/` and `containers/`.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    /// A directory for whatever goes with the lab.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The mount point of the cgroup2 hierarchy.
    #[must_use]
    pub fn cgroup_mount(&self) -> &Path {
        &self.mount
    }

    /// The certificates of agents and collectors.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Where the node's own programs run: in no pod, in the machine's network.
    #[must_use]
    pub fn node(&self, user: User) -> Place<'_> {
        Place {
            cgroup: self.tools.path(),
            namespace: None,
            user,
            capabilities: None,
        }
    }

    /// The cgroup of the agent, which the agent leaves out of what it watches.
    #[must_use]
    pub(crate) fn agent_cgroup(&self) -> &Path {
        self.agent.path()
    }

    /// Where the kubelet's probes come from: its cgroup, and the node's end of the bridge.
    #[must_use]
    pub fn kubelet(&self) -> Place<'_> {
        Place {
            cgroup: self.kubelet.path(),
            namespace: Some(&self.hub),
            user: User::ROOT,
            capabilities: None,
        }
    }
}
