//! Cgroup id to container to pod, without the Kubernetes API.
//!
//! - [`Directory`]: follows the cgroup tree and the log directory, and tells [`WorkloadFact`]s
//! - [`owner_of`]: a cgroup's path into its owner
//! - [`Problem`]: what keeps the directory from knowing everything

mod cgroup_path;
mod cgroup_tree;
mod directory;
mod facts;
mod log_name;
mod log_tree;
mod name;
mod problem;
mod queue;
#[cfg(test)]
mod tests;
mod watcher;

pub use cgroup_path::owner_of;
pub use directory::{Counts, Directory, Places};
pub use facts::{Owner, Pod, WorkloadFact};
pub use problem::{Problem, ProblemReport};
