//! What the agent remembers between its runs, and that only one of it runs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::envoy::{Positions, PositionsError};

/// The state directory, held by this process alone.
#[derive(Debug)]
pub struct State {
    /// Readable by its owner alone.
    pub dir: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
    /// An earlier run of the agent left its mark here.
    pub earlier_run: bool,
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
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(at)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StateError::Held {
                path: dir.to_owned(),
            });
        }
        let start_id = start_id().map_err(at)?;
        let starts = dir.join("starts");
        let earlier_run = starts.exists();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(starts)
            .map_err(at)?;
        writeln!(file, "{start_id}").map_err(at)?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
            earlier_run,
            start_id,
        })
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
    #[error("state {}: another agent holds it; one agent runs per node", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{State, StateError};

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
        let state = State::open(root.path()).unwrap();
        let now = fs::metadata(root.path()).unwrap().permissions().mode();
        assert_eq!(now & 0o7777, 0o700);
        assert!(matches!(
            State::open(root.path()),
            Err(StateError::Held { .. })
        ));
        assert!(!state.earlier_run);
        drop(state);
        assert!(State::open(root.path()).unwrap().earlier_run);
    }
}
