//! What containerd and the kubelet make of a container's output, with faults on demand.

mod fault;
mod rotation;

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, PipeReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use fault::Traps;
pub use fault::{Fault, Sprung};

/// containerd's `max_container_log_line_size`: longer lines are cut into pieces.
const LONGEST_PIECE: usize = 16 * 1024;

/// One of a container's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Where the access log goes.
    Stdout,
    /// Where Envoy's own messages go.
    Stderr,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of one container: `0.log` in the directory of the pod's container.
pub struct Log {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    /// Told when a line was written.
    written: Condvar,
}

struct State {
    file: File,
    traps: Traps,
    /// Lines of the container, before any fault.
    lines: Vec<(Stream, String)>,
}

impl Log {
    /// Makes `directory` with an empty `0.log` and the symlink that the kubelet puts in
    /// `containers/`.
    ///
    /// # Errors
    ///
    /// If one of them cannot be made.
    pub fn create(directory: &Path, link: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let file = open(directory)?;
        symlink(directory.join("0.log"), link)
            .with_context(|| format!("linking {}", link.display()))?;
        let shared = Shared {
            directory: directory.to_path_buf(),
            state: Mutex::new(State {
                file,
                traps: Traps::default(),
                lines: Vec::new(),
            }),
            written: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            readers: Vec::new(),
        })
    }

    /// The file that is written now.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.shared.directory.join("0.log")
    }

    /// Reads a stream of the container to its end, in a thread of its own.
    pub fn follow(&mut self, stream: Stream, pipe: PipeReader) {
        let shared = Arc::clone(&self.shared);
        self.readers.push(thread::spawn(move || {
            // What fails here fails a test by the line that it misses.
            let _ = shared.follow(stream, pipe);
        }));
    }

    /// Sets a fault for the `nth` line from now on (0: the first) that `matches`.
    pub fn inject(
        &self,
        nth: usize,
        matches: impl Fn(&str) -> bool + Send + 'static,
        fault: Fault,
    ) -> Sprung {
        self.shared.state().traps.set(nth, Box::new(matches), fault)
    }

    /// Writes a line that the container never wrote.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn invent(&self, line: &str) -> Result<()> {
        let mut state = self.shared.state();
        Ok(write_line(
            &mut state.file,
            Stream::Stdout,
            line.as_bytes(),
        )?)
    }

    /// What the container wrote on a stream so far, whole lines, whatever faults did to them.
    #[must_use]
    pub fn lines_of(&self, stream: Stream) -> Vec<String> {
        let state = self.shared.state();
        let lines = state.lines.iter().filter(|(from, _)| *from == stream);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// Drops the copies of the lines so far, which a long run has no use for.
    pub fn forget_lines(&self) {
        self.shared.state().lines.clear();
    }

    /// Waits for a line that `matches`, those already written included.
    ///
    /// # Errors
    ///
    /// If none came within `patience`; the message has the last lines.
    pub fn wait_for(&self, patience: Duration, matches: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        let mut seen = 0;
        loop {
            let mut lines = state.lines.get(seen..).unwrap_or_default().iter();
            if let Some((_, line)) = lines.find(|(_, line)| matches(line)) {
                return Ok(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last = &state.lines[seen.saturating_sub(5)..];
                bail!(
                    "the line did not come within {patience:?}; the last of {}: {last:#?}",
                    self.shared.directory.display()
                );
            }
            state = self
                .shared
                .written
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until `count` lines that `matches` were written.
    ///
    /// # Errors
    ///
    /// If they were not within `patience`.
    pub fn wait_for_count(
        &self,
        count: usize,
        patience: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let found = Cell::new(0);
        self.wait_for(patience, |line| {
            found.set(found.get() + usize::from(matches(line)));
            found.get() >= count
        })?;
        Ok(())
    }
}

impl Drop for Log {
    /// Waits for the last lines: the readers end with the container's last process.
    fn drop(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn follow(&self, stream: Stream, pipe: PipeReader) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 * 1024, pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            while line
                .last()
                .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
            {
                line.pop();
            }
            self.take(stream, &line)?;
            line.clear();
        }
        Ok(())
    }

    fn take(&self, stream: Stream, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line).into_owned();
        let mut state = self.state();
        match state.traps.spring(&text) {
            None => write_line(&mut state.file, stream, line)?,
            Some(Fault::Drop) => {}
            Some(Fault::Edit(edit)) => {
                write_line(&mut state.file, stream, edit(&text).as_bytes())?;
            }
            Some(Fault::Repeat) => {
                write_line(&mut state.file, stream, line)?;
                write_line(&mut state.file, stream, line)?;
            }
            Some(Fault::Delay(delay)) => {
                drop(state);
                thread::sleep(delay);
                state = self.state();
                write_line(&mut state.file, stream, line)?;
            }
        }
        state.lines.push((stream, text));
        self.written.notify_all();
        Ok(())
    }
}

/// One line of a container in the CRI format: pieces marked P, the last one F.
fn write_line(file: &mut File, stream: Stream, line: &[u8]) -> io::Result<()> {
    let mut text = Vec::with_capacity(line.len() + 64);
    let mut rest = line;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(LONGEST_PIECE));
        let tag = if after.is_empty() { 'F' } else { 'P' };
        // Go's RFC3339Nano, like this type's own form, ends at the last digit that is not zero.
        write!(text, "{} {} {tag} ", Timestamp::now(), stream.as_str())?;
        text.extend_from_slice(piece);
        text.push(b'\n');
        rest = after;
        if rest.is_empty() {
            return file.write_all(&text);
        }
    }
}

fn open(directory: &Path) -> Result<File> {
    let path = directory.join("0.log");
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}

/// A poisoned lock is a panicking test: the log still has to be written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
