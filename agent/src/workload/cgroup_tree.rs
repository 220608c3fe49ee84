//! The cgroup tree: the id of every cgroup that can hold a workload, and whose it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use super::{
    Owner, WorkloadFact,
    cgroup_path::owner_of,
    problem::{Problem, Problems},
    queue::JobQueue,
    watcher::{ChangeKind, Watcher},
};
use crate::capture::CgroupId;

/// Cgroups kept in mind: a node runs 110 pods by default and some hundreds at most, a pod has
/// some five cgroups.
const MOST_CGROUPS: usize = 16 * 1024;

/// Of one pod. A container that manages its own cgroups (systemd, kubevirt) has dozens; one that
/// makes them without end shall cost only itself.
const MOST_CGROUPS_IN_POD: usize = 512;

/// Levels below the mount. A container is at the fourth to ninth.
const MOST_LEVELS: usize = 24;

/// Entries of one directory that are looked at; a cgroup has some sixty files of its own.
const MOST_ENTRIES: usize = 16 * 1024;

/// Follows the cgroups below the attach cgroups, and those of the kubelet.
#[derive(Debug)]
pub(super) struct CgroupTree {
    mount: PathBuf,
    attach: Vec<String>,
    kubelet: Vec<String>,
    /// None of the attach cgroups existed at the start, so the programs hang at the root.
    whole_tree: bool,
    known: BTreeMap<String, Known>,
    in_pods: HashMap<String, usize>,
    jobs: JobQueue<String>,
    /// Cgroups that are gone and were not told yet.
    departed: Vec<CgroupId>,
    pub(super) missed: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Known {
    id: CgroupId,
    owner: Owner,
}

/// What a path is to the tree.
enum Interest {
    /// A cgroup to be known, and all below it.
    Whole,
    /// It only leads to such a cgroup, which may come and go: a restarted kubelet has a new one.
    Passage,
    None,
}

impl CgroupTree {
    /// `mount` is where cgroup2 is mounted; the others are relative to it.
    pub(super) fn new(mount: PathBuf, attach: &[String], kubelet: &[String]) -> Self {
        let trim = |path: &String| path.trim_matches('/').to_owned();
        let attach: Vec<_> = attach.iter().map(trim).collect();
        let whole_tree = !attach.iter().any(|path| mount.join(path).is_dir());
        Self {
            mount,
            attach,
            kubelet: kubelet.iter().map(trim).collect(),
            whole_tree,
            known: BTreeMap::new(),
            in_pods: HashMap::new(),
            jobs: JobQueue::default(),
            departed: Vec::new(),
            missed: 0,
            refused: 0,
        }
    }

    /// Looks at everything again in the next steps.
    pub(super) fn rescan(&mut self) {
        self.jobs.push(String::new());
    }

    pub(super) fn has_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Tells the cgroups that are gone since this was last asked.
    pub(super) fn tell_departed(&mut self, facts: &mut Vec<WorkloadFact>) {
        let departed = self.departed.drain(..);
        facts.extend(departed.map(|id| WorkloadFact::CgroupGone { id }));
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The containers of a pod that have a cgroup.
    pub(super) fn containers_of(&self, uid: &str) -> impl Iterator<Item = &str> {
        self.known
            .values()
            .filter_map(move |known| match &known.owner {
                Owner::Container {
                    pod_uid,
                    container_id,
                } if pod_uid == uid => Some(container_id.as_str()),
                _ => None,
            })
    }

    /// An entry of a watched cgroup came or went.
    pub(super) fn changed(&mut self, parent: &str, name: &str, kind: ChangeKind) {
        let path = join(parent, name);
        match kind {
            ChangeKind::Came if !matches!(self.interest(&path), Interest::None) => {
                if !self.jobs.push(path) {
                    self.refused += 1;
                }
            }
            ChangeKind::Came => {}
            ChangeKind::Went => self.forget(&path),
        }
    }

    /// Does one piece of the work that waits.
    pub(super) fn step<T: Clone>(
        &mut self,
        watcher: &mut Watcher<T>,
        watched: impl Fn(String) -> T,
        problems: &mut Problems,
        facts: &mut Vec<WorkloadFact>,
    ) {
        let Some(path) = self.jobs.pop() else {
            return;
        };
        let interest = self.interest(&path);
        if matches!(interest, Interest::None) {
            return;
        }
        let directory = self.mount.join(&path);
        let metadata = match fs::symlink_metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => metadata,
            Ok(_) => return,
            Err(_) => {
                self.gone(&path, problems);
                return;
            }
        };
        if path.is_empty() {
            problems.found(&self.mount);
        }
        if matches!(interest, Interest::Whole)
            && !self.learn(&path, metadata.ino(), problems, facts)
        {
            return;
        }
        // The watch comes first: what is made after it is told, what was made before it is found.
        if let Err(error) = watcher.watch(&directory, watched(path.clone())) {
            match error.kind() {
                io::ErrorKind::NotFound => return self.gone(&path, problems),
                _ => problems.raise(Problem::NoWatch {
                    error: error.to_string(),
                }),
            }
        }
        match interest {
            Interest::Whole => self.look_into(&path, problems),
            _ => self.look_ahead(&path),
        }
    }

    /// Takes a cgroup in; false if it is beyond the bounds.
    fn learn(
        &mut self,
        path: &str,
        id: CgroupId,
        problems: &mut Problems,
        facts: &mut Vec<WorkloadFact>,
    ) -> bool {
        match self.known.get(path) {
            Some(known) if known.id == id => return true,
            // Another cgroup of the same name.
            Some(_) => self.forget(path),
            None => {}
        }
        if self.known.len() >= MOST_CGROUPS {
            self.refused += 1;
            let limit = MOST_CGROUPS;
            problems.raise(Problem::TooManyCgroups { limit });
            return false;
        }
        let owner = match owner_of(path) {
            Owner::Other if self.kubelet.iter().any(|kubelet| is_within(path, kubelet)) => {
                Owner::Kubelet
            }
            owner => owner,
        };
        if let Some(pod_uid) = pod_of(&owner) {
            let count = self.in_pods.entry(pod_uid.to_owned()).or_default();
            if *count >= MOST_CGROUPS_IN_POD {
                self.refused += 1;
                problems.raise(Problem::TooManyCgroupsInPod {
                    pod_uid: pod_uid.to_owned(),
                    limit: MOST_CGROUPS_IN_POD,
                });
                return false;
            }
            *count += 1;
        }
        facts.push(WorkloadFact::Cgroup {
            id,
            owner: owner.clone(),
        });
        self.known.insert(path.to_owned(), Known { id, owner });
        true
    }

    /// Queues what is in a cgroup, and forgets what no longer is.
    fn look_into(&mut self, path: &str, problems: &mut Problems) {
        let directory = self.mount.join(path);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone(path, problems);
            }
            Err(error) => {
                return problems.raise(Problem::Unreadable {
                    path: directory,
                    error: error.to_string(),
                });
            }
        };
        let mut gone = self.children(path);
        let mut count = 0;
        for entry in entries.take(MOST_ENTRIES).flatten() {
            count += 1;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name();
            let (true, Some(name)) = (is_directory, name.to_str()) else {
                continue;
            };
            let child = join(path, name);
            gone.remove(&child);
            if child.split('/').count() > MOST_LEVELS || !self.jobs.push(child) {
                self.refused += 1;
            }
        }
        // Of a directory that was not read to its end, nothing is known to be gone.
        if count < MOST_ENTRIES {
            for child in gone {
                self.forget(&child);
            }
        }
    }

    /// Queues the next level on the way to each cgroup of interest.
    fn look_ahead(&mut self, path: &str) {
        let ahead: Vec<_> = self
            .attach
            .iter()
            .chain(&self.kubelet)
            .filter_map(|root| {
                let rest = match path {
                    "" => root.as_str(),
                    _ => root.strip_prefix(path)?.strip_prefix('/')?,
                };
                Some(join(path, rest.split('/').next()?))
            })
            .collect();
        for child in ahead {
            self.jobs.push(child);
        }
    }

    fn gone(&mut self, path: &str, problems: &mut Problems) {
        if path.is_empty() {
            problems.raise(Problem::CgroupRootMissing {
                path: self.mount.clone(),
            });
        } else if matches!(self.interest(path), Interest::Whole)
            && !self.known.contains_key(path)
            && !self.is_root(path)
        {
            self.missed += 1;
        }
        self.forget(path);
    }

    fn forget(&mut self, path: &str) {
        let mut gone = match path {
            "" => self.known.keys().cloned().collect(),
            _ => self.below(path).map(str::to_owned).collect::<Vec<_>>(),
        };
        gone.push(path.to_owned());
        for path in gone {
            let Some(known) = self.known.remove(&path) else {
                continue;
            };
            self.departed.push(known.id);
            let Some(uid) = pod_of(&known.owner) else {
                continue;
            };
            if let Some(count) = self.in_pods.get_mut(uid) {
                *count -= 1;
                if *count == 0 {
                    self.in_pods.remove(uid);
                }
            }
        }
    }

    fn children(&self, path: &str) -> BTreeSet<String> {
        let level = match path {
            "" => 1,
            _ => path.split('/').count() + 1,
        };
        self.below(path)
            .filter(|below| !below.is_empty() && below.split('/').count() == level)
            .map(str::to_owned)
            .collect()
    }

    fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = match path {
            "" => String::new(),
            _ => format!("{path}/"),
        };
        self.known
            .range(prefix.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&prefix))
    }

    fn interest(&self, path: &str) -> Interest {
        let mut roots = self.attach.iter().chain(&self.kubelet);
        if self.whole_tree || roots.clone().any(|root| is_within(path, root)) {
            Interest::Whole
        } else if roots.any(|root| is_within(root, path)) {
            Interest::Passage
        } else {
            Interest::None
        }
    }

    fn is_root(&self, path: &str) -> bool {
        self.attach
            .iter()
            .chain(&self.kubelet)
            .any(|root| root == path)
    }
}

fn pod_of(owner: &Owner) -> Option<&str> {
    match owner {
        Owner::Container { pod_uid, .. } | Owner::Pod { pod_uid } => Some(pod_uid),
        Owner::Kubelet | Owner::Other => None,
    }
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        _ => format!("{parent}/{name}"),
    }
}

/// Whether `path` is `ancestor` or lies below it.
fn is_within(path: &str, ancestor: &str) -> bool {
    match path.strip_prefix(ancestor) {
        Some(rest) => ancestor.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}
