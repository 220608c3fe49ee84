//! Processes that start in a chosen namespace, cgroup and identity.

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    process::{Gid, Pid, Signal, Uid},
    thread::{
        CapabilitySet, LinkNameSpaceType, capability_is_in_bounding_set, move_into_link_name_space,
        remove_capability_from_bounding_set, set_thread_gid, set_thread_groups, set_thread_uid,
    },
};

use crate::network::Namespace;

/// A user and the group of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(pub u32);

impl User {
    /// The superuser.
    pub const ROOT: Self = Self(0);
    /// Whom the containers of applications run as.
    pub const APP: Self = Self(1000);
    /// Whom Istio's proxy runs as; its rules let this user's connections pass.
    pub const PROXY: Self = Self(1337);
}

/// Where a process runs and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The cgroup's directory. Joined before anything else: sockets belong to the cgroup that
    /// their maker was in.
    pub cgroup: &'a Path,
    /// The network namespace; none: the machine's own.
    pub namespace: Option<&'a Namespace>,
    /// The identity.
    pub user: User,
    /// All that the process may ever hold; none: whatever the user has.
    pub capabilities: Option<CapabilitySet>,
}

impl Place<'_> {
    /// A command that starts here. The first word is the program.
    ///
    /// # Errors
    ///
    /// If there is no first word, or namespace or cgroup cannot be opened.
    pub fn command<I, S>(&self, words: I) -> Result<Command>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut words = words.into_iter();
        let program: OsString = words
            .next()
            .context("expected a command, got no word")?
            .as_ref()
            .into();
        let mut command = Command::new(program);
        command.args(words);

        let tasks: PathBuf = self.cgroup.join("cgroup.procs");
        let mut tasks = OpenOptions::new()
            .write(true)
            .open(&tasks)
            .with_context(|| format!("opening {}", tasks.display()))?;
        let namespace = self.namespace.map(Namespace::open).transpose()?;
        let Self {
            user, capabilities, ..
        } = *self;
        let enter = move || {
            tasks.write_all(b"0")?;
            if let Some(namespace) = &namespace {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            }
            if let Some(kept) = capabilities {
                bound(kept)?;
            }
            become_user(user)
        };
        // SAFETY: between fork and exec `enter` makes system calls only; it allocates nothing and
        // takes no lock.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Runs a command to its end and returns what it wrote.
    ///
    /// # Errors
    ///
    /// If it cannot be started. A failed command is no error here.
    pub fn run<I, S>(&self, words: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(words)?;
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {command:?}"))
    }

    /// Starts a command whose output is collected when it ends.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn<I, S>(&self, words: I) -> Result<Process>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(words)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Process::start(&mut command)
    }
}

/// Narrows the bounding set to `kept`: what the superuser gets at exec is the rest of it.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        let known = capability_is_in_bounding_set(capability).unwrap_or(false);
        if known && !kept.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    Ok(())
}

fn become_user(User(number): User) -> io::Result<()> {
    if number == 0 {
        return Ok(());
    }
    set_thread_groups(&[])?;
    set_thread_gid(Gid::from_raw(number))?;
    set_thread_uid(Uid::from_raw(number))?;
    Ok(())
}

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    words: String,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let words = format!("{command:?}");
        let child = command
            .spawn()
            .with_context(|| format!("starting {words}"))?;
        Ok(Self {
            child: Some(child),
            words,
        })
    }

    /// One that was never started.
    #[must_use]
    pub(crate) fn ended() -> Self {
        Self {
            child: None,
            words: String::new(),
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => true,
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it has not ended within `patience`; it is killed then.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        let Some(child) = &mut self.child else {
            bail!("{} was already collected", self.words);
        };
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{} did not end within {patience:?}", self.words);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end without bound and returns what it wrote.
    ///
    /// # Errors
    ///
    /// If its output cannot be read.
    pub fn output(mut self) -> Result<Output> {
        let child = self.child.take().context("the process was collected")?;
        Ok(child.wait_with_output()?)
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Errors
    ///
    /// If it has not ended within `patience`; it is killed then.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(patience)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
