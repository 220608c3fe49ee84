//! The books and logs of each pod, under a bounded number of labels.

use std::collections::{BTreeMap, HashSet};

use super::{
    exposition::{Exposition, MetricType},
    metrics::Side,
};
use crate::{
    ledger::PodSummary,
    record::{Units, Verdict},
};

/// Pods that have labels of their own; the kubelet's bound is 110 a node unless told otherwise.
/// Each costs some fifteen series.
const MOST_LABELLED: usize = 128;

/// What the others are called: no namespace's name begins so.
const OVERFLOW: &str = "_other";

type Judged = BTreeMap<Verdict, Units>;

/// The numbers of pods.
#[derive(Debug, Default)]
pub(super) struct PodMetrics {
    labelled: BTreeMap<String, Pod>,
    /// What was last seen of each of the others.
    others: BTreeMap<String, Judged>,
    /// What all others were judged, those that are gone included.
    others_judged: Judged,
    others_pending: Units,
    /// The worst lag of all logs.
    lag_seconds: f64,
}

#[derive(Debug, Default)]
struct Pod {
    namespace: String,
    name: String,
    judged: Judged,
    pending: Units,
    lag_seconds: Option<f64>,
}

impl PodMetrics {
    /// Takes over the books of all pods. One that is not among them is gone, and its labels are
    /// free for another.
    pub(super) fn set<'a>(&mut self, pods: impl Iterator<Item = PodSummary<'a>>) {
        self.others_pending = Units::default();
        self.lag_seconds = 0.0;
        let mut there = HashSet::new();
        let mut new = Vec::new();
        for pod in pods {
            there.insert(pod.uid.to_owned());
            let lag_seconds = pod.lag.map(|lag| lag.as_secs_f64());
            self.lag_seconds = self.lag_seconds.max(lag_seconds.unwrap_or(0.0));
            if self.others.contains_key(pod.uid) {
                self.add_other(pod);
            } else if let Some(labelled) = self.labelled.get_mut(pod.uid) {
                labelled.set(pod, lag_seconds);
            } else {
                new.push((pod, lag_seconds));
            }
        }
        self.labelled.retain(|uid, _| there.contains(uid));
        self.others.retain(|uid, _| there.contains(uid));
        for (pod, lag_seconds) in new {
            if self.labelled.len() < MOST_LABELLED {
                let labelled = self.labelled.entry(pod.uid.to_owned()).or_default();
                labelled.set(pod, lag_seconds);
            } else {
                self.add_other(pod);
            }
        }
    }

    fn add_other(&mut self, pod: PodSummary<'_>) {
        self.others_pending = self.others_pending.plus(pod.pending);
        let before = self.others.get(pod.uid);
        for (verdict, now) in &pod.judged {
            let before = before.and_then(|before| before.get(verdict));
            let before = before.copied().unwrap_or_default();
            let sum = self.others_judged.entry(*verdict).or_default();
            *sum = sum.plus(Units::new(
                now.observed.saturating_sub(before.observed),
                now.logged.saturating_sub(before.logged),
            ));
        }
        self.others.insert(pod.uid.to_owned(), pod.judged);
    }

    pub(super) fn render(&self, page: &mut Exposition) {
        let names = |pod: &Pod| (pod.namespace.clone(), pod.name.clone());
        let other = (OVERFLOW.to_owned(), OVERFLOW.to_owned());
        let has_others = !self.others.is_empty() || !self.others_judged.is_empty();
        let others = has_others.then_some((&other, &self.others_judged, self.others_pending));
        let own: Vec<_> = self
            .labelled
            .values()
            .map(|pod| (names(pod), pod))
            .collect();
        let own = own
            .iter()
            .map(|(names, pod)| (names, &pod.judged, pod.pending));
        let all: Vec<_> = own.chain(others).collect();
        page.metric(
            MetricType::Counter,
            "meshwitness_pod_units_total",
            "Units judged, by pod and verdict. Those that were judged anew count twice.",
        );
        for ((namespace, name), judged, _) in &all {
            for (verdict, side) in possible() {
                let units = judged.get(&verdict).copied().unwrap_or_default();
                page.sample(
                    &[
                        ("namespace", namespace),
                        ("pod", name),
                        ("side", side.as_str()),
                        ("verdict", verdict.as_str()),
                    ],
                    side.of(units),
                );
            }
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_pod_pending_units",
            "Units that wait for their verdict, by pod.",
        );
        for ((namespace, name), _, pending) in &all {
            for side in [Side::Observed, Side::Logged] {
                let labels = [("namespace", &namespace[..]), ("pod", name)];
                let labels = [labels[0], labels[1], ("side", side.as_str())];
                page.sample(&labels, side.of(*pending));
            }
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_pod_log_lag_seconds",
            "How far the reader of a pod's proxy log is behind the clock.",
        );
        for pod in self.labelled.values() {
            if let Some(lag) = pod.lag_seconds {
                page.sample(&[("namespace", &pod.namespace), ("pod", &pod.name)], lag);
            }
        }
        page.metric(
            MetricType::Gauge,
            "meshwitness_log_lag_seconds",
            "The worst lag of all proxy logs of the node.",
        )
        .sample(&[], self.lag_seconds)
        .metric(
            MetricType::Gauge,
            "meshwitness_overflowed_pods",
            "Pods without labels of their own: they are told together, as _other.",
        )
        .sample(&[], self.others.len());
    }
}

impl Pod {
    fn set(&mut self, pod: PodSummary<'_>, lag_seconds: Option<f64>) {
        // The uid stands in until the names are known.
        let (namespace, name) = pod.names.unwrap_or(("", pod.uid));
        if (&self.namespace[..], &self.name[..]) != (namespace, name) {
            (self.namespace, self.name) = (namespace.to_owned(), name.to_owned());
        }
        self.judged = pod.judged;
        self.pending = pod.pending;
        self.lag_seconds = lag_seconds;
    }
}

/// The verdicts, each with the sides of which it can have units.
pub(super) fn possible() -> impl Iterator<Item = (Verdict, Side)> {
    let has = |verdict: Verdict, side: Side| match verdict {
        Verdict::Unlogged | Verdict::Bypassed => side == Side::Observed,
        Verdict::Unseen => side == Side::Logged,
        _ => true,
    };
    Verdict::ALL.into_iter().flat_map(move |verdict| {
        let sides = [Side::Observed, Side::Logged].into_iter();
        sides
            .filter(move |side| has(verdict, *side))
            .map(move |side| (verdict, side))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::{Exposition, MOST_LABELLED, PodMetrics, PodSummary, Units, Verdict};

    fn summary(uid: &str, matched: u64) -> PodSummary<'_> {
        PodSummary {
            uid,
            names: Some(("shop", uid)),
            judged: BTreeMap::from([(Verdict::Matched, Units::new(matched, matched))]),
            pending: Units::new(1, 0),
            lag: Some(Duration::from_millis(1500)),
        }
    }

    fn page(metrics: &PodMetrics) -> String {
        let mut page = Exposition::default();
        metrics.render(&mut page);
        page.into_text()
    }

    fn matched(page: &str, pod: &str) -> Option<u64> {
        let word = format!("pod=\"{pod}\",side=\"observed\",verdict=\"matched\"}} ");
        let line = page.lines().find(|line| line.contains(&word))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn a_pod_has_its_labels_while_it_is_there() {
        let mut metrics = PodMetrics::default();
        metrics.set([summary("a", 5), summary("b", 6)].into_iter());
        let text = page(&metrics);
        assert_eq!(
            (matched(&text, "a"), matched(&text, "b")),
            (Some(5), Some(6))
        );
        for line in [
            "meshwitness_pod_units_total{namespace=\"shop\",pod=\"a\",side=\"observed\",verdict=\"unlogged\"} 0",
            "meshwitness_pod_pending_units{namespace=\"shop\",pod=\"a\",side=\"observed\"} 1",
            "meshwitness_pod_log_lag_seconds{namespace=\"shop\",pod=\"a\"} 1.5",
            "meshwitness_log_lag_seconds 1.5",
            "meshwitness_overflowed_pods 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        metrics.set([summary("b", 7)].into_iter());
        let text = page(&metrics);
        assert_eq!((matched(&text, "a"), matched(&text, "b")), (None, Some(7)));
    }

    #[test]
    fn those_beyond_the_bound_are_told_together_and_never_go_back() {
        let uids: Vec<String> = (0..MOST_LABELLED + 3).map(|n| format!("p{n:04}")).collect();
        let mut metrics = PodMetrics::default();
        let all = |matched| uids.iter().map(move |uid| summary(uid, matched));
        metrics.set(all(1));
        assert_eq!(matched(&page(&metrics), "_other"), Some(3));
        metrics.set(all(5));
        let text = page(&metrics);
        assert_eq!(matched(&text, "_other"), Some(15));
        assert!(text.contains("\nmeshwitness_overflowed_pods 3\n"));
        // All but one of them go, and one with labels; the sum stays.
        metrics.set(all(6).skip(1).take(MOST_LABELLED));
        let text = page(&metrics);
        assert_eq!(matched(&text, "_other"), Some(16));
        assert!(text.contains("\nmeshwitness_overflowed_pods 1\n"));
        // A new one takes the labels that are free.
        metrics.set(
            all(6)
                .skip(1)
                .take(MOST_LABELLED)
                .chain([summary("new", 9)]),
        );
        assert_eq!(matched(&page(&metrics), "new"), Some(9));
    }
}
