//! The page as a whole: its conventions, and that the documentation tells of everything in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use super::{Metrics, SinkNumbers};
use crate::{
    capture::ProgramFacts,
    ledger::PodSummary,
    record::{Units, Verdict},
};

/// The table in which each metric stands with its help text.
const DOCUMENTATION: &str = include_str!("../../../docs/metrics.md");

/// A page on which every metric has a sample.
fn page() -> String {
    let metrics = Metrics::new();
    metrics.open_findings.set("MW-0", 1);
    metrics.capture_refused.set("streams_full", 1);
    metrics.ring_fill.set("streams", 0.5);
    metrics.ring_bytes.set("streams", 1 << 20);
    metrics.set_sinks(vec![SinkNumbers {
        name: "collector:6514".into(),
        certificate_expiry_seconds: Some(1),
        ..SinkNumbers::default()
    }]);
    metrics.set_programs(vec![ProgramFacts {
        name: "egress".into(),
        verified_instructions: None,
        runs: 1,
        run_time: Duration::from_nanos(1),
    }]);
    let pod = PodSummary {
        uid: "u",
        names: Some(("shop", "web")),
        judged: BTreeMap::from([(Verdict::Matched, Units::new(1, 1))]),
        pending: Units::default(),
        lag: Some(Duration::from_secs(1)),
    };
    metrics.set_pods([pod].into_iter());
    metrics.render()
}

#[test]
fn the_page_keeps_the_conventions() {
    let page = page();
    let mut seen = HashSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                name.starts_with("meshwitness_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(seen.contains(name), "{line}");
        }
    }
    assert!(seen.len() > 40, "{}", seen.len());
}

#[test]
fn the_documentation_has_every_metric() {
    let page = page();
    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let mut told = BTreeSet::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        let of_metric = samples
            .iter()
            .filter(|sample| sample.split(['{', ' ']).next() == Some(name));
        let labels: BTreeSet<String> = of_metric.flat_map(|sample| labels(sample)).collect();
        let labels = Vec::from_iter(labels).join(", ");
        told.insert(format!("| `{name}` | {kind} | {labels} | {help} |"));
    }
    let rows = DOCUMENTATION.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    let missing: Vec<_> = told.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&told).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/metrics.md lacks\n{}\nand has what is not told:\n{unknown:#?}",
        missing
            .iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>(),
    );
}

/// The names of a sample's labels; none of the values here holds a quote or a comma.
fn labels(sample: &str) -> Vec<String> {
    let Some((_, rest)) = sample.split_once('{') else {
        return Vec::new();
    };
    let (labels, _) = rest.split_once('}').unwrap();
    let names = labels
        .split(',')
        .map(|label| label.split('=').next().unwrap());
    names.map(|name| format!("`{name}`")).collect()
}
