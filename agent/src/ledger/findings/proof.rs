//! What the verdicts on traffic prove.

use std::{sync::Arc, time::Duration};

use super::{Found, Ledger, unlogged::Unlogged};
use crate::{
    ledger::write::Judgement,
    record::{FindingKind, Kind, Reason, Side, Traffic, Units, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    /// Writes an `http` or `connection` record, and finds what it proves.
    pub(in crate::ledger) fn tell(
        &mut self,
        kind: Kind,
        time: Timestamp,
        judgement: Judgement,
        traffic: Traffic,
    ) -> Arc<str> {
        let proves = proves(&judgement);
        let Judgement { verdict, units, .. } = judgement;
        let killed = judgement.reasons.contains(&Reason::ProxyKilled);
        let uid = traffic.workload.pod_uid.clone();
        let lasted = traffic.duration.unwrap_or_default();
        let ended = time + Duration::from_secs_f64(lasted);
        let mut carried_before = 0;
        if let Some(uid) = &uid {
            self.take_back_held(uid, &traffic.revises);
            if is_of_sidecar(verdict, traffic.side)
                && let Some(pod) = self.pods.get_mut(uid)
            {
                carried_before = pod.carried.saturating_sub(traffic.revises.len() as u64);
                pod.carried = carried_before + units.observed;
            }
        }
        let record = self.writer.traffic(kind, time, judgement, traffic);
        match (proves, uid) {
            (Some(FindingKind::UnloggedRequests), Some(uid)) => {
                let unlogged = Unlogged {
                    record: Arc::clone(&record),
                    time,
                    ended,
                    killed,
                    carried_before,
                    count: units.observed,
                };
                self.hold(&uid, unlogged);
            }
            (Some(kind), uid) => self.findings.found.push(Found {
                count: units.observed.max(units.logged),
                ..Found::new(kind, uid.as_ref(), time, Some(Arc::clone(&record)))
            }),
            (None, _) => {}
        }
        record
    }
}

/// What a judgement is a finding of. Connections that go past a sidecar are found where their
/// circumstances are known: see [`super::bypass`].
fn proves(judgement: &Judgement) -> Option<FindingKind> {
    // It repeats what its exchanges said.
    if judgement.units == Units::default() {
        return None;
    }
    let has = |reason| judgement.reasons.contains(&reason);
    match judgement.verdict {
        Verdict::Unlogged => Some(FindingKind::UnloggedRequests),
        Verdict::Unseen if has(Reason::Repeated) => Some(FindingKind::RepeatedLine),
        Verdict::Unseen => Some(FindingKind::UnseenLine),
        Verdict::Mismatched => Some(FindingKind::EditedLine),
        Verdict::Matched => has(Reason::LoggedAsTcp).then_some(FindingKind::LoggedAsTcp),
        Verdict::Unverifiable => {
            let first = judgement.reasons.first()?;
            unverifiable(*first, judgement.units)
        }
        Verdict::Bypassed | Verdict::ProxyAnswered | Verdict::Outside => None,
    }
}

fn unverifiable(reason: Reason, units: Units) -> Option<FindingKind> {
    match reason {
        Reason::NoLog if units.observed > 0 => Some(FindingKind::LoggingOff),
        Reason::LineAmbiguous => Some(FindingKind::AmbiguousLine),
        Reason::RingLost | Reason::StreamGap | Reason::StreamMismatch | Reason::Evicted => {
            Some(FindingKind::CaptureGap)
        }
        Reason::NoBytes | Reason::Mptcp => Some(FindingKind::BlindSpot),
        _ => None,
    }
}

/// Whether what is judged went through the sidecar of its pod. What has no side may have gone
/// anywhere.
fn is_of_sidecar(verdict: Verdict, side: Option<Side>) -> bool {
    !matches!(verdict, Verdict::Bypassed | Verdict::Outside)
        && side.is_some_and(|side| side != Side::Proxy)
}
