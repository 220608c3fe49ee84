//! Every metric of the agent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    exposition::{Exposition, MetricType},
    family::{Counter, Family},
    pods::{PodMetrics, possible},
    process,
    sinks::{self, SinkNumbers},
    workloads::WorkloadMetrics,
};
use crate::{
    capture::ProgramFacts,
    ledger::PodSummary,
    record::{Kind, Reason, Units, Verdict},
    workload,
};

/// The agent's numbers. Each field says what it counts; the shells of the rooms update them.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records made, by kind and verdict, before any sink's filter.
    pub records: Family<(Kind, Option<Verdict>)>,
    /// Units judged. Those that were judged anew count twice.
    pub units: Family<(Verdict, Side)>,
    /// Records that replace others.
    pub revisions: Counter,
    /// Units whose verdict is withheld because the agent's own view is incomplete.
    pub lost_units: Family<(Reason, Side)>,
    /// Units that wait for their verdict.
    pub pending_units: Family<Side>,
    /// Findings that are open, by id; in the mode `observe` they stay out.
    pub open_findings: Family<&'static str>,
    /// Lines read from the proxies' logs.
    pub log_lines: Family<LogLineKind>,
    /// Events that the kernel side refused, by its reason: totals since the programs were loaded.
    pub capture_refused: Family<&'static str>,
    /// Events of the kernel side that could not be read.
    pub malformed_events: Counter,
    /// How full a ring buffer was at its fullest in the last second, from 0 to 1.
    pub ring_fill: Family<&'static str, f64>,
    /// How many bytes a ring buffer holds.
    pub ring_bytes: Family<&'static str>,
    /// What the directory of workloads holds and left out.
    workloads: WorkloadMetrics,
    pods: Mutex<PodMetrics>,
    programs: Mutex<Vec<ProgramFacts>>,
    sinks: Mutex<Vec<SinkNumbers>>,
}

/// The two sides of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What the kernel saw.
    Observed,
    /// What the proxies logged.
    Logged,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Logged => "logged",
        }
    }

    /// The units of this side.
    #[must_use]
    pub fn of(self, units: Units) -> u64 {
        match self {
            Self::Observed => units.observed,
            Self::Logged => units.logged,
        }
    }
}

/// What a line of a proxy's log turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLineKind {
    /// An access-log entry.
    Entry,
    /// An access-log entry that can be read in more than one way.
    Ambiguous,
    /// Other output of the container.
    Other,
    /// No format reads it.
    Unknown,
    /// Lines were lost before they could be read.
    Hole,
}

impl LogLineKind {
    const ALL: [Self; 5] = [
        Self::Entry,
        Self::Ambiguous,
        Self::Other,
        Self::Unknown,
        Self::Hole,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Ambiguous => "ambiguous",
            Self::Other => "other",
            Self::Unknown => "unknown",
            Self::Hole => "hole",
        }
    }
}

/// The reasons under which a unit is unverifiable, the only ones that count as loss.
const LOSSES: [Reason; 14] = [
    Reason::RingLost,
    Reason::StreamGap,
    Reason::StreamMismatch,
    Reason::Preexisting,
    Reason::BeforeStart,
    Reason::AgentDown,
    Reason::NoBytes,
    Reason::NoLog,
    Reason::LogFormatUnknown,
    Reason::LineAmbiguous,
    Reason::LineLost,
    Reason::Evicted,
    Reason::Mptcp,
    Reason::HpackUnknownEntry,
];

impl Metrics {
    /// Everything at 0, what alerts ask for included: an alert notices an increase from 0, not a
    /// series that begins at 1.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self::default();
        for verdict in Verdict::ALL {
            for kind in [Kind::Http, Kind::Connection] {
                metrics.records.add((kind, Some(verdict)), 0);
            }
        }
        for kind in [Kind::Finding, Kind::Ledger, Kind::Lifecycle] {
            metrics.records.add((kind, None), 0);
        }
        for key in possible() {
            metrics.units.add(key, 0);
        }
        for side in [Side::Observed, Side::Logged] {
            metrics.pending_units.add(side, 0);
            for reason in LOSSES {
                metrics.lost_units.add((reason, side), 0);
            }
        }
        for kind in LogLineKind::ALL {
            metrics.log_lines.add(kind, 0);
        }
        metrics
    }

    /// Takes over how all sinks stand.
    pub fn set_sinks(&self, sinks: Vec<SinkNumbers>) {
        *lock(&self.sinks) = sinks;
    }

    /// Takes over what the kernel counted of the programs; nothing where it does not count.
    pub fn set_programs(&self, programs: Vec<ProgramFacts>) {
        *lock(&self.programs) = programs;
    }

    /// Takes over the books of all pods.
    pub fn set_pods<'a>(&self, pods: impl Iterator<Item = PodSummary<'a>>) {
        lock(&self.pods).set(pods);
    }

    /// Takes over what the directory of workloads says of itself.
    pub fn set_workloads(&self, directory: &workload::Directory) {
        self.workloads.set(directory);
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Exposition::default();
        page.metric(
            MetricType::Gauge,
            "meshwitness_build_info",
            "The agent's version; always 1.",
        )
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.render_books(&mut page);
        self.render_inputs(&mut page);
        self.workloads.render(&mut page);
        lock(&self.pods).render(&mut page);
        sinks::render(&lock(&self.sinks), &mut page);
        process::render(&mut page);
        page.into_text()
    }

    fn render_books(&self, page: &mut Exposition) {
        page.metric(
            MetricType::Counter,
            "meshwitness_records_total",
            "Records made, before any sink's filter.",
        );
        for ((kind, verdict), count) in self.records.values() {
            let verdict = verdict.map_or("", Verdict::as_str);
            page.sample(&[("kind", kind.as_str()), ("verdict", verdict)], count);
        }
        page.metric(
            MetricType::Counter,
            "meshwitness_units_total",
            "Units judged: exchanges and connections observed, lines logged. Those that were \
             judged anew count twice.",
        );
        for ((verdict, side), count) in self.units.values() {
            let labels = [("side", side.as_str()), ("verdict", verdict.as_str())];
            page.sample(&labels, count);
        }
        page.metric(
            MetricType::Counter,
            "meshwitness_revised_records_total",
            "Records that replace others: a line that came after it had been missed.",
        )
        .sample(&[], self.revisions.value());
        page.metric(
            MetricType::Counter,
            "meshwitness_lost_units_total",
            "Units without a sure verdict because the agent's own view is incomplete.",
        );
        for ((reason, side), count) in self.lost_units.values() {
            page.sample(
                &[("reason", reason.as_str()), ("side", side.as_str())],
                count,
            );
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_pending_units",
            "Units that wait for their verdict.",
        );
        for (side, count) in self.pending_units.values() {
            page.sample(&[("side", side.as_str())], count);
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_open_findings",
            "Findings that are open; none in the mode observe.",
        );
        for (finding, count) in self.open_findings.values() {
            page.sample(&[("finding", finding)], count);
        }
    }

    fn render_inputs(&self, page: &mut Exposition) {
        page.metric(
            MetricType::Counter,
            "meshwitness_log_lines_total",
            "Lines read from the proxies' logs.",
        );
        for (kind, count) in self.log_lines.values() {
            page.sample(&[("kind", kind.as_str())], count);
        }
        page.metric(
            MetricType::Counter,
            "meshwitness_capture_refused_events_total",
            "Events that the kernel side could not report.",
        );
        for (reason, count) in self.capture_refused.values() {
            page.sample(&[("reason", reason)], count);
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_ring_fill_ratio",
            "How full a ring buffer was at its fullest in the last second, from 0 to 1.",
        );
        for (ring, fill) in self.ring_fill.values() {
            page.sample(&[("ring", ring)], fill);
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_ring_size_bytes",
            "How many bytes a ring buffer holds.",
        );
        for (ring, bytes) in self.ring_bytes.values() {
            page.sample(&[("ring", ring)], bytes);
        }
        page.metric(
            MetricType::Counter,
            "meshwitness_capture_malformed_events_total",
            "Events of the kernel side that could not be read: agent and programs are of two builds.",
        )
        .sample(&[], self.malformed_events.value());
        self.render_programs(page);
    }

    fn render_programs(&self, page: &mut Exposition) {
        let programs = lock(&self.programs);
        page.metric(
            MetricType::Counter,
            "meshwitness_bpf_run_time_seconds_total",
            "Time spent in each program; only while kernel.bpf_stats_enabled is set.",
        );
        for program in programs.iter() {
            let seconds = program.run_time.as_secs_f64();
            page.sample(&[("program", &program.name)], seconds);
        }
        page.metric(
            MetricType::Counter,
            "meshwitness_bpf_runs_total",
            "Runs of each program; only while kernel.bpf_stats_enabled is set.",
        );
        for program in programs.iter() {
            page.sample(&[("program", &program.name)], program.runs);
        }
    }
}

/// No update leaves what it holds half done, so a panic elsewhere does not spoil it.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Kind, LogLineKind, Metrics, Reason, Side, SinkNumbers, Verdict};
    use crate::workload::{Directory, Places};

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::new();
        let zero = "meshwitness_records_total{kind=\"http\",verdict=\"unlogged\"} 0";
        assert!(metrics.render().lines().any(|line| line == zero));

        metrics
            .records
            .add((Kind::Http, Some(Verdict::Unlogged)), 2);
        metrics.records.add((Kind::Ledger, None), 1);
        metrics
            .lost_units
            .add((Reason::RingLost, Side::Observed), 7);
        metrics.log_lines.add(LogLineKind::Hole, 1);
        metrics.capture_refused.set("ring_full", 9);
        metrics.ring_fill.set("segments", 0.25);
        metrics.set_sinks(vec![SinkNumbers {
            name: "a:1".into(),
            connected: true,
            dropped: 3,
            oldest_queued_seconds: 1.5,
            certificate_expiry_seconds: Some(1_795_334_897),
            ..SinkNumbers::default()
        }]);
        let page = metrics.render();
        for line in [
            "meshwitness_records_total{kind=\"http\",verdict=\"unlogged\"} 2",
            "meshwitness_records_total{kind=\"ledger\"} 1",
            "meshwitness_lost_units_total{reason=\"ring_lost\",side=\"observed\"} 7",
            "meshwitness_log_lines_total{kind=\"hole\"} 1",
            "meshwitness_capture_refused_events_total{reason=\"ring_full\"} 9",
            "meshwitness_ring_fill_ratio{ring=\"segments\"} 0.25",
            "meshwitness_sink_dropped_records_total{sink=\"a:1\"} 3",
            "meshwitness_sink_connected{sink=\"a:1\"} 1",
            "meshwitness_sink_oldest_queued_age_seconds{sink=\"a:1\"} 1.5",
            "meshwitness_sink_certificate_expiry_timestamp_seconds{sink=\"a:1\"} 1795334897",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n{page}");
        }
    }

    #[test]
    fn problems_of_the_directory_come_and_go() {
        let metrics = Metrics::new();
        let root = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(Places {
            cgroup_mount: root.path().into(),
            attach: Vec::new(),
            kubelet: Vec::new(),
            log_root: root.path().join("missing"),
        });
        let now = std::time::Instant::now();
        let line = |count| {
            format!("meshwitness_workload_problems{{problem=\"log_directory_missing\"}} {count}\n")
        };
        directory.poll(now);
        metrics.set_workloads(&directory);
        assert!(metrics.render().contains(&line(1)));
        assert!(
            metrics
                .render()
                .contains("\nmeshwitness_workload_cgroups 1\n")
        );
        for part in ["missing/pods", "missing/containers"] {
            std::fs::create_dir_all(root.path().join(part)).unwrap();
        }
        directory.poll(directory.deadline(now));
        metrics.set_workloads(&directory);
        assert!(metrics.render().contains(&line(0)));
    }
}
