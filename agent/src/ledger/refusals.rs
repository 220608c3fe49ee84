//! What the kernel side refused to report, by container: of which connection is not known.
//!
//! A connection of which nothing was ever told, or whose first request was not, is unknown here;
//! its lines accuse nobody.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{capture::CgroupId, record::Reason, timestamp::Timestamp};

/// Times that are remembered of one cgroup. Beyond that the two oldest become one.
const KEPT_SPANS: usize = 256;

/// Cgroups of which times are remembered. Beyond that the one that was quiet longest is forgotten.
const KEPT_CGROUPS: usize = 4096;

/// Times so near to each other are one.
const NEAR: Duration = Duration::from_secs(1);

/// How far a line's times may lie outside those of what it speaks of.
const TOLERANCE: Duration = Duration::from_millis(100);

/// When records were refused, by cgroup; none: of cgroups that cannot be told from each other.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    spans: BTreeMap<Option<CgroupId>, VecDeque<Span>>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    reason: Reason,
}

impl Refusals {
    /// Records of a cgroup were refused in this time.
    pub(super) fn note(
        &mut self,
        cgroup: Option<CgroupId>,
        (from, to): (Timestamp, Timestamp),
        reason: Reason,
    ) {
        let spans = self.spans.entry(cgroup).or_default();
        match spans.back_mut() {
            Some(last) if last.reason == reason && from <= last.to + NEAR => {
                last.to = last.to.max(to);
            }
            _ => spans.push_back(Span { from, to, reason }),
        }
        if spans.len() > KEPT_SPANS
            && let Some(oldest) = spans.pop_front()
            && let Some(next) = spans.front_mut()
        {
            next.from = oldest.from.min(next.from);
        }
        if self.spans.len() > KEPT_CGROUPS {
            let newest = |spans: &VecDeque<Span>| spans.back().map(|span| span.to);
            let quietest = self.spans.iter().min_by_key(|(_, spans)| newest(spans));
            if let Some(cgroup) = quietest.map(|(cgroup, _)| *cgroup) {
                self.spans.remove(&cgroup);
            }
        }
    }

    /// Why something of one of these cgroups may be unknown that was there in this time.
    pub(super) fn reason(
        &self,
        is_of_it: impl Fn(CgroupId) -> bool,
        (from, to): (Timestamp, Timestamp),
    ) -> Option<Reason> {
        let overlaps = |span: &&Span| span.from <= to + TOLERANCE && from <= span.to + TOLERANCE;
        let of_it = self
            .spans
            .iter()
            .filter(|(cgroup, _)| cgroup.is_none_or(&is_of_it));
        let mut spans = of_it.flat_map(|(_, spans)| spans);
        spans.find(overlaps).map(|span| span.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_CGROUPS, KEPT_SPANS, NEAR, Refusals, TOLERANCE};
    use crate::{record::Reason, timestamp::Timestamp};

    const fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn excuses_what_overlaps_and_is_of_the_cgroup() {
        let mut refusals = Refusals::default();
        refusals.note(Some(1), (at(10), at(11)), Reason::RingLost);
        let reason = |cgroup, from, to| refusals.reason(|of| of == cgroup, (at(from), at(to)));
        assert_eq!(reason(1, 5, 10), Some(Reason::RingLost));
        assert_eq!(reason(1, 5, 9), None);
        assert_eq!(reason(1, 12, 13), None);
        assert_eq!(reason(2, 5, 20), None);
    }

    #[test]
    fn what_is_refused_soon_again_is_one_time() {
        let later = u64::try_from(NEAR.as_nanos()).unwrap();
        let reasons = |second: u64, reason| {
            let mut refusals = Refusals::default();
            refusals.note(None, (at(10), at(20)), Reason::RingLost);
            let from = Timestamp(at(20).0 + second);
            refusals.note(None, (from, at(30)), reason);
            refusals.spans[&None].len()
        };
        assert_eq!(reasons(later, Reason::RingLost), 1);
        assert_eq!(reasons(later + 1, Reason::RingLost), 2);
        assert_eq!(reasons(later, Reason::Evicted), 2);
        let mut refusals = Refusals::default();
        for time in [10, 20, 15] {
            refusals.note(None, (at(10), at(time)), Reason::RingLost);
        }
        let moment = Timestamp(at(20).0 + u64::try_from(TOLERANCE.as_nanos()).unwrap());
        let reason = |from: Timestamp| refusals.reason(|_| false, (from, from));
        assert_eq!(reason(moment), Some(Reason::RingLost));
        assert_eq!(reason(Timestamp(moment.0 + 1)), None);
    }

    #[test]
    fn is_bounded_and_forgets_no_time_of_a_cgroup() {
        let mut refusals = Refusals::default();
        for time in 0..10 * KEPT_SPANS as u64 {
            refusals.note(None, (at(10 * time), at(10 * time + 1)), Reason::RingLost);
        }
        assert_eq!(refusals.spans[&None].len(), KEPT_SPANS);
        assert!(refusals.reason(|_| false, (at(0), at(1))).is_some());
        for cgroup in 0..2 * KEPT_CGROUPS as u64 {
            refusals.note(Some(cgroup), (at(cgroup), at(cgroup)), Reason::RingLost);
        }
        assert_eq!(refusals.spans.len(), KEPT_CGROUPS);
    }
}
