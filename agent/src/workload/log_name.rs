//! The names that the kubelet gives beneath the log directory.
//!
//! `pods/<namespace>_<pod>_<uid>/<container>/<restarts>.log` holds the logs, and
//! `containers/<pod>_<namespace>_<container>-<id>.log` is a symbolic link to the current one. The
//! kubelet cuts the link's name to 255 characters in front of `.log`
//! (kubernetes: `pkg/kubelet/kuberuntime/legacy.go`), so the id may lack its end or be gone.

use super::name::{is_container_id, is_hexadecimal, is_label, is_pod_uid, is_subdomain};

/// The longest name of a file on the file systems that the kubelet reckons with.
const LONGEST_FILE_NAME: usize = 255;

/// What the name of a directory in `pods/` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodDirectory<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
}

/// Reads the name of a directory in `pods/`; none if the kubelet would not write it.
pub(super) fn pod_directory(name: &str) -> Option<PodDirectory<'_>> {
    let mut parts = name.split('_');
    let directory = PodDirectory {
        namespace: parts.next()?,
        pod: parts.next()?,
        uid: parts.next()?,
    };
    let is_valid = parts.next().is_none()
        && is_label(directory.namespace)
        && is_subdomain(directory.pod)
        && is_pod_uid(directory.uid);
    is_valid.then_some(directory)
}

/// What a link in `containers/` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerLink<'a> {
    pub(super) pod_uid: &'a str,
    /// The container's name in the pod.
    pub(super) name: &'a str,
    pub(super) id: LinkedId<'a>,
}

/// The container's id in a link's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkedId<'a> {
    /// All of it.
    Whole(&'a str),
    /// The name was cut: this is how the id begins, possibly empty.
    Prefix(&'a str),
}

/// Reads a link in `containers/` by its name and its target, as text; none if the kubelet would
/// not write it, or if the two do not speak of one container.
///
/// The target names the container for sure (none of its parts can be cut), so the name is only
/// asked for the id. The directory that holds `pods/` is not compared: the agent may see it under
/// another path.
pub(super) fn container_link<'a>(name: &'a str, target: &'a str) -> Option<ContainerLink<'a>> {
    let mut components = target.rsplit('/');
    let (file, container, directory) = (components.next()?, components.next()?, components.next()?);
    let pod = pod_directory(directory)?;
    if !file.ends_with(".log") || !is_label(container) {
        return None;
    }

    let stem = name.strip_suffix(".log")?;
    let before_id = format!("{}_{}_{container}-", pod.pod, pod.namespace);
    let id = match stem.strip_prefix(&before_id) {
        Some(id) if is_container_id(id) && name.len() < LONGEST_FILE_NAME => LinkedId::Whole(id),
        // The longest id that there is was not cut even if the name is as long as it can be.
        Some(id) if is_container_id(id) && id.len() == 64 => LinkedId::Whole(id),
        Some(id) if is_hexadecimal(id) && name.len() == LONGEST_FILE_NAME => LinkedId::Prefix(id),
        None if before_id.starts_with(stem) && name.len() == LONGEST_FILE_NAME => {
            LinkedId::Prefix("")
        }
        _ => return None,
    };
    Some(ContainerLink {
        pod_uid: pod.uid,
        name: container,
        id,
    })
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, proptest};

    use super::{ContainerLink, LinkedId, PodDirectory, container_link, pod_directory};

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    const ID: &str = "3f4a1c0de5b6a7980123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pod_directories() {
        let name = format!("shop_web-0.x_{UID}");
        let expected = PodDirectory {
            namespace: "shop",
            pod: "web-0.x",
            uid: UID,
        };
        assert_eq!(pod_directory(&name), Some(expected));
        let hash = "kube-system_etcd-node1_1f0e2d3c4b5a69788796a5b4c3d2e1f0";
        assert!(pod_directory(hash).is_some());
        for name in [
            "",
            UID,
            "shop_web",
            "shop_web_uid",
            "_web_1f0e2d3c4b5a69788796a5b4c3d2e1f0",
            "shop_we\u{1b}b_1f0e2d3c4b5a69788796a5b4c3d2e1f0",
            "shop.x_web_1f0e2d3c4b5a69788796a5b4c3d2e1f0",
            "shop_web_1f0e2d3c4b5a69788796a5b4c3d2e1f0_",
            ".._.._1f0e2d3c4b5a69788796a5b4c3d2e1f0",
        ] {
            assert_eq!(pod_directory(name), None, "{name:?}");
        }
    }

    /// The kubelet's own rule for a link's name.
    fn link_name(pod: &str, namespace: &str, container: &str) -> String {
        let mut stem = format!("{pod}_{namespace}_{container}-{ID}");
        stem.truncate(255 - ".log".len());
        stem + ".log"
    }

    #[test]
    fn links_of_every_length() {
        // (length of the pod's name, digits of the id that are left)
        for (length, expected) in [(3, 64), (180, 64), (181, 63), (200, 44), (244, 0), (250, 0)] {
            let pod = "p".repeat(length);
            let name = link_name(&pod, "a", "app");
            let target = format!("/var/log/pods/a_{pod}_{UID}/app/0.log");
            let id = match expected {
                64 => LinkedId::Whole(ID),
                digits => LinkedId::Prefix(&ID[..digits]),
            };
            let link = ContainerLink {
                pod_uid: UID,
                name: "app",
                id,
            };
            assert_eq!(container_link(&name, &target), Some(link), "{length}");
        }
    }

    #[test]
    fn links_that_the_kubelet_would_not_write() {
        let name = link_name("web", "shop", "app");
        let target = format!("../pods/shop_web_{UID}/app/12.log");
        assert!(container_link(&name, &target).is_some());
        for (name, target) in [
            (name.as_str(), ""),
            (&name, "/etc/passwd"),
            (&name, &format!("/var/log/pods/shop_web_{UID}/app/0.txt")),
            (&name, &format!("/var/log/pods/shop_web_{UID}/other/0.log")),
            (&name, &format!("/var/log/pods/bank_web_{UID}/app/0.log")),
            (&name, &format!("/var/log/pods/shop_web_{UID}/../0.log")),
            ("web_shop_app-.log", &target),
            ("web_shop_app-3f4a1c0d.log", &target),
            ("web_shop_app", &target),
            ("web_shop_app-3f4a1c0de5b6\n.log", &target),
            ("", &target),
        ] {
            assert_eq!(container_link(name, target), None, "{name:?} {target:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(name in any::<String>(), target in any::<String>()) {
            pod_directory(&name);
            container_link(&name, &target);
            container_link(&name, &format!("/pods/shop_web_{UID}/app/{target}.log"));
        }
    }
}
