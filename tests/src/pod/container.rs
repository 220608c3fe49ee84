//! One container of a pod.

use std::path::Path;

use anyhow::Result;

use crate::{cgroup::Cgroup, cri::Log, identifier};

/// A container: a cgroup and a log.
pub struct Container {
    /// Its name in the pod.
    pub name: &'static str,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Its log.
    pub log: Log,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

impl Container {
    /// Makes the cgroup below the pod's `slice` and the log below `logs`.
    ///
    /// `directory_name` is `<namespace>_<pod>`, `link_name` is `<pod>_<namespace>`.
    pub(super) fn create(
        name: &'static str,
        slice: &Path,
        directory_name: &str,
        link_name: &str,
        pod_uid: &str,
        logs: &Path,
    ) -> Result<Self> {
        let id = identifier::container_id()?;
        let cgroup = Cgroup::create(slice, Path::new(&format!("cri-containerd-{id}.scope")))?;
        let directory = logs
            .join("pods")
            .join(format!("{directory_name}_{pod_uid}"))
            .join(name);
        let link = logs
            .join("containers")
            .join(format!("{link_name}_{name}-{id}.log"));
        Ok(Self {
            name,
            id,
            log: Log::create(&directory, &link)?,
            cgroup,
        })
    }
}
