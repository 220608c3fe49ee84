//! A place for traffic: cgroups of its own, a network namespace of its own.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use meshwitness::{
    capture::{
        Capture, CgroupId, Cookie, LoadError, Observation, Opener, Options, Phase, Segment, Socket,
        cgroup2_root,
    },
    timestamp::Timestamp,
};

/// One scene at a time: they move this process from cgroup to cgroup.
static STAGE: Mutex<()> = Mutex::new(());

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup that is watched, with parts below it, and the calling thread in a network namespace of
/// its own. Sockets belong to the part that was entered last when they were made.
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
        fs::create_dir(&root).unwrap();
        let scene = Self {
            root,
            home,
            _stage: stage,
        };
        new_network();
        scene
    }

    /// The cgroup to watch.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Moves this process into a part of the scene.
    pub(crate) fn enter(&self, part: &str) -> CgroupId {
        let directory = self.root.join(part);
        fs::create_dir_all(&directory).unwrap();
        enter(&directory).unwrap();
        fs::metadata(directory).unwrap().ino()
    }

    pub(crate) fn capture(&self, ring_bytes: u32) -> Watched {
        Watched::load(&Options {
            ring_bytes,
            cgroups: slice::from_ref(&self.root),
            excluded: &[],
        })
        .unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = enter(&self.home);
        let _ = remove(&self.root);
    }
}

/// Moves the calling thread into a new network namespace, in which the loopback is up.
pub(crate) fn new_network() {
    // SAFETY: nothing that this thread does afterwards depends on the namespace before.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    run("ip", &["link", "set", "lo", "up"]);
}

/// A capture and all that it reported.
pub(crate) struct Watched {
    pub(crate) capture: Capture,
    pub(crate) seen: Vec<Observation>,
    progress: Timestamp,
}

impl Watched {
    pub(crate) fn load(options: &Options<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            capture: Capture::load(options)?,
            seen: Vec::new(),
            progress: Timestamp::default(),
        })
    }

    /// Drains once. Nothing may come that is older than what was said to be complete.
    pub(crate) fn drain(&mut self) {
        let Self {
            capture,
            seen,
            progress,
        } = self;
        let before = *progress;
        capture.drain(|observation| {
            let time = match &observation {
                Observation::Listener(listener) => listener.time,
                Observation::ListenerClosed(closed) => closed.time,
                Observation::Socket(socket) => socket.time,
                Observation::Segment(segment) => segment.time,
                Observation::FirstBytes(first) => first.time,
                Observation::Flow(flow) => flow.time,
                Observation::FlowsClosed { time, .. } | Observation::Progress(time) => *time,
                Observation::RawSocket(socket) => socket.time,
                Observation::Refused(_) | Observation::ClockStep { .. } => {
                    panic!("{observation:?}")
                }
            };
            assert!(time >= before, "complete up to {before:?}: {observation:?}");
            if matches!(observation, Observation::Progress(_)) {
                *progress = time;
            } else {
                seen.push(observation);
            }
        });
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
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Drains until all that was sent up to now has been reported.
    pub(crate) fn all(&mut self) -> &[Observation] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Timestamp(u64::try_from(now.as_nanos()).unwrap());
        let deadline = Instant::now() + PATIENCE;
        while self.progress <= now {
            self.drain();
            assert!(Instant::now() < deadline, "no progress");
            thread::sleep(Duration::from_millis(1));
        }
        &self.seen
    }

    /// Drains until so many sockets were closed, and all that they sent was reported.
    pub(crate) fn closed(&mut self, count: usize) -> Vec<Socket> {
        let closed = self.until(|seen| {
            let closed: Vec<_> = sockets(seen, Phase::Closed).collect();
            (closed.len() >= count).then_some(closed)
        });
        assert_eq!(closed.len(), count);
        self.all();
        closed
    }

    /// The segments of one socket, in the order in which they came.
    pub(crate) fn segments(&self, cookie: Cookie) -> Vec<Segment> {
        let segments = self.seen.iter().filter_map(|seen| match seen {
            Observation::Segment(segment) if segment.cookie == cookie => Some(segment.clone()),
            _ => None,
        });
        segments.collect()
    }

    /// Nothing was lost and everything could be read.
    pub(crate) fn assert_clean(&mut self) {
        assert_eq!(self.capture.losses(), vec![]);
        assert_eq!(self.capture.malformed(), 0);
    }
}

/// What was reported of sockets at one turn of their lives.
pub(crate) fn sockets(seen: &[Observation], phase: Phase) -> impl Iterator<Item = Socket> {
    seen.iter().filter_map(move |seen| match seen {
        Observation::Socket(socket) if socket.phase == phase => Some(socket.clone()),
        _ => None,
    })
}

/// The end that called `connect`, and the one that was accepted.
pub(crate) fn ends(mut closed: Vec<Socket>) -> (Socket, Socket) {
    assert_eq!(closed.len(), 2);
    closed.sort_by_key(|end| end.opener == Opener::Peer);
    let server = closed.remove(1);
    (closed.remove(0), server)
}

/// Removes a cgroup and those below it. A process that has just ended may still be in one.
fn remove(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn own_cgroup() -> String {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    unified.unwrap().to_owned()
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
