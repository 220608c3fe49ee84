//! The cgroup tree, of plain directories (they have inodes too) and of the kernel's own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Directory, Node, Owner, Places, Problem, UID, WorkloadFact, cgroup, container_scope,
    of_container, pod_slice, sorted,
};

#[test]
fn cgroups_are_told_once_down_to_nested_ones() {
    let mut node = Node::new();
    node.make(&format!(
        "cgroup/{}/system.slice/x.service",
        container_scope()
    ));
    node.make("cgroup/user.slice");
    let of_pod = Owner::Pod {
        pod_uid: UID.into(),
    };
    let expected = vec![
        node.cgroup("kubepods.slice", Owner::Other),
        node.cgroup(&pod_slice(), of_pod),
        node.cgroup(&container_scope(), of_container()),
        node.cgroup(
            &format!("{}/system.slice", container_scope()),
            of_container(),
        ),
        node.cgroup(
            &format!("{}/system.slice/x.service", container_scope()),
            of_container(),
        ),
    ];
    assert_eq!(sorted(node.poll()), sorted(expected));
    assert_eq!(node.poll_later(), []);

    // Live, at any depth.
    let nested = format!("{}/system.slice/y.service", container_scope());
    node.make(&format!("cgroup/{nested}"));
    assert_eq!(node.poll(), [node.cgroup(&nested, of_container())]);
}

/// How many cgroups are told as gone; nothing else is told.
fn departed(facts: &[WorkloadFact]) -> usize {
    let is_departure = |fact: &WorkloadFact| matches!(fact, WorkloadFact::CgroupGone { .. });
    assert!(facts.iter().all(is_departure), "{facts:?}");
    facts.len()
}

#[test]
fn a_cgroup_made_again_is_told_again() {
    let mut node = Node::new();
    node.make(&format!("cgroup/{}", container_scope()));
    assert_eq!(node.poll().len(), 3);
    node.remove(&format!("cgroup/{}", pod_slice()));
    assert_eq!(departed(&node.poll()), 2);
    assert_eq!(node.directory.counts().cgroups, 1);
    node.make(&format!("cgroup/{}", container_scope()));
    assert_eq!(node.poll().len(), 2);
}

#[test]
fn dropped_notices_lead_to_a_rescan_at_once() {
    let mut node = Node::new();
    node.poll();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    for _ in 0..=limit / 2 {
        node.make("cgroup/kubepods.slice/x");
        node.remove("cgroup/kubepods.slice/x");
    }
    node.make(&format!("cgroup/{}", container_scope()));
    node.now += Duration::from_secs(2);
    assert_eq!(node.poll().len(), 2);
    assert_eq!(node.directory.counts().overflows, 1);
}

#[test]
fn the_kubelet_and_late_attach_cgroups_are_met_when_they_come() {
    let mut node = Node::new();
    node.poll();
    for _ in 0..2 {
        node.make("cgroup/system.slice/kubelet.service/nested");
        node.make("cgroup/system.slice/other.service");
        node.make("cgroup/kubepods/burstable");
        let expected = [
            ("system.slice/kubelet.service", Owner::Kubelet),
            ("system.slice/kubelet.service/nested", Owner::Kubelet),
            ("kubepods", Owner::Other),
            ("kubepods/burstable", Owner::Other),
        ]
        .map(|(path, owner)| node.cgroup(path, owner));
        assert_eq!(sorted(node.poll()), sorted(expected.into()));
        // A restart: the same path is another cgroup.
        node.remove("cgroup/system.slice");
        node.remove("cgroup/kubepods");
        assert_eq!(departed(&node.poll()), 4);
    }
}

#[test]
fn a_pod_that_makes_cgroups_without_end_costs_only_itself() {
    let mut node = Node::new();
    node.poll();
    for index in 0..700 {
        node.make(&format!("cgroup/{}/{index}", container_scope()));
    }
    assert_eq!(node.poll().len(), 512);
    let other = "kubepods.slice/kubepods-pod1f0e2d3c4b5a69788796a5b4c3d2e1f0.slice";
    node.make(&format!("cgroup/{other}"));
    assert!(matches!(
        &node.poll()[..],
        [WorkloadFact::Cgroup { owner: Owner::Pod { pod_uid }, .. }] if pod_uid != UID
    ));
    let expected = Problem::TooManyCgroupsInPod {
        pod_uid: UID.into(),
        limit: 512,
    };
    assert_eq!(node.problems(), [expected]);

    node.remove(&format!("cgroup/{}", pod_slice()));
    node.poll();
    node.poll_later();
    assert_eq!(node.problems(), []);
}

#[test]
fn one_that_is_gone_before_the_look_is_counted() {
    let mut node = Node::new();
    node.poll();
    node.make("cgroup/kubepods.slice/brief");
    node.remove("cgroup/kubepods.slice/brief");
    assert_eq!(node.poll(), []);
    assert_eq!(node.directory.counts().missed_cgroups, 1);
}

/// A cgroup of this test's own, removed with all below it.
struct RealCgroup {
    mount: PathBuf,
    name: String,
}

impl RealCgroup {
    fn new() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        assert!(is_root, "this test makes cgroups and needs to run as root");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .expect("this test needs a cgroup2 mount")[1]
            .into();
        let name = format!("meshwitness-workload-test-{}", std::process::id());
        let cgroup = Self { mount, name };
        fs::create_dir(cgroup.path("")).unwrap();
        cgroup
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mount.join(&self.name).join(path)
    }
}

impl Drop for RealCgroup {
    fn drop(&mut self) {
        if let Err(error) = remove_cgroup(&self.path("")) {
            eprintln!("cannot remove the cgroup {:?}: {error}", self.path(""));
        }
    }
}

/// A cgroup's files cannot be removed, only the directories, from the innermost on.
fn remove_cgroup(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[test]
fn real_cgroups_needs_root() {
    let real = RealCgroup::new();
    let logs = tempfile::tempdir().unwrap();
    for part in ["pods", "containers"] {
        fs::create_dir(logs.path().join(part)).unwrap();
    }
    let mut directory = Directory::new(Places {
        cgroup_mount: real.mount.clone(),
        attach: vec![real.name.clone()],
        kubelet: vec![format!("{}-kubelet", real.name)],
        log_root: logs.path().into(),
    });
    let now = Instant::now();
    assert_eq!(directory.poll(now), [cgroup(&real.path(""), Owner::Other)]);

    // A pod that comes: every level is told by notices alone.
    fs::create_dir_all(real.path(&container_scope())).unwrap();
    let mut facts = directory.poll(now);
    facts.extend(directory.poll(now));
    let of_pod = Owner::Pod {
        pod_uid: UID.into(),
    };
    let expected = [
        cgroup(&real.path("kubepods.slice"), Owner::Other),
        cgroup(&real.path(&pod_slice()), of_pod),
        cgroup(&real.path(&container_scope()), of_container()),
    ];
    let first = expected[0].clone();
    assert_eq!(sorted(facts), sorted(expected.into()));

    // Nested ones, of the container that a process in it sees.
    fs::create_dir(real.path(&container_scope()).join("init.scope")).unwrap();
    let facts = directory.poll(now);
    assert!(matches!(
        &facts[..],
        [WorkloadFact::Cgroup { owner, .. }] if *owner == of_container()
    ));

    // And one that goes and comes again has a new id.
    remove_cgroup(&real.path("kubepods.slice")).unwrap();
    assert_eq!(departed(&directory.poll(now)), 4);
    assert_eq!(directory.counts().cgroups, 1);
    fs::create_dir(real.path("kubepods.slice")).unwrap();
    let facts = directory.poll(now);
    assert_eq!(facts, [cgroup(&real.path("kubepods.slice"), Owner::Other)]);
    assert_ne!(facts[0], first);
    assert_eq!(directory.counts().overflows, 0);
}
