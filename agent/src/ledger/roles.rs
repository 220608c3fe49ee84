//! Who is who: from a cgroup and a process to a part in the mesh.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::{
    input::{ListenerEnd, ListenerFact},
    proxy_end::ProxyListeners,
};
use crate::{
    capture::{CgroupId, Process},
    http::End,
    number_map::NumberMap,
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

/// A new pod without a proxy's directory counts as one without a sidecar after this long.
const PATIENCE_WITH_NEW_PODS: Duration = Duration::from_secs(60);

/// Ports on which pilot-agent listens: status, health, DNS.
const PILOT_AGENT_PORTS: [u16; 3] = [15020, 15021, 15053];

/// The mesh's own init containers.
const MESH_INIT_CONTAINERS: [&str; 2] = ["istio-init", "istio-validation"];

/// Pods, cgroups and names of containers that are kept, each: more than the agent's view of a node
/// holds at once, and those that are gone besides.
const KEPT: usize = 65_536;

/// Pods and cgroups that are remembered after they are gone, each, for what still comes of them:
/// those that went last.
const KEPT_GONE: usize = 16_384;

/// What the agent knows of cgroups, containers, pods and listeners.
#[derive(Debug)]
pub(super) struct Roles {
    proxy_containers: Vec<String>,
    mesh_listeners: Vec<u16>,
    cgroups: NumberMap<CgroupId, Owner>,
    containers: HashMap<String, (String, String)>,
    containers_of_pods: HashMap<String, BTreeSet<String>>,
    pods: BTreeMap<String, PodFacts>,
    /// What is gone, in the order in which it went.
    gone_cgroups: VecDeque<CgroupId>,
    gone_pods: VecDeque<String>,
    started: Option<Timestamp>,
    has_kubelet: bool,
}

#[derive(Debug, Default)]
struct PodFacts {
    pod: Option<Pod>,
    /// Known before the programs were attached: judged at once.
    at_start: bool,
    first_event: Option<Timestamp>,
    /// It had a proxy's directory once; it stays meshed after the proxy's end.
    meshed: bool,
    proxies: BTreeSet<u32>,
    pilot_agents: BTreeSet<u32>,
    gone: bool,
    /// The kernel found the proxy's listener in its container.
    proven: bool,
    listeners: ProxyListeners,
    /// When the proxy was seen to listen first and last, and when it ended last. One that was seen
    /// to has a container no older than the agent.
    first_listened: Option<Timestamp>,
    last_listened: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// Whether a pod's proxy was there at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    /// It had not listened yet.
    NotYet,
    /// It was, as far as is known.
    There,
    /// It had ended.
    Gone,
}

/// The part that one end of a connection plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An app container (or something of the pod outside its containers).
    App(Place),
    /// The sidecar. `by_name`: its listeners are older than the agent.
    Proxy { place: Place, by_name: bool },
    /// pilot-agent.
    PilotAgent(Place),
    /// Another program in the proxy's container.
    Foreign(Place),
    /// An init container of the mesh.
    MeshInit(Place),
    /// The kubelet.
    Kubelet,
    /// Outside pods.
    Nobody,
}

/// A pod and a container in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pod_uid: Arc<str>,
    pub(super) container: Option<(Arc<str>, Option<Arc<str>>)>,
}

impl Role {
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::App(place)
            | Self::Proxy { place, .. }
            | Self::PilotAgent(place)
            | Self::Foreign(place)
            | Self::MeshInit(place) => Some(place),
            Self::Kubelet | Self::Nobody => None,
        }
    }
}

/// What kind of pod it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PodKind {
    /// It has a sidecar and an app.
    Meshed,
    /// It has a proxy and no app container.
    Gateway,
    /// It has no sidecar.
    Plain,
}

impl Roles {
    pub(super) fn new(proxy_containers: Vec<String>, mesh_listeners: Vec<u16>) -> Self {
        Self {
            proxy_containers,
            mesh_listeners,
            cgroups: NumberMap::default(),
            containers: HashMap::new(),
            containers_of_pods: HashMap::new(),
            pods: BTreeMap::new(),
            gone_cgroups: VecDeque::new(),
            gone_pods: VecDeque::new(),
            started: None,
            has_kubelet: false,
        }
    }

    /// The programs are attached; what is known so far was there before.
    pub(super) fn start(&mut self, time: Timestamp) {
        self.started = Some(time);
        for facts in self.pods.values_mut() {
            facts.at_start = true;
        }
    }

    pub(super) fn learn(&mut self, fact: WorkloadFact) {
        match fact {
            WorkloadFact::Cgroup { id, owner } => {
                self.has_kubelet |= owner == Owner::Kubelet;
                if self.cgroups.len() < KEPT || self.cgroups.contains_key(&id) {
                    self.cgroups.insert(id, owner);
                }
            }
            WorkloadFact::CgroupGone { id } => {
                self.gone_cgroups.push_back(id);
                if self.gone_cgroups.len() > KEPT_GONE {
                    self.forget_oldest_cgroup();
                }
            }
            WorkloadFact::Container { id, pod_uid, name } => {
                if self.containers.len() < KEPT || self.containers.contains_key(&id) {
                    let of_pod = self.containers_of_pods.entry(pod_uid.clone()).or_default();
                    of_pod.insert(id.clone());
                    self.containers.insert(id, (pod_uid, name));
                }
            }
            WorkloadFact::Pod(pod) => {
                if self.pods.len() >= KEPT && !self.pods.contains_key(&pod.uid) {
                    return;
                }
                let facts = self.pods.entry(pod.uid.clone()).or_default();
                facts.at_start |= self.started.is_none();
                facts.meshed |= pod
                    .containers
                    .iter()
                    .any(|c| self.proxy_containers.contains(c));
                facts.gone = false;
                facts.pod = Some(pod);
            }
            WorkloadFact::PodGone { uid } => {
                if let Some(facts) = self.pods.get_mut(&uid) {
                    facts.gone = true;
                    self.gone_pods.push_back(uid);
                }
                if self.gone_pods.len() > KEPT_GONE {
                    self.forget_oldest_pod();
                }
            }
        }
    }

    fn forget_oldest_cgroup(&mut self) {
        let oldest = self.gone_cgroups.pop_front();
        if let Some(Owner::Pod { pod_uid }) = oldest.and_then(|id| self.cgroups.remove(&id)) {
            let was_never_named = |facts: &PodFacts| facts.pod.is_none();
            if self.pods.get(&pod_uid).is_some_and(was_never_named) {
                self.forget_pod(&pod_uid);
            }
        }
    }

    fn forget_oldest_pod(&mut self) {
        if let Some(uid) = self.gone_pods.pop_front()
            && self.is_gone(&uid)
        {
            self.forget_pod(&uid);
        }
    }

    fn forget_pod(&mut self, uid: &str) {
        self.pods.remove(uid);
        for id in self.containers_of_pods.remove(uid).into_iter().flatten() {
            if self
                .containers
                .get(&id)
                .is_some_and(|(owner, _)| owner == uid)
            {
                self.containers.remove(&id);
            }
        }
    }

    pub(super) fn listen(&mut self, listener: &ListenerFact) {
        let Some(Owner::Container {
            pod_uid,
            container_id,
        }) = self.cgroups.get(&listener.cgroup)
        else {
            return;
        };
        let in_proxy_container = self
            .containers
            .get(container_id)
            .is_some_and(|(_, name)| self.proxy_containers.contains(name));
        if !in_proxy_container {
            return;
        }
        let facts = self.pods.entry(pod_uid.clone()).or_default();
        if self.mesh_listeners.contains(&listener.port) {
            facts.proxies.insert(listener.process.pid);
            facts
                .listeners
                .opened(listener.cookie, listener.process.pid);
            let first = facts.first_listened.get_or_insert(listener.time);
            *first = listener.time.min(*first);
            facts.last_listened = facts.last_listened.max(Some(listener.time));
        } else if PILOT_AGENT_PORTS.contains(&listener.port) {
            facts.pilot_agents.insert(listener.process.pid);
        }
    }

    /// A socket listens no more. The pod whose proxy thereby ended, if it did.
    pub(super) fn unlisten(&mut self, end: &ListenerEnd) -> Option<&str> {
        let Some(Owner::Container {
            pod_uid,
            container_id,
        }) = self.cgroups.get(&end.cgroup)
        else {
            return None;
        };
        let (_, name) = self.containers.get(container_id)?;
        if !self.proxy_containers.contains(name) {
            return None;
        }
        let facts = self.pods.get_mut(pod_uid)?;
        let is_pilot_agent = facts.pilot_agents.contains(&end.pid);
        let ended = !is_pilot_agent && facts.listeners.closed(end);
        if ended {
            facts.ended = facts.ended.max(Some(end.time));
        }
        ended.then_some(pod_uid)
    }

    /// Whether a listener's role can be decided yet: its container's name is known.
    pub(super) fn knows(&self, cgroup: CgroupId) -> bool {
        match self.cgroups.get(&cgroup) {
            Some(Owner::Container { container_id, .. }) => {
                self.containers.contains_key(container_id)
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Whether a cgroup is of this pod.
    pub(super) fn is_of(&self, cgroup: CgroupId, uid: &str) -> bool {
        match self.cgroups.get(&cgroup) {
            Some(Owner::Pod { pod_uid } | Owner::Container { pod_uid, .. }) => pod_uid == uid,
            Some(Owner::Kubelet | Owner::Other) | None => false,
        }
    }

    /// Whether probes of the kubelet can be told.
    pub(super) fn has_kubelet(&self) -> bool {
        self.has_kubelet
    }

    /// Whether this port is one of the proxy's.
    pub(super) fn is_mesh_listener(&self, port: u16) -> bool {
        self.mesh_listeners.contains(&port)
    }

    /// The pod's names, if its log directory was seen.
    pub(super) fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid).and_then(|facts| facts.pod.as_ref())
    }

    /// The kernel found the socket behind a mesh listener in the pod's proxy container.
    pub(super) fn prove_container(&mut self, uid: &str) {
        self.pods.entry(uid.to_owned()).or_default().proven = true;
    }

    /// Whether it did.
    pub(super) fn is_proven(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|facts| facts.proven)
    }

    /// A line of the proxy's log agreed with what this thread group carried.
    pub(super) fn prove_proxy(&mut self, uid: &str, pid: Option<u32>) {
        if let Some(pid) = pid {
            self.pods
                .entry(uid.to_owned())
                .or_default()
                .proxies
                .insert(pid);
        }
    }

    /// Whether this thread group is known as the pod's proxy.
    pub(super) fn is_proxy(&self, uid: &str, pid: Option<u32>) -> bool {
        let facts = self.pods.get(uid);
        pid.is_some_and(|pid| facts.is_some_and(|facts| facts.proxies.contains(&pid)))
    }

    /// Whether the pod's proxy was there at this time.
    pub(super) fn sidecar(&self, uid: &str, time: Timestamp) -> Sidecar {
        let Some(facts) = self.pods.get(uid) else {
            return Sidecar::There;
        };
        let listens_again = |ended| {
            facts
                .last_listened
                .is_some_and(|last| ended <= last && last <= time)
        };
        let is_early = facts.first_listened.is_none_or(|first| time < first);
        match facts.ended {
            Some(ended) if ended <= time && !listens_again(ended) => Sidecar::Gone,
            None if is_early && !facts.at_start => Sidecar::NotYet,
            _ => Sidecar::There,
        }
    }

    /// Whether an end is an app's.
    pub(super) fn is_app(&self, end: &End) -> bool {
        matches!(self.role(end), Some(Role::App(_)))
    }

    /// Whether the pod's log directory is gone.
    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.pods.get(uid).is_none_or(|facts| facts.gone)
    }

    /// What kind of pod it is; none while that is open and `now` is within the patience.
    pub(super) fn kind(&mut self, uid: &str, now: Timestamp) -> Option<PodKind> {
        let proxy_containers = &self.proxy_containers;
        let facts = self.pods.entry(uid.to_owned()).or_default();
        let first_event = *facts.first_event.get_or_insert(now);
        if facts.meshed {
            let is_app = |container: &String| !proxy_containers.contains(container);
            let has_app = facts
                .pod
                .as_ref()
                .is_some_and(|pod| pod.containers.iter().any(is_app));
            return Some(if has_app {
                PodKind::Meshed
            } else {
                PodKind::Gateway
            });
        }
        let judged = facts.at_start || now.since(first_event) >= PATIENCE_WITH_NEW_PODS;
        judged.then_some(PodKind::Plain)
    }

    /// The role of an end; none while its cgroup or the name of its container is not known.
    pub(super) fn role(&self, end: &End) -> Option<Role> {
        match self.cgroups.get(&end.cgroup)? {
            Owner::Kubelet => Some(Role::Kubelet),
            Owner::Other => Some(Role::Nobody),
            Owner::Pod { pod_uid } => Some(Role::App(Place {
                pod_uid: pod_uid.as_str().into(),
                container: None,
            })),
            Owner::Container {
                pod_uid,
                container_id,
            } => {
                let (_, name) = self.containers.get(container_id)?;
                let place = Place {
                    pod_uid: pod_uid.as_str().into(),
                    container: Some((container_id.as_str().into(), Some(name.as_str().into()))),
                };
                Some(self.role_in_container(place, name, end))
            }
        }
    }

    /// The role of whoever it is in a cgroup.
    pub(super) fn role_in(&self, cgroup: CgroupId) -> Option<Role> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.role(&End {
            cookie: 0,
            cgroup,
            process: None,
            local: nowhere,
            remote: nowhere,
        })
    }

    /// The role of an end whose container's name never became known.
    pub(super) fn role_without_name(&self, end: &End) -> Role {
        match self.cgroups.get(&end.cgroup) {
            Some(Owner::Container {
                pod_uid,
                container_id,
            }) => Role::App(Place {
                pod_uid: pod_uid.as_str().into(),
                container: Some((container_id.as_str().into(), None)),
            }),
            _ => self.role(end).unwrap_or(Role::Nobody),
        }
    }

    fn role_in_container(&self, place: Place, name: &str, end: &End) -> Role {
        if MESH_INIT_CONTAINERS.contains(&name) {
            return Role::MeshInit(place);
        }
        if !self.proxy_containers.iter().any(|proxy| proxy == name) {
            return Role::App(place);
        }
        let facts = self.pods.get(&*place.pod_uid);
        let pid = end.process.as_ref().map(|process: &Process| process.pid);
        let proxies = facts
            .map(|facts| &facts.proxies)
            .filter(|proxies| !proxies.is_empty());
        let is_pilot_agent = PILOT_AGENT_PORTS.contains(&end.local.port())
            || pid.is_some_and(|pid| facts.is_some_and(|facts| facts.pilot_agents.contains(&pid)));
        match (proxies, pid) {
            _ if is_pilot_agent => Role::PilotAgent(place),
            (Some(proxies), Some(pid)) if proxies.contains(&pid) => Role::Proxy {
                place,
                by_name: false,
            },
            // pilot-agent may be older than the agent and have shown no listener.
            (Some(_), Some(_))
                if facts.is_some_and(|facts| {
                    facts.pilot_agents.is_empty() && facts.first_listened.is_none()
                }) =>
            {
                Role::PilotAgent(place)
            }
            (Some(_), Some(_)) => Role::Foreign(place),
            _ => Role::Proxy {
                place,
                by_name: true,
            },
        }
    }
}
