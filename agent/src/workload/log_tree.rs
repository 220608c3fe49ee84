//! The log directory: which pods are on the node, and what their containers are called.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Pod, WorkloadFact,
    cgroup_tree::CgroupTree,
    log_name::{LinkedId, container_link, pod_directory},
    name::is_label,
    problem::{Problem, Problems},
    queue::JobQueue,
    watcher::{ChangeKind, Watcher},
};

/// Pods kept in mind: 110 on a node by default, some hundreds at most; the kubelet removes the
/// directories of those that are gone.
const MOST_PODS: usize = 4096;

/// Containers of one pod, init containers included.
const MOST_CONTAINERS: usize = 64;

/// Links kept in mind: each container has one for each of its last lives.
const MOST_LINKS: usize = 16 * 1024;

/// Entries of one directory that are looked at.
const MOST_ENTRIES: usize = 64 * 1024;

/// The first digits of an id that tell one container of a pod from another.
const FEWEST_DIGITS: usize = 4;

/// A directory of interest beneath the log root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LogDirectory {
    Root,
    Pods,
    /// A pod's, by its name in `pods/`.
    Pod(String),
    Links,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Job {
    Directory(LogDirectory),
    Link(String),
}

/// Follows `pods/` and `containers/`.
#[derive(Debug)]
pub(super) struct LogTree {
    root: PathBuf,
    /// By the name of the directory.
    pods: BTreeMap<String, Pod>,
    /// The directory of each uid.
    directories: HashMap<String, String>,
    /// By the link's name.
    links: BTreeMap<String, Link>,
    jobs: JobQueue<Job>,
    pub(super) rejected: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Link {
    pod_uid: String,
    container: String,
    /// The whole id, or as much of it as the link's name has.
    id: String,
    is_cut: bool,
}

impl LogTree {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            pods: BTreeMap::new(),
            directories: HashMap::new(),
            links: BTreeMap::new(),
            jobs: JobQueue::default(),
            rejected: 0,
            refused: 0,
        }
    }

    /// Looks at everything again in the next steps.
    pub(super) fn rescan(&mut self) {
        self.jobs.push(Job::Directory(LogDirectory::Root));
    }

    pub(super) fn has_work(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// An entry of a watched directory came or went.
    pub(super) fn changed(
        &mut self,
        directory: LogDirectory,
        name: &str,
        kind: ChangeKind,
        facts: &mut Vec<WorkloadFact>,
    ) {
        let job = match (directory, kind) {
            (LogDirectory::Root, _) => match name {
                "pods" => Job::Directory(LogDirectory::Pods),
                "containers" => Job::Directory(LogDirectory::Links),
                _ => return,
            },
            (LogDirectory::Pods, ChangeKind::Came) => {
                Job::Directory(LogDirectory::Pod(name.to_owned()))
            }
            (LogDirectory::Pods, ChangeKind::Went) => return self.forget_pod(name, facts),
            (pod @ LogDirectory::Pod(_), _) => Job::Directory(pod),
            (LogDirectory::Links, ChangeKind::Came) => Job::Link(name.to_owned()),
            (LogDirectory::Links, ChangeKind::Went) => {
                self.links.remove(name);
                return;
            }
        };
        if !self.jobs.push(job) {
            self.refused += 1;
        }
    }

    /// Does one piece of the work that waits.
    pub(super) fn step<T: Clone>(
        &mut self,
        watcher: &mut Watcher<T>,
        watched: impl Fn(LogDirectory) -> T,
        problems: &mut Problems,
        facts: &mut Vec<WorkloadFact>,
    ) {
        let directory = match self.jobs.pop() {
            None => return,
            Some(Job::Link(name)) => return self.read_link(&name, facts),
            Some(Job::Directory(directory)) => directory,
        };
        if let LogDirectory::Pod(name) = &directory
            && pod_directory(name).is_none()
        {
            self.rejected += 1;
            return;
        }
        let path = self.path_of(&directory);
        let target = watched(directory.clone());
        // The watch comes first: what is made after it is told, what was made before it is found.
        let names = match watcher.watch(&path, target) {
            Err(error) if is_absence(&error) => Err(error),
            Err(error) => {
                problems.raise(Problem::NoWatch {
                    error: error.to_string(),
                });
                entries(&path, &directory)
            }
            Ok(()) => entries(&path, &directory),
        };
        match names {
            Ok(names) => {
                problems.found(&path);
                self.found(directory, names, problems, facts);
            }
            Err(error) if is_absence(&error) => {
                if !matches!(directory, LogDirectory::Pod(_)) {
                    problems.raise(Problem::LogDirectoryMissing { path });
                }
                self.lost(&directory, facts);
            }
            Err(error) => problems.raise(Problem::Unreadable {
                path,
                error: error.to_string(),
            }),
        }
    }

    /// Pairs the links whose id was cut with the containers that have a cgroup.
    pub(super) fn complete_cut_ids(&mut self, cgroups: &CgroupTree, facts: &mut Vec<WorkloadFact>) {
        for link in self.links.values_mut().filter(|link| link.is_cut) {
            let ids: BTreeSet<_> = cgroups
                .containers_of(&link.pod_uid)
                .filter(|id| id.starts_with(&link.id))
                .collect();
            // Shorter beginnings, and two that fit, are left open rather than guessed.
            if let (Some(id), 1, true) = (ids.first(), ids.len(), link.id.len() >= FEWEST_DIGITS) {
                link.id = (*id).to_owned();
                link.is_cut = false;
                facts.push(link.fact());
            }
        }
    }

    fn path_of(&self, directory: &LogDirectory) -> PathBuf {
        match directory {
            LogDirectory::Root => self.root.join(""),
            LogDirectory::Pods => self.root.join("pods"),
            LogDirectory::Pod(name) => self.root.join("pods").join(name),
            LogDirectory::Links => self.root.join("containers"),
        }
    }

    fn found(
        &mut self,
        directory: LogDirectory,
        names: Vec<String>,
        problems: &mut Problems,
        facts: &mut Vec<WorkloadFact>,
    ) {
        match directory {
            LogDirectory::Root => {
                self.jobs.push(Job::Directory(LogDirectory::Pods));
                self.jobs.push(Job::Directory(LogDirectory::Links));
            }
            LogDirectory::Pods => {
                let present: BTreeSet<_> = names.into_iter().collect();
                let gone = self.pods.keys().filter(|name| !present.contains(*name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    self.forget_pod(&name, facts);
                }
                for name in present {
                    self.jobs.push(Job::Directory(LogDirectory::Pod(name)));
                }
            }
            LogDirectory::Links => {
                let present: BTreeSet<_> = names.into_iter().collect();
                self.links.retain(|name, _| present.contains(name));
                for name in present {
                    if !self.links.contains_key(&name) {
                        self.jobs.push(Job::Link(name));
                    }
                }
            }
            LogDirectory::Pod(name) => self.found_pod(name, names, problems, facts),
        }
    }

    fn found_pod(
        &mut self,
        directory: String,
        names: Vec<String>,
        problems: &mut Problems,
        facts: &mut Vec<WorkloadFact>,
    ) {
        let Some(parts) = pod_directory(&directory) else {
            return;
        };
        let (count, mut containers) = (names.len(), names);
        containers.retain(|name| is_label(name));
        self.rejected += (count - containers.len()) as u64;
        containers.sort();
        if containers.len() > MOST_CONTAINERS {
            self.refused += (containers.len() - MOST_CONTAINERS) as u64;
            containers.truncate(MOST_CONTAINERS);
            problems.raise(Problem::TooManyContainers {
                pod_uid: parts.uid.to_owned(),
                limit: MOST_CONTAINERS,
            });
        }
        let pod = Pod {
            uid: parts.uid.to_owned(),
            namespace: parts.namespace.into(),
            name: parts.pod.into(),
            containers,
        };
        let known = self.pods.get(&directory);
        if known == Some(&pod) || known.is_none() && !self.admit(&pod.uid, &directory, problems) {
            return;
        }
        self.pods.insert(directory, pod.clone());
        facts.push(WorkloadFact::Pod(pod));
    }

    /// Whether there is room for another pod, and its uid is its own.
    fn admit(&mut self, uid: &str, directory: &str, problems: &mut Problems) -> bool {
        // A second directory with the uid of another pod is none that the kubelet made.
        if self.directories.contains_key(uid) {
            self.rejected += 1;
            return false;
        }
        if self.pods.len() >= MOST_PODS {
            self.refused += 1;
            problems.raise(Problem::TooManyPods { limit: MOST_PODS });
            return false;
        }
        self.directories
            .insert(uid.to_owned(), directory.to_owned());
        true
    }

    fn lost(&mut self, directory: &LogDirectory, facts: &mut Vec<WorkloadFact>) {
        match directory {
            LogDirectory::Root => {
                self.lost(&LogDirectory::Pods, facts);
                self.lost(&LogDirectory::Links, facts);
            }
            LogDirectory::Pods => {
                for name in self.pods.keys().cloned().collect::<Vec<_>>() {
                    self.forget_pod(&name, facts);
                }
            }
            LogDirectory::Pod(name) => self.forget_pod(name, facts),
            LogDirectory::Links => self.links.clear(),
        }
    }

    fn forget_pod(&mut self, directory: &str, facts: &mut Vec<WorkloadFact>) {
        if let Some(pod) = self.pods.remove(directory) {
            self.directories.remove(&pod.uid);
            facts.push(WorkloadFact::PodGone { uid: pod.uid });
        }
    }

    /// The link is read as text and never followed.
    fn read_link(&mut self, name: &str, facts: &mut Vec<WorkloadFact>) {
        let Ok(target) = fs::read_link(self.root.join("containers").join(name)) else {
            self.links.remove(name);
            return;
        };
        let Some(link) = target
            .to_str()
            .and_then(|target| container_link(name, target))
        else {
            self.rejected += 1;
            return;
        };
        let (id, is_cut) = match link.id {
            LinkedId::Whole(id) => (id, false),
            LinkedId::Prefix(id) => (id, true),
        };
        let link = Link {
            pod_uid: link.pod_uid.to_owned(),
            container: link.name.to_owned(),
            id: id.to_owned(),
            is_cut,
        };
        if self.links.contains_key(name) {
            return;
        }
        if self.links.len() >= MOST_LINKS {
            self.refused += 1;
            return;
        }
        if !is_cut {
            facts.push(link.fact());
        }
        self.links.insert(name.to_owned(), link);
    }
}

impl Link {
    fn fact(&self) -> WorkloadFact {
        WorkloadFact::Container {
            id: self.id.clone(),
            pod_uid: self.pod_uid.clone(),
            name: self.container.clone(),
        }
    }
}

/// The names of the links in `containers/`, elsewhere of the subdirectories. A name that is not
/// text is none that the kubelet gave.
fn entries(path: &Path, directory: &LogDirectory) -> io::Result<Vec<String>> {
    if matches!(directory, LogDirectory::Pod(_)) && fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let entries = fs::read_dir(path)?.take(MOST_ENTRIES).flatten();
    let of_interest = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| match directory {
            LogDirectory::Links => kind.is_symlink(),
            _ => kind.is_dir(),
        })
    });
    Ok(of_interest
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// Not there, or something else than a directory.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
