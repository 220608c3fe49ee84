//! The incidents: how each is staged, and what a record must say to have found it.

use std::time::Duration;

use anyhow::Context;
use lab::{
    Lab,
    cri::{Fault, Sprung},
    nginx,
    outside::PORTS,
    pod::{APP, PROXY, Pod},
    process::User,
    records::{Record, Records},
};

use super::traffic::{curl, curl_as};

/// How long Envoy and the container runtime may take to write a line.
const LINE: Duration = Duration::from_secs(10);

const SUPPRESSED: &str = "/admin/export";
const FORGED: &str = "/orders/refund-approved";
const EDITED: &str = "/fail/payment";

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Incident {
    /// A process takes on the sidecar's user id, which Istio's rules let pass.
    Bypass,
    /// A line never reaches the log.
    SuppressedLine,
    /// A line is put into the log that no proxy wrote.
    ForgedLine,
    /// A failed request is logged as a success.
    EditedStatus,
}

/// An incident that has happened.
pub(super) struct Staged {
    pub(super) incident: Incident,
    /// The address that the bypass went to.
    outside: String,
}

impl Incident {
    pub(super) const ALL: [Self; 4] = [
        Self::Bypass,
        Self::SuppressedLine,
        Self::ForgedLine,
        Self::EditedStatus,
    ];

    /// What happens, for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Bypass => {
                "incident 1: a process in pod a, under the sidecar's user id, calls out"
            }
            Self::SuppressedLine => "incident 2: b's line of an export never reaches the log",
            Self::ForgedLine => "incident 3: a line of a refund is put into a's log",
            Self::EditedStatus => "incident 4: in a's log a failed payment becomes a success",
        }
    }

    /// Lets it happen.
    pub(super) fn stage(self, lab: &Lab) -> anyhow::Result<Staged> {
        let (a, b) = (lab.pod("a"), lab.pod("b"));
        let server = format!("http://{}:{}", b.addresses().v4, nginx::HTTP_PORT);
        let outside = lab.outside().addresses().v4.to_string();
        match self {
            Self::Bypass => {
                let url = format!("http://{outside}:{}/upload", PORTS[0]);
                curl_as(a, User::PROXY, &[&url])?;
            }
            Self::SuppressedLine => {
                let sprung = trap(b, SUPPRESSED, Fault::Drop);
                curl(a, &[&format!("{server}{SUPPRESSED}")])?;
                met(b, SUPPRESSED, &sprung)?;
            }
            Self::ForgedLine => {
                const PATTERN: &str = "/orders/refund-requested";
                curl(a, &[&format!("{server}{PATTERN}")])?;
                let log = &a.container(PROXY).log;
                let line = log.wait_for(LINE, |line| line.contains(PATTERN))?;
                log.invent(&line.replace(PATTERN, FORGED))?;
            }
            Self::EditedStatus => {
                let edit = |line: &str| line.replacen(" 500 ", " 200 ", 1);
                let sprung = trap(a, EDITED, Fault::Edit(Box::new(edit)));
                curl(a, &[&format!("{server}{EDITED}")])?;
                met(a, EDITED, &sprung)?;
            }
        }
        Ok(Staged {
            incident: self,
            outside,
        })
    }
}

impl Staged {
    /// The unit that found it.
    pub(super) fn find<'a>(&self, records: &'a Records) -> Option<&'a Record> {
        let mut found = records.find(|record| self.is_it(record) && is_unit(record));
        match found.len() {
            1 => found.pop(),
            _ => None,
        }
    }

    /// Whether a record speaks of it, as a unit or as the connection around one.
    pub(super) fn is_it(&self, record: &Record) -> bool {
        let is = |verdict, pod, side| {
            (record.verdict(), record.pod(), record.side()) == (verdict, pod, side)
        };
        let is_connection = record.kind() == "connection";
        // The connection of an accused exchange is no unit and has the worst of their verdicts.
        let around = is_connection && !is_unit(record);
        match self.incident {
            Incident::Bypass => {
                is("bypassed", "a", "client")
                    && is_connection
                    && record.server() == Some((&self.outside, PORTS[0]))
            }
            Incident::SuppressedLine => {
                is("unlogged", "b", "server") && (around || record.path() == SUPPRESSED)
            }
            Incident::ForgedLine => {
                is("unseen", "a", "client") && (around || record.path() == FORGED)
            }
            Incident::EditedStatus => {
                is("mismatched", "a", "client")
                    && (around
                        || (record.path() == EDITED
                            && record.differing_fields() == ["http.response.status_code"]))
            }
        }
    }

    /// How it was found, in the words of the record.
    pub(super) fn explain(&self, record: &Record) -> String {
        let value = record.value();
        match self.incident {
            Incident::Bypass => format!(
                "the kernel saw a connection to {}:{} by {}, user {}; no socket of the sidecar held it",
                self.outside,
                PORTS[0],
                record.text("/workload/process.command"),
                value["workload"]["user.id"],
            ),
            Incident::SuppressedLine => format!(
                "the kernel saw {} {} with answer {}; the log was read past it and has no line",
                record.method(),
                record.path(),
                value["attributes"]["http.response.status_code"],
            ),
            Incident::ForgedLine => format!(
                "a line of {} {} at byte {} of the log; the kernel saw no such exchange",
                record.method(),
                record.path(),
                value["envoy"]["log.offset"],
            ),
            Incident::EditedStatus => {
                let difference = &value["differences"][0];
                format!(
                    "{}: the kernel saw {}, the log says {}",
                    record.text("/differences/0/field"),
                    difference["kernel"],
                    difference["log"]
                )
            }
        }
    }
}

/// Whether a record counts in the books.
pub(super) fn is_unit(record: &Record) -> bool {
    let units = record.units();
    (units.observed, units.logged) != (0, 0)
}

/// A fault for the next line of a path in the log of a pod's sidecar.
fn trap(pod: &Pod, path: &str, fault: Fault) -> Sprung {
    let word = format!("{path} HTTP");
    let log = &pod.container(PROXY).log;
    log.inject(0, move |line| line.contains(&word), fault)
}

/// Waits until the fault has met its line.
fn met(pod: &Pod, path: &str, sprung: &Sprung) -> anyhow::Result<()> {
    let log = &pod.container(PROXY).log;
    log.wait_for(LINE, |line| line.contains(path))?;
    let line = sprung.line();
    line.map(drop)
        .with_context(|| format!("the fault did not meet the line of {path} in {APP}'s pod"))
}
