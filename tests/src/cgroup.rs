//! Control groups as the kubelet and containerd lay them out.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::sweep;

/// Marks a cgroup as made by a lab: others are never removed.
const MARK: &str = "trusted.mwlab";

/// How long the processes of a cgroup may take to die of SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// The mount point of the cgroup2 hierarchy whose root is the machine's root cgroup.
///
/// # Errors
///
/// If there is none: the lab cannot run in a cgroup namespace of its own.
pub fn mount() -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for line in table.lines() {
        // proc_pid_mountinfo(5): the file system's type is the first field after " - ".
        let Some((fields, rest)) = line.split_once(" - ") else {
            continue;
        };
        if !rest.starts_with("cgroup2 ") {
            continue;
        }
        let Some(point) = fields.split(' ').nth(4) else {
            continue;
        };
        // The real root has inode 1; the root of a cgroup namespace has another.
        if fs::metadata(point).is_ok_and(|metadata| metadata.ino() == 1) {
            return Ok(PathBuf::from(point));
        }
    }
    bail!("expected a cgroup2 mount whose root is inode 1, found none in /proc/self/mountinfo")
}

/// A cgroup of the lab. Dropped, its processes are killed and it is removed, with what is below;
/// unless it was there before.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// What did not exist before, from the top down.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes the cgroup at `relative` below `mount`, and those above it that do not exist.
    ///
    /// # Errors
    ///
    /// If a directory cannot be made or marked.
    pub fn create(mount: &Path, relative: &Path) -> Result<Self> {
        sweep::may_make()?;
        let mut path = mount.to_path_buf();
        let mut made = Vec::new();
        for component in relative.components() {
            path.push(component);
            match fs::create_dir(&path) {
                Ok(()) => {
                    setxattr(&path, MARK, b"1", XattrFlags::CREATE)
                        .with_context(|| format!("marking {}", path.display()))?;
                    made.push(path.clone());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("making {}", path.display()));
                }
            }
        }
        Ok(Self { path, made })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The thread groups in it, not those below.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        processes(&self.path)
    }

    /// Kills what runs in it and below, and waits until all is dead.
    pub fn kill(&self) {
        kill(&self.path);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            remove(path);
        }
    }
}

/// The cgroups below `mount` that a lab made, the deepest first.
#[must_use]
pub fn marked(mount: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(mount, &mut found);
    found
}

/// Removes every cgroup that a lab made, with the processes in it.
pub(crate) fn sweep(mount: &Path) {
    for path in marked(mount) {
        remove(&path);
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for child in children(directory) {
        collect(&child, found);
        if is_marked(&child) {
            found.push(child);
        }
    }
}

fn is_marked(path: &Path) -> bool {
    let mut value = [0_u8; 1];
    getxattr(path, MARK, &mut value).is_ok()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove(path: &Path) {
    kill(path);
    for child in children(path) {
        remove(&child);
    }
    let _ = fs::remove_dir(path);
}

/// Kills until the cgroup is not populated, which comes a moment after `cgroup.procs` is empty.
fn kill(path: &Path) {
    let deadline = Instant::now() + DEATH;
    while is_populated(path) && Instant::now() < deadline {
        // cgroup.kill is there since Linux 5.14; before that one by one, until none is left.
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            kill_one_by_one(path);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a live process is in it or below.
fn is_populated(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

fn kill_one_by_one(path: &Path) {
    for process in processes(path) {
        if let Some(process) = i32::try_from(process)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
    for child in children(path) {
        kill_one_by_one(&child);
    }
}

fn processes(path: &Path) -> Vec<u32> {
    fs::read_to_string(path.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}
