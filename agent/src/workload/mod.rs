//! Cgroup id to container to pod, without the Kubernetes API.

mod facts;

pub use facts::{Owner, Pod, WorkloadFact};
