//! A place for traffic: cgroups of its own, a network namespace of its own.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use meshwitness::capture::{Capture, CgroupId, Observation, Options, cgroup2_root};

/// One scene at a time: they move this process from cgroup to cgroup.
static STAGE: Mutex<()> = Mutex::new(());

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two cgroups, `client` and `server`, below one that is watched; the calling thread in a network
/// namespace of its own. Sockets belong to the cgroup that was entered last when they were made.
pub(crate) struct Scene {
    root: PathBuf,
    home: PathBuf,
    _stage: MutexGuard<'static, ()>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests load BPF programs: run them as root"
        );
        let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let hierarchy = cgroup2_root().unwrap();
        let home = hierarchy.join(own_cgroup().trim_start_matches('/'));
        let root = hierarchy.join(format!("meshwitness-test-{}", std::process::id()));
        let scene = Self {
            root,
            home,
            _stage: stage,
        };
        fs::create_dir(&scene.root).unwrap();
        for part in ["client", "server"] {
            fs::create_dir(scene.root.join(part)).unwrap();
        }
        // SAFETY: of this thread only; it opens no files by a namespace's names afterwards.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        scene
    }

    /// The cgroup to watch.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Moves this process into a part of the scene.
    pub(crate) fn enter(&self, part: &str) -> CgroupId {
        let directory = self.root.join(part);
        enter(&directory).unwrap();
        use std::os::unix::fs::MetadataExt;
        fs::metadata(directory).unwrap().ino()
    }

    pub(crate) fn capture(&self, ring_bytes: u32) -> Watched {
        let capture = Capture::load(&Options {
            ring_bytes,
            cgroups: &[self.root.clone()],
            excluded: &[],
        });
        Watched {
            capture: capture.unwrap(),
            seen: Vec::new(),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = enter(&self.home);
        for part in ["client", "server", ""] {
            let _ = fs::remove_dir(self.root.join(part));
        }
    }
}

/// A capture and all that it reported.
pub(crate) struct Watched {
    pub(crate) capture: Capture,
    pub(crate) seen: Vec<Observation>,
}

impl Watched {
    pub(crate) fn drain(&mut self) {
        let seen = &mut self.seen;
        self.capture.drain(|observation| seen.push(observation));
    }

    /// Drains until something was seen.
    pub(crate) fn until<T>(&mut self, what: impl Fn(&[Observation]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain();
            if let Some(found) = what(&self.seen) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "it never came; what came: {:#?}",
                self.seen
                    .iter()
                    .filter(|seen| !matches!(seen, Observation::Progress(_)))
                    .collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn own_cgroup() -> String {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let unified = Cell::new(None);
    for line in cgroups.lines() {
        if let Some(path) = line.strip_prefix("0::") {
            unified.set(Some(path.to_owned()));
        }
    }
    unified.take().unwrap()
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(
        cgroup.join("cgroup.procs"),
        std::process::id().to_string().as_bytes(),
    )
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
