//! The pods of a scene: their containers, processes and addresses, and how they are told.

use std::net::{IpAddr, SocketAddr};

use meshwitness::{
    capture::{CgroupId, Cookie, Process},
    http::End,
    ledger::{Input, ListenerEnd, ListenerFact},
    timestamp::Timestamp,
    workload::{Owner, Pod as PodFact, WorkloadFact},
};

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Its place among the pods of the scene.
    pub(crate) index: usize,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) v6: bool,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Meshed,
    /// Without a sidecar.
    Plain,
    /// A proxy alone.
    Gateway,
}

/// Where the kubelet lives.
pub(crate) const KUBELET_CGROUP: CgroupId = 1;

/// A process in one of a pod's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    App,
    Proxy,
    PilotAgent,
    /// A second container with an app.
    OtherApp,
    /// Somebody else in the proxy's container.
    Foreign,
}

impl Pod {
    pub(crate) fn new(index: usize, random: &mut Random) -> Self {
        Self {
            index,
            uid: format!("{index:08}-0000-4000-8000-000000000000"),
            name: format!("pod-{index}"),
            v6: random.chance(20),
            kind: match index {
                0 => Kind::Meshed,
                _ => *random.pick(&[Kind::Meshed, Kind::Meshed, Kind::Plain, Kind::Gateway]),
            },
        }
    }

    /// What the directory of workloads tells of it.
    pub(crate) fn facts(&self) -> Vec<Input> {
        let containers = ["app", "istio-proxy", "other"];
        let has = |name: &&str| match self.kind {
            Kind::Meshed => true,
            Kind::Plain => *name != "istio-proxy",
            Kind::Gateway => *name == "istio-proxy",
        };
        let mut facts = Vec::new();
        for (at, name) in containers.iter().enumerate().filter(|(_, name)| has(name)) {
            let id = format!("{}-{name}", self.name);
            let owner = Owner::Container {
                pod_uid: self.uid.clone(),
                container_id: id.clone(),
            };
            let cgroup = self.first_cgroup() + at as u64;
            facts.push(WorkloadFact::Cgroup { id: cgroup, owner });
            let (pod_uid, name) = (self.uid.clone(), (*name).to_owned());
            facts.push(WorkloadFact::Container { id, pod_uid, name });
        }
        facts.push(WorkloadFact::Pod(PodFact {
            uid: self.uid.clone(),
            namespace: "shop".into(),
            name: self.name.as_str().into(),
            containers: containers
                .iter()
                .filter(|name| has(name))
                .map(|name| (*name).to_owned())
                .collect(),
        }));
        facts.into_iter().map(Input::Workload).collect()
    }

    /// What is told when the proxy and pilot-agent bind their ports.
    pub(crate) fn listeners(&self, time: Timestamp) -> Vec<Input> {
        if self.kind == Kind::Plain {
            return Vec::new();
        }
        let ports = [
            (15001, Part::Proxy),
            (15006, Part::Proxy),
            (15020, Part::PilotAgent),
        ];
        let listener = |(port, part)| {
            Input::Listener(ListenerFact {
                cookie: self.listener_cookie(port),
                time,
                cgroup: self.cgroup(part),
                process: self.process(part),
                port,
            })
        };
        ports.into_iter().map(listener).collect()
    }

    /// What is told when one of these ports is closed.
    pub(crate) fn listener_end(&self, port: u16, time: Timestamp) -> ListenerEnd {
        let part = match port {
            15020 => Part::PilotAgent,
            _ => Part::Proxy,
        };
        ListenerEnd {
            cookie: Some(self.listener_cookie(port)),
            time,
            cgroup: self.cgroup(part),
            pid: self.process(part).pid,
        }
    }

    fn listener_cookie(&self, port: u16) -> Cookie {
        self.first_cgroup() * 1_000 + u64::from(port)
    }

    pub(crate) fn address(&self) -> IpAddr {
        let last = u8::try_from(self.index + 1).unwrap();
        if self.v6 {
            format!("fd77::{last:x}").parse().unwrap()
        } else {
            IpAddr::from([10, 1, 0, last])
        }
    }

    /// From where the proxy calls the app.
    pub(crate) fn inbound_source(&self) -> IpAddr {
        if self.v6 {
            "::6".parse().unwrap()
        } else {
            IpAddr::from([127, 0, 0, 6])
        }
    }

    /// Where REDIRECT sends what the app sends.
    pub(crate) fn outbound_listener(&self) -> SocketAddr {
        let address = if self.v6 {
            "[::1]:15001"
        } else {
            "127.0.0.1:15001"
        };
        address.parse().unwrap()
    }

    pub(crate) fn end(&self, part: Part, local: SocketAddr, remote: SocketAddr) -> End {
        End {
            cookie: 0,
            cgroup: self.cgroup(part),
            process: Some(self.process(part)),
            local,
            remote,
        }
    }

    fn process(&self, part: Part) -> Process {
        let (offset, user, command) = match part {
            Part::App => (0, 1000, "app"),
            Part::Proxy => (1, 1337, "envoy"),
            Part::PilotAgent => (2, 1337, "pilot-agent"),
            Part::OtherApp => (3, 1000, "other"),
            Part::Foreign => (4, 1337, "curl"),
        };
        Process {
            pid: u32::try_from(100 + 10 * self.index).unwrap() + offset,
            user,
            command: command.into(),
        }
    }

    pub(crate) fn cgroup(&self, part: Part) -> CgroupId {
        match part {
            Part::App => self.first_cgroup(),
            Part::Proxy | Part::PilotAgent | Part::Foreign => self.first_cgroup() + 1,
            Part::OtherApp => self.first_cgroup() + 2,
        }
    }

    fn first_cgroup(&self) -> CgroupId {
        1_000 + 10 * self.index as u64
    }
}
