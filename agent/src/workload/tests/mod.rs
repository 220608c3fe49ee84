//! The directory over real trees: of plain directories, and of real cgroups.

mod cgroups;
mod logs;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Directory, Owner, Places, Pod, Problem, ProblemReport, WorkloadFact};

const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const ID: &str = "3f4a1c0de5b6a7980123456789abcdef0123456789abcdef0123456789abcdef";

/// A node of plain directories, and the directory that follows it.
struct Node {
    root: TempDir,
    directory: Directory,
    now: Instant,
}

impl Node {
    /// With an empty log directory and one attach cgroup.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for path in ["log/pods", "log/containers", "cgroup/kubepods.slice"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        Self::over(root)
    }

    fn over(root: TempDir) -> Self {
        let directory = Directory::new(Places {
            cgroup_mount: root.path().join("cgroup"),
            attach: vec!["kubepods.slice".into(), "/kubepods/".into()],
            kubelet: vec!["system.slice/kubelet.service".into()],
            log_root: root.path().join("log"),
        });
        Self {
            root,
            directory,
            now: Instant::now(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn make(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.path(path)).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.path("log/containers").join(name)).unwrap();
    }

    /// Polls until no work is left; notices of what was done before are there at once.
    fn poll(&mut self) -> Vec<WorkloadFact> {
        let mut facts = self.directory.poll(self.now);
        while self.directory.deadline(self.now) <= self.now {
            facts.extend(self.directory.poll(self.now));
        }
        facts
    }

    /// Lets time pass up to the next rescan.
    fn poll_later(&mut self) -> Vec<WorkloadFact> {
        self.now = self.directory.deadline(self.now);
        self.poll()
    }

    /// As [`Self::poll`], without what it tells of cgroups.
    fn poll_logs(&mut self) -> Vec<WorkloadFact> {
        let mut facts = self.poll();
        facts.retain(|fact| !matches!(fact, WorkloadFact::Cgroup { .. }));
        facts
    }

    fn cgroup(&self, path: &str, owner: Owner) -> WorkloadFact {
        cgroup(&self.path("cgroup").join(path), owner)
    }

    fn problems(&self) -> Vec<Problem> {
        self.directory.problems().cloned().collect()
    }
}

fn cgroup(path: &Path, owner: Owner) -> WorkloadFact {
    WorkloadFact::Cgroup {
        id: fs::metadata(path).unwrap().ino(),
        owner,
    }
}

fn pod(containers: &[&str]) -> WorkloadFact {
    WorkloadFact::Pod(Pod {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "web".into(),
        containers: containers.iter().map(|&name| name.into()).collect(),
    })
}

fn container(name: &str) -> WorkloadFact {
    WorkloadFact::Container {
        id: ID.into(),
        pod_uid: UID.into(),
        name: name.into(),
    }
}

fn pod_slice() -> String {
    format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"))
}

fn container_scope() -> String {
    format!("{}/cri-containerd-{ID}.scope", pod_slice())
}

fn of_container() -> Owner {
    Owner::Container {
        pod_uid: UID.into(),
        container_id: ID.into(),
    }
}

/// Sorted, for facts that have no order among them.
fn sorted(mut facts: Vec<WorkloadFact>) -> Vec<WorkloadFact> {
    facts.sort_by_key(|fact| format!("{fact:?}"));
    facts
}

#[test]
fn a_settled_directory_waits_for_its_next_rescan() {
    let mut node = Node::new();
    assert!(!node.directory.is_settled());
    node.poll();
    assert!(node.directory.is_settled());
    assert!(node.directory.descriptor().is_some());
    let wait = node.directory.deadline(node.now) - node.now;
    assert_eq!(wait, Duration::from_secs(30));
    assert_eq!(node.poll_later(), []);
}

#[test]
fn a_missing_node_is_told_once_and_mended() {
    let mut node = Node::over(tempfile::tempdir().unwrap());
    assert_eq!(node.poll(), []);
    let log = node.path("log/");
    let expected = [
        Problem::CgroupRootMissing {
            path: node.path("cgroup"),
        },
        Problem::LogDirectoryMissing { path: log },
    ];
    assert_eq!(node.problems(), expected);
    assert_eq!(
        node.directory.take_reports(),
        expected.clone().map(ProblemReport::Raised)
    );
    assert_eq!(node.poll_later(), []);
    assert_eq!(node.directory.take_reports(), []);
    assert!(expected[1].to_string().contains("check `logs.root`"));

    node.make("cgroup");
    node.make("log/containers");
    node.make(&format!("log/pods/shop_web_{UID}/app"));
    let facts = node.poll_later();
    // None of the attach cgroups exists, so everything is followed, from the root on.
    let root = node.cgroup("", Owner::Other);
    assert_eq!(sorted(facts), sorted(vec![root, pod(&["app"])]));
    assert_eq!(node.problems(), []);
    let mended = expected.map(ProblemReport::Mended);
    assert_eq!(node.directory.take_reports(), mended);
}
