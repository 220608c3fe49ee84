//! `policy suggest`: rules for a person to review, from records of what was missed. Sans-IO.
//!
//! `bypassed` and `unlogged` records become groups that one narrow rule each would expect. What
//! nobody should allow becomes a warning instead, and what lines say falsely becomes nothing.

mod network;
mod path;
mod stored;
#[cfg(test)]
mod tests;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

pub use stored::StoredRecord;
use stored::{is_plain, workload_pattern};

use crate::{
    config::{Direction, Expectation},
    record::Verdict,
};

/// The user as which Istio runs its proxy.
const PROXY_USER: u32 = 1337;

/// Groups that are kept, of all pods; what is beyond is counted.
const MOST_GROUPS: usize = 10_000;

/// Records that others replace, of which the ids are kept.
const MOST_REVISED: usize = 1_000_000;

/// Addresses, paths and commands that are kept of a group.
const MOST_KEPT: usize = 1024;

/// What was found in the records so far.
#[derive(Debug, Default)]
pub struct Suggestions {
    revised: HashSet<String>,
    /// The last record of each start of an agent: what is stored twice comes again in order.
    last: BTreeMap<String, u64>,
    groups: BTreeMap<Key, Group>,
    warnings: BTreeMap<(Warning, String), Counted>,
}

/// What one rule would name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// `namespace/name`, with `*` for what is chance in a name.
    workload: String,
    direction: Way,
    missed: Missed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Inbound,
    Outbound,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missed {
    /// `bypassed`: traffic to a port.
    Direct { port: u16 },
    /// `unlogged`: requests of a method and a form of path, answered with a class of status.
    Request {
        method: Option<String>,
        path: Option<String>,
        class: Option<u16>,
    },
    /// `unlogged`: connections to a port that carried no request.
    Connection { port: u16 },
}

#[derive(Debug, Default)]
struct Group {
    counted: Counted,
    remotes: BTreeSet<IpAddr>,
    paths: BTreeSet<String>,
    statuses: BTreeSet<u16>,
    commands: BTreeSet<String>,
}

/// How many units, and when the first and the last one was.
#[derive(Debug, Default)]
struct Counted {
    units: u64,
    first: String,
    last: String,
}

/// Why there is no rule for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Warning {
    ProxyContainer,
    ProxyUser,
    ProxyKilled,
    NoPod,
    TooMany,
}

impl Suggestions {
    /// Notes which records others replace; to be told of every record before the first
    /// [`Suggestions::add`].
    pub fn note_revised(&mut self, record: &StoredRecord) {
        for id in &record.revises {
            if self.revised.len() < MOST_REVISED {
                self.revised.insert(id.clone());
            }
        }
    }

    /// Takes a record into account, if it is one of those that rules could be for.
    pub fn add(&mut self, record: &StoredRecord) {
        let wanted = matches!(record.verdict, Some(Verdict::Bypassed | Verdict::Unlogged));
        if !self.is_new(&record.id) || self.revised.contains(&record.id) {
            return;
        }
        if !wanted || record.units.observed == 0 {
            return;
        }
        match key(record) {
            Ok(key) => self.count(key, record),
            Err(warning) => self.warn(warning, record),
        }
    }

    /// The proposal, as a part of a configuration.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self)
    }

    fn is_new(&mut self, id: &str) -> bool {
        let Some((start, Ok(sequence))) = id
            .rsplit_once('-')
            .map(|(start, sequence)| (start, sequence.parse::<u64>()))
        else {
            return false;
        };
        let last = self.last.entry(start.to_owned()).or_default();
        let is_new = sequence > *last;
        *last = sequence.max(*last);
        is_new
    }

    fn count(&mut self, key: Key, record: &StoredRecord) {
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            self.warn(Warning::TooMany, record);
            return;
        }
        let way = key.direction;
        let group = self.groups.entry(key).or_default();
        group.counted.add(record);
        let attributes = &record.attributes;
        let remote = match way {
            Way::Outbound => attributes.server_address,
            Way::Inbound => attributes.client_address,
        };
        keep(&mut group.remotes, remote);
        keep(&mut group.paths, attributes.path.clone());
        keep(&mut group.statuses, attributes.status);
        let command = record.workload.command.clone();
        keep(
            &mut group.commands,
            command.filter(|command| is_plain(command)),
        );
    }

    fn warn(&mut self, warning: Warning, record: &StoredRecord) {
        let workload = workload_of(record).unwrap_or_else(|| "outside pods".to_owned());
        if self.warnings.len() < MOST_GROUPS {
            let counted = self.warnings.entry((warning, workload)).or_default();
            counted.add(record);
        }
    }
}

impl Counted {
    fn add(&mut self, record: &StoredRecord) {
        self.units += record.units.observed;
        let time = record.time.to_string();
        if self.first.is_empty() || time < self.first {
            self.first.clone_from(&time);
        }
        self.last = time.max(std::mem::take(&mut self.last));
    }
}

impl Missed {
    fn expectation(&self) -> Expectation {
        match self {
            Self::Direct { .. } => Expectation::Direct,
            Self::Request { .. } | Self::Connection { .. } => Expectation::Unlogged,
        }
    }
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Inbound => Self::Inbound,
            Way::Outbound => Self::Outbound,
        }
    }
}

fn keep<T: Ord>(kept: &mut BTreeSet<T>, new: Option<T>) {
    if kept.len() < MOST_KEPT {
        kept.extend(new);
    }
}

/// What a rule for this record would name.
fn key(record: &StoredRecord) -> Result<Key, Warning> {
    let has = |reason: &str| record.reasons.iter().any(|found| found == reason);
    if has("from_proxy_container") {
        return Err(Warning::ProxyContainer);
    }
    let is_bypass = record.verdict == Some(Verdict::Bypassed);
    if is_bypass && record.workload.user == Some(PROXY_USER) {
        return Err(Warning::ProxyUser);
    }
    if has("proxy_killed") {
        return Err(Warning::ProxyKilled);
    }
    let workload = workload_of(record).ok_or(Warning::NoPod)?;
    let direction = match record.side.as_deref() {
        Some("client") => Way::Outbound,
        Some("server") => Way::Inbound,
        _ => return Err(Warning::NoPod),
    };
    let attributes = &record.attributes;
    let port = attributes.server_port.ok_or(Warning::NoPod)?;
    let missed = match record.kind.as_str() {
        _ if is_bypass => Missed::Direct { port },
        "http" => Missed::Request {
            method: attributes.method.clone().filter(|method| is_plain(method)),
            path: attributes.path.as_deref().map(path::form),
            class: attributes.status.map(|status| status / 100),
        },
        _ => Missed::Connection { port },
    };
    Ok(Key {
        workload,
        direction,
        missed,
    })
}

fn workload_of(record: &StoredRecord) -> Option<String> {
    let (namespace, pod) = (&record.workload.namespace, &record.workload.pod);
    workload_pattern(namespace.as_deref()?, pod.as_deref()?)
}
