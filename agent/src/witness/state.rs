//! What the agent remembers between its runs, and that only one of it runs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use thiserror::Error;

use crate::envoy::{Positions, PositionsError};

/// The state directory, held by this process alone.
#[derive(Debug)]
pub struct State {
    /// Readable by its owner alone.
    pub dir: PathBuf,
    /// Holds the lock while it is open, and the number of this process.
    _lock: File,
    /// The start ids of earlier runs, oldest first; the last [`KEPT_STARTS`] of them.
    starts: Vec<String>,
    /// Unique to this start.
    pub start_id: String,
}

impl State {
    /// Takes the state directory and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be written, or another agent holds it.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let at = |source| StateError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(at)?;
        close(dir)?;
        Ok(Self {
            _lock: lock(&dir.join("lock"))?,
            starts: starts(&dir.join("starts")).map_err(at)?,
            start_id: start_id().map_err(at)?,
            dir: dir.to_owned(),
        })
    }

    /// An earlier run of the agent has watched this node.
    #[must_use]
    pub fn earlier_run(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Leaves the mark of this run: from now on it watches. A run that never came so far is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn began(&self) -> Result<(), StateError> {
        let path = self.dir.join("starts");
        let new = path.with_extension("new");
        let superfluous = (self.starts.len() + 1).saturating_sub(KEPT_STARTS);
        let kept = self.starts.iter().skip(superfluous).chain([&self.start_id]);
        let text: String = kept.map(|id| format!("{id}\n")).collect();
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| StateError::Io { path, source })
    }

    /// The positions that the last run left; none at the first.
    ///
    /// # Errors
    /// If they are there and cannot be read.
    pub fn positions(&self) -> Result<Option<Positions>, StateError> {
        let path = self.dir.join("positions");
        Ok(Positions::load(&path)?)
    }

    /// Keeps positions for the next run.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep(&self, positions: &Positions) -> Result<(), StateError> {
        let path = self.dir.join("positions");
        Ok(positions.save(&path)?)
    }
}

/// Takes the rights of others from the directory: whoever may write there decides what the agent
/// believes to have read. One that is shared by nature, such as `/tmp`, is refused.
fn close(dir: &Path) -> Result<(), StateError> {
    const STICKY: u32 = 0o1000;
    let at = |source| StateError::Io {
        path: dir.to_owned(),
        source,
    };
    let mode = fs::metadata(dir).map_err(at)?.mode();
    if mode & STICKY != 0 {
        let path = dir.to_owned();
        return Err(StateError::Shared { path });
    }
    match mode & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(at),
    }
}

/// How many start ids are kept. A node that restarts its agent in a loop fills no disk.
const KEPT_STARTS: usize = 100;

/// Takes the lock and writes this process's number into it, for whoever comes second.
fn lock(path: &Path) -> Result<File, StateError> {
    let at = |source| StateError::Io {
        path: path.to_owned(),
        source,
    };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(at)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(StateError::Held {
                lock: path.to_owned(),
                holder: holder(&mut lock),
            });
        }
        Err(error) => return Err(at(error.into())),
    }
    lock.set_len(0).map_err(at)?;
    writeln!(lock, "{}", std::process::id()).map_err(at)?;
    Ok(lock)
}

/// The process that wrote its number into the lock. It may be one of another PID namespace.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(LONGEST_NUMBER).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

const LONGEST_NUMBER: u64 = 16;

fn starts(path: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Unique per start: the time in milliseconds, so that ids sort by start, and chance.
///
/// # Errors
/// If no random numbers can be read.
pub fn start_id() -> io::Result<String> {
    let mut chance = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut chance)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let milliseconds = now.map_or(0, |now| now.as_millis());
    Ok(format!(
        "{milliseconds:011x}{:08x}",
        u32::from_le_bytes(chance)
    ))
}

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// A file.
    #[error("state {}: {source}; it must be a directory that this user can write", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory that others use, too.
    #[error("state {}: others use it, too; name a directory of its own in `state.dir`", path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// The positions of the logs.
    #[error(transparent)]
    Positions(#[from] PositionsError),
    /// Another agent runs.
    #[error(
        "{}: another agent holds this lock{}; one agent runs per node, stop it first or give this one another `state.dir`",
        lock.display(), holder.map_or_else(String::new, |process| format!(", process {process}"))
    )]
    Held {
        /// The lock.
        lock: PathBuf,
        /// The number of the process that holds it, as it sees itself; none: unknown.
        holder: Option<u32>,
    },
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{KEPT_STARTS, State, StateError};

    #[test]
    fn the_directory_is_the_agents_alone() {
        let root = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(root.path(), fs::Permissions::from_mode(mode));
        mode(0o1777).unwrap();
        assert!(matches!(
            State::open(root.path()),
            Err(StateError::Shared { .. })
        ));
        mode(0o775).unwrap();
        let _held = State::open(root.path()).unwrap();
        let now = fs::metadata(root.path()).unwrap().permissions().mode();
        assert_eq!(now & 0o7777, 0o700);
        assert!(matches!(
            State::open(root.path()),
            Err(StateError::Held { .. })
        ));
    }

    #[test]
    fn a_second_agent_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path()).unwrap();
        let error = State::open(dir.path()).unwrap_err();
        let own = std::process::id();
        assert!(matches!(error, StateError::Held { holder: Some(holder), .. } if holder == own));
        let text = error.to_string();
        assert!(text.contains("/lock: another agent holds this lock, process "));
        drop(first);
        State::open(dir.path()).unwrap();
    }

    #[test]
    fn a_run_counts_once_it_watches_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!State::open(dir.path()).unwrap().earlier_run());
        assert!(!State::open(dir.path()).unwrap().earlier_run());
        let mut last = String::new();
        for _ in 0..KEPT_STARTS + 5 {
            let state = State::open(dir.path()).unwrap();
            state.began().unwrap();
            last.clone_from(&state.start_id);
        }
        let state = State::open(dir.path()).unwrap();
        assert!(state.earlier_run());
        assert_eq!(state.starts.len(), KEPT_STARTS);
        assert_eq!(state.starts.last(), Some(&last));
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "the lock and the starts");
    }
}
