//! What a pod is made from.

use std::time::Duration;

use serde_json::Value;

use crate::{
    envoy::{AccessLog, Format, Peer, Sidecar},
    iptables::Exclusions,
    network::Addresses,
    nginx,
    process::User,
};

/// What is in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An app and a sidecar.
    Meshed,
    /// A sidecar without an app: it listens in plain text and forwards into the mesh.
    Gateway {
        /// Where it listens.
        port: u16,
        /// The pod that it forwards to.
        target: String,
        /// That pod's port.
        target_port: u16,
    },
    /// An app without a sidecar.
    Plain,
}

/// What a pod is made from. Every method returns the changed specification.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) kind: Kind,
    pub(super) ports: Vec<u16>,
    pub(super) access_log: AccessLog,
    pub(super) flush: Duration,
    pub(super) exclusions: Exclusions,
    pub(super) denied: Vec<String>,
    pub(super) probe: Option<Duration>,
    pub(super) edit: Option<Edit>,
    pub(super) containers: Vec<&'static str>,
    pub(super) metrics: Option<u16>,
    pub(super) tcp_ports: Vec<u16>,
    pub(super) early: Vec<(&'static str, User, Vec<String>)>,
    pub(super) known: Option<Vec<String>>,
}

/// A change of Envoy's configuration, which may ask what the sidecar knows of the mesh.
pub type Edit = fn(&mut Value, &Sidecar<'_>);

impl PodSpec {
    /// A meshed pod in namespace `shop` with nginx as the app, logging in Istio's text.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            kind: Kind::Meshed,
            ports: vec![nginx::HTTP_PORT, nginx::HTTP2_PORT],
            access_log: AccessLog::default(),
            flush: Duration::from_millis(200),
            exclusions: Exclusions::default(),
            denied: Vec::new(),
            probe: None,
            edit: None,
            containers: Vec::new(),
            metrics: None,
            tcp_ports: Vec::new(),
            early: Vec::new(),
            known: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Puts it into another namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Makes it a gateway that listens on `port` and forwards to `target`.
    #[must_use]
    pub fn gateway(mut self, port: u16, target: &str, target_port: u16) -> Self {
        self.kind = Kind::Gateway {
            port,
            target: target.to_owned(),
            target_port,
        };
        self.ports = Vec::new();
        self
    }

    /// Leaves the sidecar out.
    #[must_use]
    pub fn without_sidecar(mut self) -> Self {
        self.kind = Kind::Plain;
        self
    }

    /// Sets the form of the access log's lines.
    #[must_use]
    pub fn logging(mut self, format: Format) -> Self {
        self.access_log.format = Some(format);
        self
    }

    /// Logs nothing.
    #[must_use]
    pub fn without_log(mut self) -> Self {
        self.access_log.format = None;
        self
    }

    /// Logs only what passes an `envoy.config.accesslog.v3.AccessLogFilter`.
    #[must_use]
    pub fn filtering(mut self, filter: Value) -> Self {
        self.access_log.filter = Some(filter);
        self
    }

    /// Sets how long Envoy may hold lines back; the default is 200 ms, Envoy's own is 10 s.
    #[must_use]
    pub fn flushing_after(mut self, flush: Duration) -> Self {
        self.flush = flush;
        self
    }

    /// Lets connections out to `port` pass by the sidecar.
    #[must_use]
    pub fn excluding_outbound(mut self, port: u16) -> Self {
        self.exclusions.outbound.push(port);
        self
    }

    /// Lets connections out to addresses in `range` (CIDR) pass by the sidecar.
    #[must_use]
    pub fn excluding_outbound_range(mut self, range: &str) -> Self {
        self.exclusions.outbound_ranges.push(range.to_owned());
        self
    }

    /// Lets connections in to `port` pass by the sidecar; nginx listens there too.
    #[must_use]
    pub fn excluding_inbound(mut self, port: u16) -> Self {
        self.exclusions.inbound.push(port);
        self
    }

    /// Refuses requests that come in for paths with this prefix, with 403 by the sidecar itself.
    #[must_use]
    pub fn denying(mut self, prefix: &str) -> Self {
        self.denied.push(prefix.to_owned());
        self
    }

    /// Lets pilot-agent probe the app at this interval.
    #[must_use]
    pub fn probing(mut self, interval: Duration) -> Self {
        self.probe = Some(interval);
        self
    }

    /// Changes Envoy's configuration before it starts.
    #[must_use]
    pub fn editing(mut self, edit: Edit) -> Self {
        self.edit = Some(edit);
        self
    }

    /// Adds a container, in which nothing runs until somebody starts it.
    #[must_use]
    pub fn with_container(mut self, name: &'static str) -> Self {
        self.containers.push(name);
        self
    }

    /// Lets pilot-agent ask the app for its metrics on `port` when it is asked for them.
    #[must_use]
    pub fn merging_metrics_from(mut self, port: u16) -> Self {
        self.metrics = Some(port);
        self
    }

    /// Lets the pod's service name `port`, on which somebody other than nginx will listen.
    #[must_use]
    pub fn naming(mut self, port: u16) -> Self {
        self.tcp_ports.push(port);
        self
    }

    /// Runs a command in a container before the sidecar starts. `HELPER` stands for the lab's own
    /// program, `OWN` for the pod's address.
    #[must_use]
    pub fn running_early(mut self, container: &'static str, user: User, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.early.push((container, user, words));
        self
    }

    /// Tells its sidecar of these pods only, as a `Sidecar` resource does in Istio. The default is
    /// all of the mesh, which costs an Envoy the more time to start the more there are.
    #[must_use]
    pub fn knowing<'a>(mut self, pods: impl IntoIterator<Item = &'a str>) -> Self {
        self.known = Some(pods.into_iter().map(str::to_owned).collect());
        self
    }

    /// What is in it.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// As the other sidecars know it.
    pub(crate) fn peer(&self, addresses: Addresses) -> Peer {
        let Self {
            name, namespace, ..
        } = self;
        Peer {
            name: name.clone(),
            host: format!("{name}.{namespace}.svc.cluster.local"),
            identity: format!("spiffe://cluster.local/ns/{namespace}/sa/{name}"),
            addresses,
            ports: [&self.ports[..], &self.tcp_ports].concat(),
        }
    }

    /// Whether its sidecar is told of a peer.
    pub(super) fn knows(&self, peer: &Peer) -> bool {
        let known = self.known.as_ref();
        known.is_none_or(|known| known.contains(&peer.name))
    }

    pub(super) fn nginx_ports(&self) -> Vec<nginx::Port> {
        self.ports
            .iter()
            .chain(&self.exclusions.inbound)
            .map(|port| match *port {
                nginx::HTTP2_PORT => nginx::Port::Http2(*port),
                _ => nginx::Port::Http1(*port),
            })
            .collect()
    }
}
