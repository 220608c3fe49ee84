//! The directories: of cgroups, of logs, of state.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::TcpListener,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FlockOperation, flock},
    io::Errno,
};

use super::Item;
use crate::{
    capture::{cgroup2_root, is_cgroup2_root},
    config::{Capture, CgroupMount, Logs, State, Telemetry},
};

/// Pods among which a proxy's log is looked for.
const MOST_PODS: usize = 4096;

/// The cgroup2 mount, and what of the configured cgroups exists in it.
pub(super) fn cgroups(capture: &Capture) -> Vec<Item> {
    const NAME: &str = "cgroup2 mount";
    let mend_mount = "mount the host's /sys/fs/cgroup into the container, and name it in \
                      `capture.cgroup` if it is not found by itself";
    let (mount, item) = match &capture.cgroup {
        CgroupMount::Auto => match cgroup2_root() {
            Ok(mount) => {
                let item = judge_mount(NAME, &mount);
                (mount, item)
            }
            Err(error) => return vec![Item::failure(NAME, error.to_string(), mend_mount)],
        },
        CgroupMount::Path(path) => {
            let shown = path.display().to_string();
            let item = match is_cgroup2_root(path) {
                Ok(true) => Item::ok(NAME, shown),
                Ok(false) => Item::warning(
                    NAME,
                    format!("{shown} is only a part of the hierarchy: pods beside it are not seen"),
                    "name the mount of the whole hierarchy in `capture.cgroup`",
                ),
                Err(error) => return vec![Item::failure(NAME, error.to_string(), mend_mount)],
            };
            (path.clone(), item)
        }
    };
    vec![item, attach(&mount, capture), kubelet(&mount, capture)]
}

/// Beside cgroup v1, pods may be in the other hierarchy.
fn judge_mount(name: &str, mount: &Path) -> Item {
    let shown = mount.display().to_string();
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    match mount.ends_with("unified") || controllers.trim().is_empty() {
        false => Item::ok(name, shown),
        true => Item::warning(
            name,
            format!("{shown}, beside cgroup v1: a pod that is not in this hierarchy is not known"),
            "see that `attach cgroups` names those of the pods; boot with \
             systemd.unified_cgroup_hierarchy=1 if it does not",
        ),
    }
}

fn attach(mount: &Path, capture: &Capture) -> Item {
    const NAME: &str = "attach cgroups";
    let existing = existing(mount, &capture.attach);
    match existing.is_empty() {
        false => Item::ok(NAME, existing.join(", ")),
        true => Item::warning(
            NAME,
            format!(
                "none of {} exists: the programs go to the root and watch everything",
                capture.attach.join(", ")
            ),
            "name the cgroup of all pods in `capture.attach`, or start the kubelet first",
        ),
    }
}

fn kubelet(mount: &Path, capture: &Capture) -> Item {
    const NAME: &str = "kubelet cgroup";
    let existing = existing(mount, &capture.kubelet);
    match existing.is_empty() {
        false => Item::ok(NAME, existing.join(", ")),
        true => Item::warning(
            NAME,
            format!(
                "none of {} exists: the kubelet's probes are not told from other traffic",
                capture.kubelet.join(", ")
            ),
            "name the kubelet's cgroup in `capture.kubelet`",
        ),
    }
}

fn existing<'a>(mount: &Path, cgroups: &'a [String]) -> Vec<&'a str> {
    let exists = |cgroup: &&String| mount.join(cgroup).is_dir();
    cgroups.iter().filter(exists).map(String::as_str).collect()
}

/// The log directory, its two parts, and a proxy's log.
pub(super) fn logs(logs: &Logs) -> Vec<Item> {
    const MEND: &str = "mount the host's /var/log into the container, check `logs.root`, and run \
                        as root or with CAP_DAC_READ_SEARCH";
    let root = &logs.root;
    if let Err(error) = fs::read_dir(root) {
        let message = format!("{}: {error}", root.display());
        return vec![Item::failure("log directory", message, MEND)];
    }
    let mut items = vec![Item::ok("log directory", root.display().to_string())];
    for part in ["pods", "containers"] {
        let path = root.join(part);
        match fs::read_dir(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => items.push(Item::warning(
                "log directory",
                format!(
                    "{} is missing: pods have no names until it is there",
                    path.display()
                ),
                "start the kubelet, or check `logs.root`",
            )),
            Err(error) => {
                let message = format!("{}: {error}", path.display());
                items.push(Item::failure("log directory", message, MEND));
            }
        }
    }
    items.push(match proxy_log(logs) {
        None => Item::warning(
            "proxy logs",
            format!(
                "no container of the name {} has logs here: without them nothing can be matched",
                logs.proxy_containers.join(" or ")
            ),
            "wait for the first pod with a sidecar, or name its container in \
             `logs.proxy_containers`",
        ),
        Some(path) => judge_log(&path, MEND),
    });
    items
}

fn judge_log(path: &Path, mend: &str) -> Item {
    const NAME: &str = "proxy logs";
    let shown = path.display();
    // As Docker with the driver json-file has the kubelet do.
    if let Ok(target) = fs::read_link(path) {
        return Item::failure(
            NAME,
            format!(
                "{shown} is a link to {}: logs that Docker writes as json-file are not read",
                target.display()
            ),
            "run pods under containerd or CRI-O, which write their logs in CRI form",
        );
    }
    match readable(path) {
        Ok(()) => Item::ok(NAME, format!("readable, as {shown}")),
        Err(error) => Item::failure(NAME, format!("{shown}: {error}"), mend),
    }
}

/// Any log of a proxy container.
fn proxy_log(logs: &Logs) -> Option<PathBuf> {
    let pods = fs::read_dir(logs.root.join("pods")).ok()?.flatten();
    pods.take(MOST_PODS)
        .flat_map(|pod| {
            logs.proxy_containers
                .iter()
                .map(move |name| pod.path().join(name))
        })
        .filter_map(|container| fs::read_dir(container).ok())
        .flat_map(|files| files.flatten().take(16))
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
}

/// Opened as the reader of logs does: never a link, never waiting for a pipe.
fn readable(path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("expected a regular file")),
    }
}

/// The state directory, or the nearest one above it in which it would be made.
pub(super) fn state(state: &State) -> Item {
    const NAME: &str = "state directory";
    const STICKY: u32 = 0o1000;
    let shown = state.dir.display();
    let mend = "give the agent's user a writable directory, on a volume that outlives the pod, \
                and name it in `state.dir`";
    let nearest = state.dir.ancestors().find(|path| path.exists());
    let Some(nearest) = nearest.filter(|path| path.is_dir()) else {
        return Item::failure(NAME, format!("{shown} is no directory"), mend);
    };
    let access = Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = rustix::fs::accessat(CWD, nearest, access, AtFlags::EACCESS) {
        return Item::failure(NAME, format!("{}: {error}", nearest.display()), mend);
    }
    if nearest != state.dir {
        return Item::ok(NAME, format!("{shown}, which will be made"));
    }
    let mode = fs::metadata(nearest).map_or(0, |metadata| metadata.mode());
    if mode & STICKY != 0 {
        return Item::failure(NAME, format!("{shown}: others use it, too"), mend);
    }
    if is_held(nearest) {
        return Item::failure(
            NAME,
            format!("{shown}: an agent runs with it, and one agent runs per node"),
            "nothing, if that is the agent you want; else stop it first",
        );
    }
    match mode & 0o022 {
        0 => Item::ok(NAME, shown.to_string()),
        _ => Item::warning(
            NAME,
            format!("{shown}: others may write to it, and decide what was read"),
            "let its owner alone write to it (`chmod 0700`), as `run` will do",
        ),
    }
}

/// Whether an agent has the lock. Asking takes it for a moment.
fn is_held(directory: &Path) -> bool {
    let Ok(lock) = File::open(directory.join("lock")) else {
        return false;
    };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Where metrics and health would be served.
pub(super) fn telemetry(telemetry: &Telemetry) -> Item {
    const NAME: &str = "telemetry address";
    let listen = telemetry.listen;
    match TcpListener::bind(listen) {
        Ok(_) => Item::ok(NAME, listen.to_string()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Item::failure(
            NAME,
            format!("{listen} is in use"),
            "nothing, if an agent that runs here has it; else name another address in \
             `telemetry.listen`",
        ),
        Err(error) => Item::failure(
            NAME,
            format!("{listen}: {error}"),
            "name an address of this node in `telemetry.listen`, with a port above 1023",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::{
        super::State as Standing, Capture, CgroupMount, Logs, State, Telemetry, attach, cgroups,
        kubelet, logs, state, telemetry,
    };

    fn standings(items: &[super::Item]) -> Vec<Standing> {
        items.iter().map(|item| item.state).collect()
    }

    #[test]
    fn cgroups_that_exist_are_named() {
        let mount = tempfile::tempdir().unwrap();
        let capture = Capture::default();
        assert_eq!(attach(mount.path(), &capture).state, Standing::Warning);
        assert_eq!(kubelet(mount.path(), &capture).state, Standing::Warning);
        fs::create_dir(mount.path().join("kubepods.slice")).unwrap();
        assert_eq!(attach(mount.path(), &capture).message, "kubepods.slice");

        let elsewhere = Capture {
            cgroup: CgroupMount::Path(mount.path().into()),
            ..Capture::default()
        };
        assert_eq!(standings(&cgroups(&elsewhere)), [Standing::Failure]);
    }

    #[test]
    fn logs_from_nothing_to_a_proxys() {
        let root = tempfile::tempdir().unwrap();
        let config = Logs {
            root: root.path().join("log"),
            ..Logs::default()
        };
        assert_eq!(standings(&logs(&config)), [Standing::Failure]);
        fs::create_dir(&config.root).unwrap();
        assert_eq!(
            standings(&logs(&config)),
            [
                Standing::Ok,
                Standing::Warning,
                Standing::Warning,
                Standing::Warning
            ]
        );
        fs::create_dir_all(config.root.join("containers")).unwrap();
        let proxy = config.root.join("pods/a_b_c/istio-proxy");
        fs::create_dir_all(&proxy).unwrap();
        symlink("/etc/hostname", proxy.join("0.log")).unwrap();
        let items = logs(&config);
        assert_eq!(standings(&items), [Standing::Ok, Standing::Failure]);
        assert!(
            items[1].message.contains("a link to /etc/hostname"),
            "{items:?}"
        );
        fs::remove_file(proxy.join("0.log")).unwrap();
        fs::write(proxy.join("0.log"), "").unwrap();
        let items = logs(&config);
        assert_eq!(standings(&items), [Standing::Ok; 2]);
        assert!(items[1].message.contains("istio-proxy/0.log"));
    }

    #[test]
    fn the_state_directory_may_still_have_to_be_made() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| State {
            dir: root.path().join(path),
        };
        assert_eq!(state(&at("")).state, Standing::Ok);
        let later = state(&at("a/b"));
        assert_eq!(later.state, Standing::Ok);
        assert!(later.message.contains("will be made"));
        fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(state(&at("file/b")).state, Standing::Failure);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(state(&at("")).state, Standing::Warning);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(state(&at("")).state, Standing::Failure);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // Nobody writes there, root neither.
        let proc = State {
            dir: "/proc/sys/meshwitness".into(),
        };
        assert_eq!(state(&proc).state, Standing::Failure);
    }

    #[test]
    fn an_agent_that_runs_is_told_of() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state");
        let at = State { dir: dir.clone() };
        fs::create_dir(&dir).unwrap();
        let agent = fs::File::create(dir.join("lock")).unwrap();
        rustix::fs::flock(&agent, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let item = state(&at);
        assert_eq!(item.state, Standing::Failure);
        assert!(item.message.contains("an agent runs with it"), "{item:?}");
        drop(agent);
        assert_eq!(state(&at).state, Standing::Ok);
    }

    #[test]
    fn an_address_that_cannot_be_listened_at() {
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let listen = taken.local_addr().unwrap();
        let item = telemetry(&Telemetry { listen });
        assert_eq!(item.state, Standing::Failure);
        assert!(item.message.ends_with("is in use"), "{item:?}");
        drop(taken);
        assert_eq!(telemetry(&Telemetry { listen }).state, Standing::Ok);
        let listen = "192.0.2.1:9464".parse().unwrap();
        assert_eq!(telemetry(&Telemetry { listen }).state, Standing::Failure);
    }
}
