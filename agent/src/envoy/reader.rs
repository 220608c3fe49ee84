//! Follows the logs of all proxy containers of a node.
//!
//! `logs.root` holds `pods/<namespace>_<pod>_<uid>/<container>/<restart>.log`. All files of one
//! container are one log. Layers, from the inside:
//!
//! - `raw_lines`: bytes into lines; `cri`: lines into what the container wrote; sans-IO
//! - `log_file`: one file, plain or compressed; `consumed`: whether it stays as it was read;
//!   `generation`, `listing`: the files of a container in their order
//! - `torn`: lines with a line of another program within them
//! - `intake`: the lines of one container; `container`: its files, over rotation and restarts
//! - here: all containers, in turn, each with a ration

mod beneath;
mod consumed;
mod container;
mod cri;
mod error;
mod generation;
mod intake;
mod listing;
mod log_file;
mod positions;
mod raw_lines;
#[cfg(test)]
mod tests;
mod torn;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use error::LogError;
pub use positions::{Positions, PositionsError};

use self::{
    container::{ContainerLog, Start},
    positions::Position,
    watch::Watch,
};
use super::{Content, Format, LineParser, LogLine, LogProgress, LogRewritten};
use crate::timestamp::Timestamp;

/// The directories are looked through this often even if the kernel tells of no change.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// And no more often than this, whatever changes.
const MIN_SCAN_INTERVAL: Duration = Duration::from_millis(100);

/// How much is asked of a file at once.
const READ_BYTES: usize = 64 << 10;

/// The most pod directories that are looked at; the kubelet's own bound is 110 pods a node
/// unless told otherwise.
const MAX_PODS: usize = 8192;

/// What the reader has to say.
#[derive(Debug)]
pub enum LogEvent {
    /// A line.
    Line(LogLine),
    /// How far a pod's proxy log was read; at the end of each poll, for every pod.
    /// [`Timestamp::MAX`] once its directory is gone and everything was read.
    Progress(LogProgress),
    /// What was read of a log has changed, or is gone: somebody wrote to it who does not append.
    Rewritten(LogRewritten),
    /// Something is wrong with a log. What is lost by it is told by a line of [`Content::Hole`].
    Problem(LogError),
}

/// What to read, and how much at a time.
#[derive(Clone, Debug)]
pub struct LogReaderSettings {
    /// `logs.root`.
    pub root: PathBuf,
    /// `logs.proxy_containers`.
    pub proxy_containers: Vec<String>,
    /// The most bytes that one poll reads of one container's log: one that floods does not hold
    /// up the others.
    pub bytes_per_container: usize,
    /// The most bytes that one poll reads in all, so that it ends soon.
    pub bytes_per_poll: usize,
    /// Whether the kernel is asked to tell of changes in the directories (inotify). Otherwise they
    /// are looked through every 2 s and no sooner.
    pub watch: bool,
    /// A secret, under which hashes of what was read are kept. Positions of an earlier run bring
    /// their own.
    pub key: [u8; 16],
}

impl LogReaderSettings {
    /// With no secret, and rations for a poll every 50 to 100 ms: 5 MB/s of one log and 40 MB/s of all.
    #[must_use]
    pub fn new(root: PathBuf, proxy_containers: Vec<String>) -> Self {
        Self {
            root,
            proxy_containers,
            bytes_per_container: 512 << 10,
            bytes_per_poll: 4 << 20,
            watch: true,
            key: [0; 16],
        }
    }
}

/// Follows the logs of all proxy containers beneath a directory. It never waits: what is there is
/// read when [`LogReader::poll`] is called.
///
/// What becomes of lines that are no lines: one without the framing of a container runtime is
/// [`Content::Unknown`], with the stamp of the line before it; one longer than 1 MiB is judged by
/// its beginning ([`LineParser::judge`]), handed out once, and its rest left out; where a part of
/// a file is missing, a line of [`Content::Hole`] of length 0 stands in its place. A line of
/// several parts has the place of its first and the stamp of its last, and its length is that of
/// its parts. One that was torn by a line of pilot-agent is put together, and has the place of its
/// head; where that cannot be done it is [`Content::Unknown`]. In a log that is read from its end,
/// a line of which parts are there already is left out.
///
/// It keeps a descriptor for the directory of each proxy container and for each of its files that
/// is not read to the end: normally two a container.
pub struct LogReader {
    settings: LogReaderSettings,
    parser: LineParser,
    containers: BTreeMap<String, ContainerLog>,
    /// Positions of an earlier run whose containers were not met yet.
    stored: BTreeMap<String, Position>,
    /// How to begin a log without a stored position.
    start: Start,
    /// None before the first scan, and where [`LogReaderSettings::watch`] says so or it failed.
    watch: Option<Watch>,
    /// When the directories were last looked through.
    scanned: Option<Timestamp>,
    /// The directories were looked through at least once.
    root_seen: bool,
    /// A change was told and is not looked at yet.
    changed: bool,
    root_problem: bool,
    too_many_told: bool,
    /// Directories that could not be opened, and were told of.
    troubled: BTreeSet<String>,
    /// The container with which the next poll begins.
    turn: String,
    buffer: Vec<u8>,
    bytes_read: u64,
}

impl LogReader {
    /// A reader that begins at the ends of the logs, or, with `stored`, where an earlier one
    /// stood. Logs that appear after the first poll (or, with `stored`, that are not in it) are
    /// read from their beginnings.
    #[must_use]
    pub fn new(mut settings: LogReaderSettings, format: Format, stored: Option<Positions>) -> Self {
        let start = if stored.is_some() {
            Start::Beginning
        } else {
            Start::End
        };
        if let Some(key) = stored.as_ref().and_then(|positions| positions.key) {
            settings.key = key;
        }
        Self {
            settings,
            parser: LineParser::new(format),
            containers: BTreeMap::new(),
            stored: stored
                .map(|positions| positions.containers)
                .unwrap_or_default(),
            start,
            watch: None,
            scanned: None,
            root_seen: false,
            changed: false,
            root_problem: false,
            too_many_told: false,
            troubled: BTreeSet::new(),
            turn: String::new(),
            buffer: vec![0; READ_BYTES],
            bytes_read: 0,
        }
    }

    /// Replaces the format, from the next line on.
    pub fn set_format(&mut self, format: Format) {
        self.parser = LineParser::new(format);
    }

    /// Reads what is there, within the rations, and ends with one [`LogEvent::Progress`] for each
    /// pod. `now` is the time at which it is called. True if there is more to read at once.
    pub fn poll(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) -> bool {
        self.changed |= self.watch.as_mut().is_some_and(Watch::changed);
        let interval = if self.changed {
            MIN_SCAN_INTERVAL
        } else {
            SCAN_INTERVAL
        };
        if self
            .scanned
            .is_none_or(|scanned| now.distance(scanned) >= interval)
        {
            self.changed = false;
            self.scanned = Some(now);
            self.scan(now, sink);
            // What is met from now on was not there at the start.
            self.start = Start::Beginning;
        }
        let behind = self.read(now, sink);
        self.tell_progress(sink);
        self.containers
            .retain(|_, container| !container.is_finished());
        behind
    }

    /// Where the reader stands: what to store in `state.dir`, and to give to the next run.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let met = self.containers.iter();
        let met = met.filter_map(|(path, log)| Some((path.clone(), log.position()?)));
        let containers = self.stored.clone().into_iter().chain(met).collect();
        Positions::new(self.settings.key, containers)
    }

    /// Bytes read of all logs since the start.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes that are there and not read, of all logs. Asks the kernel for the size of each.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.containers
            .values()
            .map(ContainerLog::unread_bytes)
            .sum()
    }

    fn scan(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        if self.watch.is_none() && self.settings.watch {
            match Watch::new() {
                Ok(watch) => self.watch = Some(watch),
                Err(source) => self.watch_problem(source, sink),
            }
        }
        match self.list_pods(sink) {
            Ok((pods, names)) => {
                self.root_problem = false;
                let found = self.scan_pods(&pods, &names, now, sink);
                for (path, container) in &mut self.containers {
                    if !found.contains(path) {
                        container.vanish();
                    }
                }
                if !std::mem::replace(&mut self.root_seen, true) {
                    self.give_up_stored(now, sink);
                }
            }
            Err(source) => {
                // What is open stays open, and is still read.
                if !std::mem::replace(&mut self.root_problem, true) {
                    let path = self.settings.root.display().to_string();
                    sink(LogEvent::Problem(LogError::Root { path, source }));
                }
            }
        }
    }

    fn list_pods(&mut self, sink: &mut dyn FnMut(LogEvent)) -> io::Result<(OwnedFd, Vec<String>)> {
        let root = beneath::open_root(&self.settings.root)?;
        let pods = beneath::open_directory(&root, "pods")?;
        self.add_watch(&pods, sink);
        let (mut names, more) = beneath::list(&pods, MAX_PODS)?;
        if more && !std::mem::replace(&mut self.too_many_told, true) {
            let (path, limit) = ("pods".to_owned(), MAX_PODS);
            sink(LogEvent::Problem(LogError::TooMany { path, limit }));
        }
        if more {
            // Those that are followed are not among what is left out.
            let containers = self.containers.keys();
            let followed = containers.filter_map(|path| path.split('/').nth(1));
            names.extend(followed.map(str::to_owned));
            names.sort_unstable();
            names.dedup();
        }
        Ok((pods, names))
    }

    /// Looks for the logs of the listed pods, and returns the paths of those that are there.
    fn scan_pods(
        &mut self,
        pods: &OwnedFd,
        names: &[String],
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for name in names {
            let Some(uid) = pod_uid(name) else { continue };
            let pod = beneath::open_directory(pods, name);
            if let Ok(pod) = &pod {
                self.add_watch(pod, sink);
            }
            for index in 0..self.settings.proxy_containers.len() {
                let container = &self.settings.proxy_containers[index];
                let path = format!("pods/{name}/{container}");
                let directory = match &pod {
                    Ok(pod) => beneath::open_directory(pod, container),
                    Err(error) => Err(error.kind().into()),
                };
                match directory {
                    Ok(directory) => {
                        self.add_watch(&directory, sink);
                        self.scan_container(&path, uid, directory, now, sink);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    // It is there and cannot be opened: a link, or refused.
                    Err(source) => {
                        if self.troubled.insert(path.clone()) {
                            let path = path.clone();
                            sink(LogEvent::Problem(LogError::Directory { path, source }));
                        }
                    }
                }
                found.insert(path);
            }
        }
        self.troubled.retain(|path| found.contains(path));
        found
    }

    fn scan_container(
        &mut self,
        path: &str,
        uid: &str,
        directory: OwnedFd,
        now: Timestamp,
        sink: &mut dyn FnMut(LogEvent),
    ) {
        let container = self.containers.entry(path.to_owned()).or_insert_with(|| {
            let start = self.stored.remove(path).map_or_else(
                || self.start.clone(),
                |position| Start::At(Box::new(position)),
            );
            ContainerLog::new(path.to_owned(), uid.into(), start, self.settings.key)
        });
        container.scan(directory, now, sink);
        container.check_read(now, sink);
    }

    /// What an earlier run had not read of pods that are gone is lost.
    fn give_up_stored(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) {
        for (directory, position) in std::mem::take(&mut self.stored) {
            let mut parts = directory.split('/').skip(1);
            let (Some(uid), Some(name)) = (parts.next().and_then(pod_uid), parts.next()) else {
                continue;
            };
            // A container that is no longer in `proxy_containers` is nobody's loss.
            if !self.settings.proxy_containers.iter().any(|it| it == name) {
                continue;
            }
            let pod_uid: Arc<str> = uid.into();
            let offset = position.stdout.offset.min(position.stderr.offset);
            sink(LogEvent::Line(LogLine {
                pod_uid: Arc::clone(&pod_uid),
                file: position.path.as_str().into(),
                offset,
                length: 0,
                time: now,
                content: Content::Hole,
                sensitive: Vec::new(),
            }));
            sink(LogEvent::Problem(LogError::PositionLost {
                path: position.path,
                offset,
            }));
            if self
                .containers
                .values()
                .all(|container| &**container.pod_uid() != uid)
            {
                let read_until = Timestamp::MAX;
                sink(LogEvent::Progress(LogProgress {
                    pod_uid,
                    read_until,
                }));
            }
        }
    }

    /// Reads from each container in turn. True if one has more.
    fn read(&mut self, now: Timestamp, sink: &mut dyn FnMut(LogEvent)) -> bool {
        let mut left = self.settings.bytes_per_poll;
        let mut behind = false;
        let mut next_turn = None;
        let (before, from) = {
            let mut before: Vec<_> = self.containers.iter_mut().collect();
            let split = before.partition_point(|(path, _)| **path < self.turn);
            let from = before.split_off(split);
            (before, from)
        };
        for (path, container) in from.into_iter().chain(before) {
            if left == 0 {
                next_turn = Some(path.clone());
                behind = true;
                break;
            }
            container.rescan_if_stale(now, sink);
            let ration = self.settings.bytes_per_container.min(left);
            let used = container.read(now, ration, &mut self.buffer, &mut self.parser, sink);
            left = left.saturating_sub(used);
            self.bytes_read += used as u64;
            behind |= container.is_behind();
        }
        if let Some(path) = next_turn {
            self.turn = path;
        }
        behind
    }

    /// One for each pod; of several proxy containers in one pod the one that is furthest behind.
    fn tell_progress(&self, sink: &mut dyn FnMut(LogEvent)) {
        let mut pods: BTreeMap<&Arc<str>, Option<Timestamp>> = BTreeMap::new();
        for container in self.containers.values() {
            let until = if container.is_finished() {
                Some(Timestamp::MAX)
            } else {
                container.read_until()
            };
            let pod = pods.entry(container.pod_uid()).or_insert(until);
            *pod = (*pod).min(until);
        }
        for (pod_uid, read_until) in pods {
            if let Some(read_until) = read_until {
                let pod_uid = Arc::clone(pod_uid);
                sink(LogEvent::Progress(LogProgress {
                    pod_uid,
                    read_until,
                }));
            }
        }
    }

    fn add_watch(&mut self, directory: &OwnedFd, sink: &mut dyn FnMut(LogEvent)) {
        let Some(watch) = &self.watch else { return };
        if let Err(source) = watch.add(directory) {
            self.watch_problem(source, sink);
        }
    }

    fn watch_problem(&mut self, source: io::Error, sink: &mut dyn FnMut(LogEvent)) {
        if std::mem::replace(&mut self.settings.watch, false) {
            sink(LogEvent::Problem(LogError::Watch { source }));
        }
    }
}

/// The uid in `<namespace>_<pod>_<uid>`; names of neither kind hold a `_`.
fn pod_uid(directory: &str) -> Option<&str> {
    let mut parts = directory.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = !namespace.is_empty() && !pod.is_empty() && !uid.is_empty();
    (whole && parts.next().is_none()).then_some(uid)
}
