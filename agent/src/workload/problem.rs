//! What keeps the directory from knowing everything, in words for who runs the agent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A condition under which workloads may go unrecognised. Work goes on meanwhile, and the
/// condition is looked at again at every rescan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Problem {
    /// The cgroup2 mount is not there.
    #[error(
        "no cgroup2 directory at {path:?}: check `capture.cgroup` and that the host's cgroup2 mount is visible here"
    )]
    CgroupRootMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A part of the log directory is not there.
    #[error(
        "no directory at {path:?}: check `logs.root` and that the host's log directory is mounted here; pods have no names until then"
    )]
    LogDirectoryMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A directory is there and cannot be read.
    #[error(
        "cannot read the directory {path:?} ({error}): check the agent's user and its CAP_DAC_READ_SEARCH"
    )]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        error: String,
    },
    /// The kernel gives no (further) notices of changes; directories are compared instead.
    #[error(
        "the kernel refuses an inotify watch ({error}): raise fs.inotify.max_user_watches or max_user_instances; changes are found by rescans until then"
    )]
    NoWatch {
        /// What the kernel says.
        error: String,
    },
    /// There are more cgroups than are kept in mind.
    #[error("more than {limit} cgroups below the attach cgroups: those beyond are not recognised")]
    TooManyCgroups {
        /// How many are kept.
        limit: usize,
    },
    /// One pod has more cgroups than are kept in mind for it.
    #[error("pod {pod_uid} has more than {limit} cgroups: those beyond are not recognised")]
    TooManyCgroupsInPod {
        /// The pod.
        pod_uid: String,
        /// How many are kept.
        limit: usize,
    },
    /// There are more pods than are kept in mind.
    #[error("more than {limit} pods in the log directory: those beyond have no names")]
    TooManyPods {
        /// How many are kept.
        limit: usize,
    },
    /// One pod has more containers than are kept in mind for it.
    #[error(
        "pod {pod_uid} has more than {limit} containers in the log directory: those beyond have no names"
    )]
    TooManyContainers {
        /// The pod.
        pod_uid: String,
        /// How many are kept.
        limit: usize,
    },
}

/// A problem's beginning or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemReport {
    /// It was met; it is not told again while it lasts.
    Raised(Problem),
    /// It is over.
    Mended(Problem),
}

/// Problems that are kept at once: hostile pods shall not make the agent's own log grow.
const MOST_PROBLEMS: usize = 64;

/// The problems that last, and the reports that nobody took yet.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// Each with whether it was met since the last rescan began.
    lasting: BTreeMap<Problem, bool>,
    reports: Vec<ProblemReport>,
}

impl Problems {
    pub(super) fn raise(&mut self, problem: Problem) {
        if let Some(met) = self.lasting.get_mut(&problem) {
            *met = true;
        } else if self.lasting.len() < MOST_PROBLEMS {
            self.lasting.insert(problem.clone(), true);
            self.report(ProblemReport::Raised(problem));
        }
    }

    /// A rescan begins.
    pub(super) fn doubt(&mut self) {
        self.lasting.values_mut().for_each(|met| *met = false);
    }

    /// A rescan ended: what it did not meet is over.
    pub(super) fn settle(&mut self) {
        self.mend(|_, met| !met);
    }

    /// The directory is there and can be read.
    pub(super) fn found(&mut self, found: &Path) {
        self.mend(|problem, _| match problem {
            Problem::CgroupRootMissing { path }
            | Problem::LogDirectoryMissing { path }
            | Problem::Unreadable { path, .. } => path == found,
            _ => false,
        });
    }

    pub(super) fn lasting(&self) -> impl Iterator<Item = &Problem> {
        self.lasting.keys()
    }

    pub(super) fn take_reports(&mut self) -> Vec<ProblemReport> {
        std::mem::take(&mut self.reports)
    }

    fn mend(&mut self, is_over: impl Fn(&Problem, bool) -> bool) {
        let (over, lasting) = std::mem::take(&mut self.lasting)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(problem, met)| is_over(problem, *met));
        self.lasting = lasting;
        for problem in over.into_keys() {
            self.report(ProblemReport::Mended(problem));
        }
    }

    /// Reports that nobody takes are dropped; `lasting` says what holds.
    fn report(&mut self, report: ProblemReport) {
        if self.reports.len() < 4 * MOST_PROBLEMS {
            self.reports.push(report);
        }
    }
}
