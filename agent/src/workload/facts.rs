//! Who is who on this node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capture::CgroupId;

/// One thing learnt about the pods of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadFact {
    /// A cgroup and whose it is. A nested cgroup is told with the container above it.
    Cgroup {
        /// The cgroup.
        id: CgroupId,
        /// Whose it is.
        owner: Owner,
    },
    /// A cgroup that was told is gone. Late events still resolve for minutes.
    CgroupGone {
        /// The cgroup.
        id: CgroupId,
    },
    /// The container's name became known (from `containers/`).
    Container {
        /// The runtime's id of it, as in its cgroup.
        id: String,
        /// The pod.
        pod_uid: String,
        /// Its name in the pod.
        name: String,
    },
    /// A pod, whenever what is known of it changes.
    Pod(Pod),
    /// The pod's log directory is gone. Late events still resolve for minutes.
    PodGone {
        /// The pod.
        uid: String,
    },
}

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// A container of a pod.
    Container {
        /// The pod.
        pod_uid: String,
        /// The runtime's id of the container.
        container_id: String,
    },
    /// A pod, but none of its containers.
    Pod {
        /// The pod.
        pod_uid: String,
    },
    /// The kubelet (`capture.kubelet`).
    Kubelet,
    /// Something outside pods.
    Other,
}

/// A pod as its log directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The names of the containers that have a log directory, sorted.
    pub containers: Vec<String>,
}
