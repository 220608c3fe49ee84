//! What the directory of workloads says of itself.

use super::{
    exposition::{Exposition, MetricType},
    family::{Counter, Family, Gauge},
};
use crate::workload::{Directory, Problem};

/// What the directory of workloads holds and left out.
#[derive(Debug, Default)]
pub(super) struct WorkloadMetrics {
    cgroups: Gauge,
    pods: Gauge,
    missed_cgroups: Counter,
    rejected_names: Counter,
    refused_entries: Counter,
    overflows: Counter,
    problems: Family<&'static str>,
}

impl WorkloadMetrics {
    pub(super) fn set(&self, directory: &Directory) {
        let counts = directory.counts();
        self.cgroups.set(counts.cgroups as u64);
        self.pods.set(counts.pods as u64);
        self.missed_cgroups.set_total(counts.missed_cgroups);
        self.rejected_names.set_total(counts.rejected_names);
        self.refused_entries.set_total(counts.refused_entries);
        self.overflows.set_total(counts.overflows);
        for word in PROBLEMS {
            let lasting = directory
                .problems()
                .filter(|problem| word_of(problem) == word);
            self.problems.set(word, lasting.count() as u64);
        }
    }

    pub(super) fn render(&self, page: &mut Exposition) {
        page.metric(
            MetricType::Gauge,
            "meshwitness_workload_cgroups",
            "Cgroups kept in mind.",
        )
        .sample(&[], self.cgroups.value())
        .metric(
            MetricType::Gauge,
            "meshwitness_workload_pods",
            "Pods kept in mind.",
        )
        .sample(&[], self.pods.value())
        .metric(
            MetricType::Counter,
            "meshwitness_workload_missed_cgroups_total",
            "Cgroups that were gone before their id could be read.",
        )
        .sample(&[], self.missed_cgroups.value())
        .metric(
            MetricType::Counter,
            "meshwitness_workload_rejected_names_total",
            "Entries of the log directory whose names the kubelet would not give.",
        )
        .sample(&[], self.rejected_names.value())
        .metric(
            MetricType::Counter,
            "meshwitness_workload_refused_entries_total",
            "Cgroups, pods and containers beyond a bound.",
        )
        .sample(&[], self.refused_entries.value())
        .metric(
            MetricType::Counter,
            "meshwitness_workload_notice_overflows_total",
            "Times that the kernel dropped notices of changed directories.",
        )
        .sample(&[], self.overflows.value())
        .metric(
            MetricType::Gauge,
            "meshwitness_workload_problems",
            "Lasting problems of the cgroup and log directories; the agent's log says which.",
        );
        for (problem, count) in self.problems.values() {
            page.sample(&[("problem", problem)], count);
        }
    }
}

const PROBLEMS: [&str; 6] = [
    "cgroup_mount_missing",
    "log_directory_missing",
    "unreadable",
    "no_watch",
    "too_many_cgroups",
    "too_many_pods",
];

fn word_of(problem: &Problem) -> &'static str {
    match problem {
        Problem::CgroupRootMissing { .. } => "cgroup_mount_missing",
        Problem::LogDirectoryMissing { .. } => "log_directory_missing",
        Problem::Unreadable { .. } => "unreadable",
        Problem::NoWatch { .. } => "no_watch",
        Problem::TooManyCgroups { .. } | Problem::TooManyCgroupsInPod { .. } => "too_many_cgroups",
        Problem::TooManyPods { .. } | Problem::TooManyContainers { .. } => "too_many_pods",
    }
}
