//! Leaving nothing behind.
//!
//! Everything a lab makes can be recognised: namespaces by their prefix, cgroups by a mark, the
//! directory by its name. So the same sweep serves three ends: before a lab starts it removes what
//! a killed run left, on a signal it removes what this run made, and a test can ask whether
//! anything is there.

use std::{
    env,
    fs::{self, File},
    io::{PipeReader, PipeWriter, Read},
    os::fd::{AsRawFd, RawFd},
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::{cgroup, network};

/// What the names of a lab's directories begin with.
pub const DIRECTORY_PREFIX: &str = "mwlab-";

/// The signals by which a person or a supervisor ends a run.
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Removes whatever labs made and left: processes, cgroups, namespaces, directories.
///
/// # Errors
///
/// If there is no cgroup2 mount.
pub fn sweep() -> Result<()> {
    cgroup::sweep(&cgroup::mount()?);
    network::sweep();
    for directory in directories() {
        let _ = fs::remove_dir_all(directory);
    }
    Ok(())
}

/// Names everything of a lab that is there now.
///
/// # Errors
///
/// If there is no cgroup2 mount.
pub fn remains() -> Result<Vec<String>> {
    let cgroups = cgroup::marked(&cgroup::mount()?);
    Ok(cgroups
        .into_iter()
        .chain(directories())
        .map(|path| path.display().to_string())
        .chain(network::existing())
        .collect())
}

fn directories() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(DIRECTORY_PREFIX)
        })
        .map(|entry| entry.path())
        .collect()
}

/// Set while this process has a lab: what is there then is its own.
static HAS_TURN: AtomicBool = AtomicBool::new(false);

/// The right to the machine: one lab at a time.
pub(crate) struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits until no other lab runs, removes what a killed one left, and from then on removes
    /// this one on a signal.
    ///
    /// # Errors
    ///
    /// If the lock cannot be taken.
    pub(crate) fn take(mount: &Path) -> Result<Self> {
        // A lock on a directory that is always there leaves no file.
        let lock = File::open(mount)?;
        flock(&lock, FlockOperation::LockExclusive).context("waiting for another lab to end")?;
        sweep()?;
        on_signals()?;
        HAS_TURN.store(true, Ordering::SeqCst);
        Ok(Self { _lock: lock })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_TURN.store(false, Ordering::SeqCst);
    }
}

/// The writing end that the signal handler uses; -1 before there is one.
static NOTICE: AtomicI32 = AtomicI32::new(-1);

/// Set when a signal has come: nothing is made any more.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Fails once a signal has come.
pub(crate) fn may_make() -> Result<()> {
    if STOPPING.load(Ordering::SeqCst) {
        bail!("the lab is being removed: a signal has come");
    }
    Ok(())
}

/// From now on SIGINT, SIGTERM and SIGHUP sweep before they end the process.
///
/// # Errors
///
/// If there are no descriptors for the pipe.
fn on_signals() -> Result<()> {
    static INSTALLED: Once = Once::new();
    if INSTALLED.is_completed() {
        return Ok(());
    }
    let (reader, writer) = std::io::pipe().context("making the pipe of the signal handler")?;
    INSTALLED.call_once(|| install(reader, writer));
    Ok(())
}

fn install(reader: PipeReader, writer: PipeWriter) {
    NOTICE.store(writer.as_raw_fd(), Ordering::SeqCst);
    // The handler needs the descriptor for as long as the process lives.
    std::mem::forget(writer);
    thread::spawn(move || wait_and_sweep(reader));
    for signal in SIGNALS {
        let handler: extern "C" fn(libc::c_int) = notify;
        // SAFETY: `notify` only calls write(2), which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

extern "C" fn notify(signal: libc::c_int) {
    let descriptor: RawFd = NOTICE.load(Ordering::SeqCst);
    let byte = signal.to_le_bytes();
    // SAFETY: `byte` is valid for the one byte that is read from it. Nothing can be done about a
    // failure here.
    unsafe { libc::write(descriptor, byte.as_ptr().cast(), 1) };
}

fn wait_and_sweep(mut reader: PipeReader) {
    let mut signal = [0_u8; 1];
    if reader.read_exact(&mut signal).is_err() {
        return;
    }
    STOPPING.store(true, Ordering::SeqCst);
    // Once more if another thread was just making something.
    for _ in 0..3 {
        if !HAS_TURN.load(Ordering::SeqCst) {
            break;
        }
        let _ = sweep();
        if remains().is_ok_and(|remains| remains.is_empty()) {
            break;
        }
    }
    let signal = libc::c_int::from(signal[0]);
    // SAFETY: the default action is installed for a signal of `SIGNALS`.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: raise(3) takes any signal; its default action ends the process.
    unsafe { libc::raise(signal) };
    // raise(3) in a thread is delivered before it returns, unless a debugger withholds it.
    std::process::exit(128 + signal);
}
