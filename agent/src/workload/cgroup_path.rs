//! A cgroup's path into its owner.
//!
//! The kubelet and the container runtimes name cgroups by fixed rules. The systemd driver writes
//! `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/<runtime>-<id>.scope`
//! with `_` for each `-` of the uid (kubernetes: `pkg/kubelet/cm/cgroup_manager_linux.go`), the
//! cgroupfs driver `kubepods/burstable/pod<uid>/<id>`. Guaranteed pods have no level of a quality
//! of service. A kubelet with a `cgroupRoot` puts its name before: `kubelet-kubepods-…`.

use super::Owner;
use super::name::{is_container_id, is_pod_uid};

/// Prefixes of the scopes that hold a container, one per runtime.
const RUNTIMES: [&str; 3] = ["cri-containerd", "crio", "docker"];

/// Whose the cgroup at `path` is, as far as its path tells. `path` is relative to the cgroup2
/// mount; what lies below a container is the container's. Never [`Owner::Kubelet`]: that is
/// configured.
#[must_use]
pub fn owner_of(path: &str) -> Owner {
    let mut in_kubepods = false;
    let mut components = path.split('/').filter(|component| !component.is_empty());
    while let Some(component) = components.next() {
        if let Some(owner) = unmanaged_container(component) {
            return owner;
        }
        if let Some(pod_uid) = pod_of(component, in_kubepods) {
            return match components.find_map(container_of) {
                Some(container_id) => Owner::Container {
                    pod_uid,
                    container_id: container_id.to_owned(),
                },
                None => Owner::Pod { pod_uid },
            };
        }
        in_kubepods |= component == "kubepods";
    }
    Owner::Other
}

/// The uid in the name of a pod's cgroup, of either driver.
fn pod_of(component: &str, in_kubepods: bool) -> Option<String> {
    if let Some(slice) = component.strip_suffix(".slice") {
        let (parent, uid) = slice.rsplit_once("-pod")?;
        return is_kubepods_slice(parent)
            .then(|| uid.replace('_', "-"))
            .filter(|uid| is_pod_uid(uid));
    }
    let uid = component.strip_prefix("pod")?;
    (in_kubepods && is_pod_uid(uid)).then(|| uid.to_owned())
}

/// Whether a slice is that of all pods or of one quality of service, without `.slice`.
fn is_kubepods_slice(slice: &str) -> bool {
    let all_pods = slice
        .strip_suffix("-burstable")
        .or_else(|| slice.strip_suffix("-besteffort"))
        .unwrap_or(slice);
    all_pods == "kubepods" || all_pods.ends_with("-kubepods")
}

/// The runtime's id in the name of a container's cgroup. CRI-O's `crio-conmon-<id>` is the
/// monitor of a container, not the container.
fn container_of(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let id = RUNTIMES
        .iter()
        .find_map(|runtime| name.strip_prefix(runtime)?.strip_prefix('-'));
    match id {
        Some(id) => is_container_id(id).then_some(id),
        // The cgroupfs driver: the bare id, which containerd and Docker make 64 digits long.
        None => (component.len() == 64 && is_container_id(component)).then_some(component),
    }
}

/// `<pod slice>:cri-containerd:<id>`: a runtime with the cgroupfs driver under a kubelet with the
/// systemd driver takes the systemd notation for a name.
fn unmanaged_container(component: &str) -> Option<Owner> {
    let mut parts = component.split(':');
    let (slice, _prefix, id) = (parts.next()?, parts.next()?, parts.next()?);
    let pod_uid = pod_of(slice, false)?;
    (parts.next().is_none() && is_container_id(id)).then(|| Owner::Container {
        pod_uid,
        container_id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, proptest};

    use super::{Owner, owner_of};

    const ID: &str = "3f4a1c0de5b6a7980123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    const UID_: &str = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";
    const HASH: &str = "1f0e2d3c4b5a69788796a5b4c3d2e1f0";

    fn container(uid: &str) -> Owner {
        Owner::Container {
            pod_uid: uid.into(),
            container_id: ID.into(),
        }
    }

    fn pod(uid: &str) -> Owner {
        Owner::Pod {
            pod_uid: uid.into(),
        }
    }

    #[test]
    fn paths_of_every_driver_and_runtime() {
        let rows = [
            // systemd driver: containerd, CRI-O, Docker; each quality of service
            (
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/cri-containerd-{id}.scope",
                container(UID),
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/crio-{id}.scope/",
                container(UID),
            ),
            (
                "kubepods.slice/kubepods-pod{_}.slice/docker-{id}.scope",
                container(UID),
            ),
            ("kubepods.slice/kubepods-pod{_}.slice", pod(UID)),
            // the uid of a static pod is the hash of its file
            (
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-{id}.scope",
                container(HASH),
            ),
            ("kubepods/burstable/pod{hash}/{id}", container(HASH)),
            // CRI-O's monitor, and the container below its scope
            (
                "kubepods.slice/kubepods-pod{_}.slice/crio-conmon-{id}.scope",
                pod(UID),
            ),
            (
                "kubepods.slice/kubepods-pod{_}.slice/crio-{id}.scope/container",
                container(UID),
            ),
            // cgroupfs driver
            ("kubepods/besteffort/pod{uid}/{id}", container(UID)),
            ("kubepods/pod{uid}/{id}", container(UID)),
            ("kubepods/pod{uid}/crio-{id}", container(UID)),
            ("kubepods/pod{uid}/crio-conmon-{id}", pod(UID)),
            ("kubepods/pod{uid}", pod(UID)),
            // kind, and a node that is itself a container
            (
                "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{_}.slice/cri-containerd-{id}.scope",
                container(UID),
            ),
            (
                "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice",
                pod(UID),
            ),
            ("kubelet/kubepods/burstable/pod{uid}/{id}", container(UID)),
            (
                "system.slice/docker-{id}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice/cri-containerd-{id}.scope",
                container(UID),
            ),
            // nested: systemd in a container, kubevirt's own level
            (
                "kubepods.slice/kubepods-pod{_}.slice/cri-containerd-{id}.scope/system.slice/nginx.service",
                container(UID),
            ),
            (
                "kubepods.slice/kubepods-pod{_}.slice/cri-containerd-{id}.scope/docker-{hash}{hash}.scope",
                container(UID),
            ),
            (
                "kubepods.slice/kubepods-pod{_}.slice/virt/cri-containerd-{id}.scope",
                container(UID),
            ),
            (
                "kubepods.slice/kubepods-pod{_}.slice/cri-containerd-{id}.scope/kubepods/pod{hash}/{hash}{hash}",
                container(UID),
            ),
            // drivers that disagree
            (
                "system.slice/containerd.service/kubepods-burstable-pod{_}.slice:cri-containerd:{id}",
                container(UID),
            ),
            // outside pods, and look-alikes
            ("", Owner::Other),
            ("kubepods.slice/kubepods-burstable.slice", Owner::Other),
            ("system.slice/docker-{id}.scope", Owner::Other),
            ("user.slice/pod{uid}/{id}", Owner::Other),
            ("kubepods.slice/kubepods-podx.slice", Owner::Other),
            ("kubepods.slice/evil-pod{_}.slice", Owner::Other),
            ("mykubepods-pod{_}.slice", Owner::Other),
            (
                "kubepods.slice/kubepods-pod{_}.slice/cri-containerd-..scope",
                pod(UID),
            ),
        ];
        for (path, expected) in rows {
            let path = path
                .replace("{id}", ID)
                .replace("{uid}", UID)
                .replace("{_}", UID_)
                .replace("{hash}", HASH);
            assert_eq!(owner_of(&path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_has_an_owner(path in any::<String>(), nested in "[a-z/.:-]{0,64}") {
            let _ = owner_of(&path);
            let container = format!("kubepods/pod{UID}/{ID}");
            assert_eq!(owner_of(&format!("{container}/{path}/{nested}")), owner_of(&container));
        }
    }
}
