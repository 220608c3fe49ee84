//! Which cgroups are watched, and which is the agent's own.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    capture::{self, MountError},
    config::{self, CgroupMount},
};

/// Where the cgroup v2 hierarchy is mounted.
///
/// # Errors
/// It is not found, or the configured path is none.
pub fn cgroup_mount(capture: &config::Capture) -> Result<PathBuf, MountError> {
    match &capture.cgroup {
        CgroupMount::Auto => capture::cgroup2_root(),
        CgroupMount::Path(path) => capture::is_cgroup2_root(path).map(|_| path.clone()),
    }
}

/// The cgroups to attach at: each that exists, the kubelet's too; none of the pods': the root.
#[must_use]
pub fn cgroups(mount: &Path, capture: &config::Capture) -> Vec<PathBuf> {
    let existing = |names: &[String]| -> Vec<PathBuf> {
        names
            .iter()
            .map(|name| mount.join(name))
            .filter(|path| path.is_dir())
            .collect()
    };
    let pods = existing(&capture.attach);
    if pods.is_empty() {
        return vec![mount.to_owned()];
    }
    pods.into_iter().chain(existing(&capture.kubelet)).collect()
}

/// The cgroup of this process, which is left out of what is captured.
///
/// In a cgroup namespace of its own a container sees that cgroup as the root of its mount.
pub(super) fn own_cgroup(mount: &Path) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))?;
    let directory = match path {
        "" => PathBuf::from("/sys/fs/cgroup"),
        path => mount.join(path),
    };
    // Never the root of the hierarchy, which is everything.
    match capture::is_cgroup2_root(&directory) {
        Ok(false) => Some(fs::metadata(directory).ok()?.ino()),
        _ => None,
    }
}
