//! The machine itself: what a distribution's init would do before anything else.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The programs of the initial file system, all in one.
const BUSYBOX: &str = "/busybox";

/// The hierarchy of cgroups.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// The cgroup of all pods, which is watched. As the kubelet names it without systemd.
pub(crate) fn pods() -> PathBuf {
    PathBuf::from(CGROUPS).join(PODS)
}

const PODS: &str = "kubepods";

/// Mounts the kernel's file systems, and loads what it lacks for two network namespaces.
pub(crate) fn prepare() -> anyhow::Result<()> {
    run("mount -t proc proc /proc")?;
    run("mount -t sysfs sysfs /sys")?;
    run(&format!("mount -t cgroup2 cgroup2 {CGROUPS}"))?;
    fs::create_dir(pods()).context("making the cgroup of all pods")?;
    run("insmod /veth.ko")
}

/// Takes the limit on locked memory away. Only a privileged process can.
pub(crate) fn raise_memory_lock() -> anyhow::Result<()> {
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Memlock, none).context("raising the limit on locked memory")
}

/// Moves this process into a container's cgroup, which is made if need be.
pub(crate) fn enter(container: &str) -> anyhow::Result<()> {
    let directory = pods().join(container);
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    fs::write(directory.join("cgroup.procs"), "1")
        .with_context(|| format!("entering {}", directory.display()))
}

/// Runs a command line.
pub(crate) fn run(line: &str) -> anyhow::Result<()> {
    let status = Command::new(BUSYBOX)
        .args(line.split(' '))
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// Ends the machine. Where that fails, init ends, which the kernel does not survive either.
pub(crate) fn halt() {
    let _ = run("reboot -f");
}
