//! What a session leaves to judge by.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    agent::Ended,
    books::{Books, Units},
    cri::Stream,
    nginx::Exchange,
    pod::{Kind, PROXY, Pod, PodSpec},
    records::{Record, Records},
};
use serde_json::Value;

use crate::load::is_of_load;

/// How many records a message names.
const NAMED: usize = 20;

/// How many records a finding names.
const NAMED_BY_FINDINGS: usize = 100;

/// Everything that was received, and what others wrote of the same traffic.
pub(crate) struct Evidence {
    /// What the agent told, but of the load.
    pub(crate) records: Records,
    /// What it told of the load.
    pub(crate) of_load: Records,
    /// All of it, added up.
    pub(crate) books: Result<Books>,
    /// How the agent ended.
    pub(crate) ended: Ended,
    /// What nginx and Envoy logged in each pod that was there at the end.
    pods: BTreeMap<String, Witnesses>,
    /// The records that accuse or excuse, and that a scenario asked for.
    asked_for: RefCell<HashSet<String>>,
    /// The findings of pods that may be there or not.
    possible: RefCell<BTreeSet<(&'static str, &'static str)>>,
}

struct Witnesses {
    nginx: Vec<Exchange>,
    lines: Vec<String>,
}

impl Evidence {
    /// Waits until all is settled and takes the session down.
    pub(crate) fn gather(session: Session) -> Result<Self> {
        session.settle()?;
        let pods = session.lab.pods().iter();
        let pods = pods.map(|pod| Ok((pod.name().to_owned(), Witnesses::of(pod)?)));
        let pods = pods.collect::<Result<_>>()?;
        let outcome = session.stop()?;
        let books = outcome.records.audit();
        let (of_load, records) = outcome.records.partition(|record| is_of_load(record.pod()));
        Ok(Self {
            records,
            of_load,
            books,
            ended: outcome.ended,
            pods,
            asked_for: RefCell::default(),
            possible: RefCell::default(),
        })
    }

    /// What a pod's nginx logged of a path.
    pub(crate) fn nginx(&self, pod: &str, path: &str) -> Result<Vec<&Exchange>> {
        let exchanges = self.witnesses(pod)?.nginx.iter();
        Ok(exchanges.filter(|found| found.path() == path).collect())
    }

    /// The lines with `part` in them that a pod's Envoy wrote, whatever became of them.
    pub(crate) fn lines(&self, pod: &str, part: &str) -> Result<Vec<&str>> {
        let lines = self.witnesses(pod)?.lines.iter().map(String::as_str);
        Ok(lines.filter(|line| line.contains(part)).collect())
    }

    /// The `http` records of a path at one side of a pod.
    pub(crate) fn http(&self, pod: &str, side: &str, path: &str) -> Found<'_> {
        self.found(
            format!("{pod} {side} {path}"),
            self.records.http(pod, side, path),
        )
    }

    /// The records of a pod, those of the sidecar's own connections left out, that `holds` for.
    pub(crate) fn of(&self, pod: &str, what: &str, holds: impl Fn(&Record) -> bool) -> Found<'_> {
        let records = self.records.find(|record| {
            record.pod() == pod
                && matches!(record.kind(), "http" | "connection")
                && record.side() != "proxy"
                && holds(record)
        });
        self.found(format!("{what} of {pod}"), records)
    }

    /// These findings may be told of a pod, by chance.
    pub(crate) fn may_be_found(&self, pod: &'static str, ids: &[&'static str]) {
        let possible = ids.iter().map(|id| (pod, *id));
        self.possible.borrow_mut().extend(possible);
    }

    /// Fails unless exactly these findings, and of the possible ones any, were told of these pods,
    /// each opened and closed, and each accused unit proves one of them.
    pub(crate) fn findings_are(
        &self,
        pods: &[PodSpec],
        expected: &BTreeSet<(&str, &str)>,
    ) -> Result<()> {
        for pod in pods.iter().map(PodSpec::name) {
            let findings = self
                .records
                .find(|record| record.kind() == "finding" && record.pod() == pod);
            let ids = findings.iter().map(|record| record.text("/finding/id"));
            let ids: BTreeSet<String> = ids.collect();
            let possible = self.possible.borrow();
            let by_chance = possible
                .iter()
                .filter(|(of, id)| *of == pod && ids.contains(*id));
            let expected = expected
                .iter()
                .chain(by_chance)
                .filter(|(of, _)| *of == pod);
            let expected: BTreeSet<String> = expected.map(|(_, id)| (*id).to_owned()).collect();
            let lines: Vec<&str> = findings.iter().map(|record| record.line()).collect();
            ensure!(
                ids == expected,
                "expected {expected:?} to be found in {pod}: {lines:#?}"
            );
            for id in &ids {
                let of_id = findings.iter().filter(|it| it.text("/finding/id") == *id);
                let states: Vec<String> = of_id.map(|it| it.text("/finding/state")).collect();
                ensure!(
                    states.first().is_some_and(|state| state == "open")
                        && states.last().is_some_and(|state| state == "closed"),
                    "expected {id} of {pod} to be opened and closed: {lines:#?}"
                );
            }
            self.are_proof(pod, &findings)?;
        }
        Ok(())
    }

    /// Fails unless each finding rests on records of its pod, and each accused unit is named.
    fn are_proof(&self, pod: &str, findings: &[&Record]) -> Result<()> {
        let mut named = HashSet::new();
        for finding in findings {
            let value = finding.value();
            let ids = value["finding"]["records"].as_array();
            let ids = ids.into_iter().flatten().filter_map(Value::as_str);
            named.extend(ids.map(str::to_owned));
        }
        let of_pod: HashSet<&str> = self
            .records
            .all()
            .iter()
            .filter(|record| record.pod() == pod)
            .map(Record::id)
            .collect();
        let foreign: Vec<&String> = named
            .iter()
            .filter(|id| !of_pod.contains(id.as_str()))
            .collect();
        ensure!(foreign.is_empty(), "findings of {pod} name {foreign:?}");
        let accused = self.records.find(|record| {
            record.pod() == pod && record.accuses() && record.units() != Units::default()
        });
        let unnamed: Vec<&Record> = accused
            .into_iter()
            .filter(|record| !named.contains(record.id()))
            .collect();
        // A finding names its first records only.
        ensure!(
            unnamed.is_empty() || named.len() >= NAMED_BY_FINDINGS,
            "no finding of {pod} names\n{}",
            briefs(&unnamed)
        );
        Ok(())
    }

    /// Fails if anybody in these pods is accused or any judgement withheld, beyond
    /// what the scenarios ask for.
    pub(crate) fn nobody_else_is_accused(&self, pods: &[PodSpec]) -> Result<()> {
        let pods: HashSet<&str> = pods.iter().map(PodSpec::name).collect();
        let asked_for = self.asked_for.borrow();
        let others = self.records.find(|record| {
            // A connection with exchanges on it repeats the worst of theirs.
            let accuses = (record.accuses() || record.verdict() == "unverifiable")
                && record.units() != Units::default();
            accuses && pods.contains(record.pod()) && !asked_for.contains(record.id())
        });
        ensure!(
            others.is_empty(),
            "beside what it is about:\n{}",
            briefs(&others)
        );
        Ok(())
    }

    fn witnesses(&self, pod: &str) -> Result<&Witnesses> {
        self.pods
            .get(pod)
            .with_context(|| format!("no pod {pod} at the end"))
    }

    fn found<'a>(&'a self, what: String, records: Vec<&'a Record>) -> Found<'a> {
        Found {
            evidence: self,
            what,
            records,
        }
    }
}

impl Witnesses {
    fn of(pod: &Pod) -> Result<Self> {
        let has_app = !matches!(pod.spec().kind(), Kind::Gateway { .. });
        let has_proxy = *pod.spec().kind() != Kind::Plain;
        let nginx = if has_app {
            pod.nginx_log()?
        } else {
            Vec::new()
        };
        let lines = if has_proxy {
            pod.container(PROXY).log.lines_of(Stream::Stdout)
        } else {
            Vec::new()
        };
        Ok(Self { nginx, lines })
    }
}

/// Records that were looked for. Each check names them where they are not as they should be.
pub(crate) struct Found<'a> {
    evidence: &'a Evidence,
    what: String,
    pub(crate) records: Vec<&'a Record>,
}

impl<'a> Found<'a> {
    /// Of these, those with this verdict.
    pub(crate) fn of_verdict(&self, verdict: &str) -> Found<'a> {
        let records = self.records.iter().copied();
        Found {
            evidence: self.evidence,
            what: format!("{verdict} {}", self.what),
            records: records
                .filter(|record| record.verdict() == verdict)
                .collect(),
        }
    }

    /// There are some, and all have this verdict.
    pub(crate) fn are(&self, verdict: &str) -> Result<&Self> {
        let all = self
            .records
            .iter()
            .all(|record| record.verdict() == verdict);
        self.ensure(all && !self.records.is_empty(), &format!("to be {verdict}"))?;
        let ids = self.records.iter().map(|record| record.id().to_owned());
        self.evidence.asked_for.borrow_mut().extend(ids);
        Ok(self)
    }

    /// All have this reason.
    pub(crate) fn with_reason(&self, reason: &str) -> Result<&Self> {
        let all = self.records.iter().all(|record| record.has_reason(reason));
        self.ensure(all, &format!("to have the reason {reason}"))
    }

    /// They cover so many units in all.
    pub(crate) fn of_units(&self, observed: i64, logged: i64) -> Result<&Self> {
        let units = self.records.iter().map(|record| record.units());
        let sum = units.fold(Units::default(), |sum, units| sum + units);
        let expected = Units { observed, logged };
        self.ensure(
            sum == expected,
            &format!("to cover {expected:?}, not {sum:?}"),
        )
    }

    /// There are so many.
    pub(crate) fn are_as_many_as(&self, count: usize) -> Result<&Self> {
        self.ensure(self.records.len() == count, &format!("to be {count}"))
    }

    fn ensure(&self, holds: bool, what: &str) -> Result<&Self> {
        ensure!(
            holds,
            "expected the records of {} {what}:\n{}",
            self.what,
            briefs(&self.records)
        );
        Ok(self)
    }
}

fn briefs(records: &[&Record]) -> String {
    let briefs = records.iter().take(NAMED).map(|record| record.brief());
    let briefs: Vec<String> = briefs.collect();
    let more = records.len().saturating_sub(NAMED);
    match (briefs.is_empty(), more) {
        (true, _) => "  none".to_owned(),
        (_, 0) => format!("  {}", briefs.join("\n  ")),
        _ => format!("  {}\n  and {more} more", briefs.join("\n  ")),
    }
}
