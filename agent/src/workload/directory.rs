//! The directory of this node's workloads.

use std::{
    os::fd::BorrowedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    WorkloadFact,
    cgroup_tree::CgroupTree,
    log_tree::{LogDirectory, LogTree},
    problem::{Problem, ProblemReport, Problems},
    watcher::Watcher,
};

/// Directories looked at in one poll, of each tree: some milliseconds.
const STEPS_A_POLL: usize = 256;

/// Everything is looked at again this often, should a notice have gone astray.
const RESCAN: Duration = Duration::from_secs(30);

/// While a directory is missing: a look that costs next to nothing.
const RESCAN_MISSING: Duration = Duration::from_secs(1);

/// While the kernel gives no notices: some tens of milliseconds of work on a full node.
const RESCAN_WITHOUT_NOTICES: Duration = Duration::from_secs(5);

/// Rescans after overflows keep this distance, or a flood of notices would make a flood of work.
const RESCAN_AFTER_OVERFLOW: Duration = Duration::from_secs(1);

/// Where the workloads of a node show.
#[derive(Clone, Debug)]
pub struct Places {
    /// The cgroup2 mount.
    pub cgroup_mount: PathBuf,
    /// The cgroups at which the programs are attached, relative to the mount; if none of them
    /// exists at the start, everything is followed.
    pub attach: Vec<String>,
    /// The kubelet's cgroups, relative to the mount.
    pub kubelet: Vec<String>,
    /// The directory that holds `pods/` and `containers/`.
    pub log_root: PathBuf,
}

/// Follows the cgroup tree and the log directory, and tells what changes.
///
/// Nothing here waits. Poll it when [`Self::descriptor`] is readable and at [`Self::deadline`];
/// the first polls tell everything that is there.
///
/// ```text
///           ┌── notices ──┐          ┌─ each changed directory ─┐
/// kernel ───┤             ├─▶ jobs ──┤                          ├─▶ facts, each once
///           └── overflow ─┴─ rescan ─┘ (at most 512 a poll)     ┘
/// ```
#[derive(Debug)]
pub struct Directory {
    watcher: Watcher<Watched>,
    cgroups: CgroupTree,
    logs: LogTree,
    problems: Problems,
    without_notices: Option<String>,
    is_scanning: bool,
    is_settled: bool,
    last_rescan: Option<Instant>,
    rescan_soon: bool,
    /// The kernel holds more notices than one poll reads.
    notices_wait: bool,
    overflows: u64,
}

#[derive(Clone, Debug)]
enum Watched {
    Cgroup(String),
    Log(LogDirectory),
}

/// What the directory holds, and what it had to leave out since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cgroups kept in mind.
    pub cgroups: usize,
    /// Pods kept in mind.
    pub pods: usize,
    /// Links of containers kept in mind.
    pub container_links: usize,
    /// Cgroups that were gone before their id could be read.
    pub missed_cgroups: u64,
    /// Entries of the log directory whose names are not of the kubelet's forms.
    pub rejected_names: u64,
    /// Entries beyond a bound.
    pub refused_entries: u64,
    /// Times that the kernel dropped notices.
    pub overflows: u64,
}

impl Directory {
    /// Nothing is read before the first poll. What is missing then is a [`Problem`], no error.
    #[must_use]
    pub fn new(places: Places) -> Self {
        let (watcher, error) = Watcher::new();
        Self {
            watcher,
            cgroups: CgroupTree::new(places.cgroup_mount, &places.attach, &places.kubelet),
            logs: LogTree::new(places.log_root),
            problems: Problems::default(),
            without_notices: error.map(|error| error.to_string()),
            is_scanning: false,
            is_settled: false,
            last_rescan: None,
            rescan_soon: false,
            notices_wait: false,
            overflows: 0,
        }
    }

    /// What changed, as far as a bounded amount of work tells.
    pub fn poll(&mut self, now: Instant) -> Vec<WorkloadFact> {
        let mut facts = Vec::new();
        let read = self.watcher.read();
        self.notices_wait = read.more;
        for change in read.changes {
            let Some(name) = change.name.to_str() else {
                continue;
            };
            match change.directory {
                Watched::Cgroup(path) => self.cgroups.changed(&path, name, change.kind),
                Watched::Log(directory) => {
                    self.logs.changed(directory, name, change.kind, &mut facts);
                }
            }
        }
        if read.overflowed {
            self.overflows += 1;
            self.rescan_soon = true;
        }
        if self.next_rescan().is_none_or(|rescan| rescan <= now) {
            self.rescan(now);
        }

        for _ in 0..STEPS_A_POLL {
            self.cgroups.step(
                &mut self.watcher,
                Watched::Cgroup,
                &mut self.problems,
                &mut facts,
            );
            self.logs.step(
                &mut self.watcher,
                Watched::Log,
                &mut self.problems,
                &mut facts,
            );
        }
        self.cgroups.tell_departed(&mut facts);
        if !facts.is_empty() {
            self.logs.complete_cut_ids(&self.cgroups, &mut facts);
        }
        if self.is_scanning && !self.has_work() {
            self.problems.settle();
            self.is_scanning = false;
            self.is_settled = true;
        }
        facts
    }

    /// When to poll again if no notice comes before: at once (`now`) while work waits.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Instant {
        match self.next_rescan() {
            Some(rescan) if !self.has_work() => rescan,
            _ => now,
        }
    }

    /// Readable when there are notices; none where the kernel gives none.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.descriptor()
    }

    /// Whether everything that was there at the start has been told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Problems that began or ended since this was last asked, each once.
    pub fn take_reports(&mut self) -> Vec<ProblemReport> {
        self.problems.take_reports()
    }

    /// Problems that last.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.lasting()
    }

    /// What it holds and what it left out.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            cgroups: self.cgroups.len(),
            pods: self.logs.pods(),
            container_links: self.logs.links(),
            missed_cgroups: self.cgroups.missed,
            rejected_names: self.logs.rejected,
            refused_entries: self.cgroups.refused + self.logs.refused,
            overflows: self.overflows,
        }
    }

    fn has_work(&self) -> bool {
        self.notices_wait || self.cgroups.has_work() || self.logs.has_work()
    }

    fn next_rescan(&self) -> Option<Instant> {
        let after_overflow = self.rescan_soon.then_some(RESCAN_AFTER_OVERFLOW);
        let in_need = self.problems.lasting().filter_map(|problem| match problem {
            Problem::CgroupRootMissing { .. } | Problem::LogDirectoryMissing { .. } => {
                Some(RESCAN_MISSING)
            }
            Problem::NoWatch { .. } => Some(RESCAN_WITHOUT_NOTICES),
            _ => None,
        });
        let period = in_need.chain(after_overflow).min().unwrap_or(RESCAN);
        Some(self.last_rescan? + period)
    }

    fn rescan(&mut self, now: Instant) {
        self.last_rescan = Some(now);
        self.rescan_soon = false;
        if !self.is_scanning {
            self.problems.doubt();
        }
        if let Some(error) = &self.without_notices {
            let error = error.clone();
            self.problems.raise(Problem::NoWatch { error });
        }
        self.cgroups.rescan();
        self.logs.rescan();
        self.is_scanning = true;
    }
}
