//! The books: every unit enters once and leaves with exactly one verdict.

use std::collections::BTreeMap;

use crate::record::{AccountBody, Reason, Units, Verdict};

/// The account of one workload, or of the node, in the running interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    opening: Units,
    new: Units,
    withdrawn: BTreeMap<Verdict, Units>,
    verdicts: BTreeMap<Verdict, Units>,
    lost: BTreeMap<Reason, Units>,
    other_lines: u64,
    /// Judged in all intervals that are closed.
    judged_before: BTreeMap<Verdict, Units>,
}

impl Account {
    pub(super) fn enter(&mut self, units: Units) {
        self.new = self.new.plus(units);
    }

    pub(super) fn other_line(&mut self) {
        self.other_lines += 1;
    }

    /// A verdict was spoken. The first reason of an `unverifiable` one is what was lost.
    pub(super) fn judge(&mut self, verdict: Verdict, reasons: &[Reason], units: Units) {
        if units == Units::default() {
            return;
        }
        add(&mut self.verdicts, verdict, units);
        if let (Verdict::Unverifiable, Some(reason)) = (verdict, reasons.first()) {
            add(&mut self.lost, *reason, units);
        }
    }

    /// A verdict is taken back; its units will be judged anew.
    pub(super) fn withdraw(&mut self, verdict: Verdict, units: Units) {
        add(&mut self.withdrawn, verdict, units);
    }

    /// All that was ever judged, verdicts that were taken back included.
    pub(super) fn judged(&self) -> BTreeMap<Verdict, Units> {
        let mut sums = self.judged_before.clone();
        for (verdict, units) in &self.verdicts {
            add(&mut sums, *verdict, *units);
        }
        sums
    }

    /// What entered and was not judged.
    pub(super) fn pending(&self) -> Units {
        let entered = self
            .withdrawn
            .values()
            .fold(self.opening.plus(self.new), |a, b| a.plus(*b));
        let judged = self
            .verdicts
            .values()
            .fold(Units::default(), |a, b| a.plus(*b));
        Units::new(
            entered.observed.saturating_sub(judged.observed),
            entered.logged.saturating_sub(judged.logged),
        )
    }

    /// Closes the interval and opens the next with what is pending.
    pub(super) fn close(&mut self) -> AccountBody {
        let closing = self.pending();
        let closed = std::mem::replace(
            self,
            Self {
                opening: closing,
                judged_before: self.judged(),
                ..Self::default()
            },
        );
        AccountBody {
            opening: closed.opening,
            new: closed.new,
            withdrawn: closed.withdrawn,
            verdicts: closed.verdicts,
            closing,
            lost: closed.lost,
            other_lines: closed.other_lines,
        }
    }

    /// Nothing is pending and nothing happened.
    pub(super) fn is_idle(&self) -> bool {
        self.opening == Units::default()
            && self.new == Units::default()
            && self.verdicts.is_empty()
            && self.other_lines == 0
    }
}

fn add<K: Ord>(map: &mut BTreeMap<K, Units>, key: K, units: Units) {
    let sum = map.entry(key).or_default();
    *sum = sum.plus(units);
}

#[cfg(test)]
mod tests {
    use super::Account;
    use crate::record::{Reason, Units, Verdict};

    #[test]
    fn what_is_not_judged_is_the_next_opening() {
        let mut account = Account::default();
        account.enter(Units::new(3, 1));
        account.judge(Verdict::Matched, &[], Units::new(1, 1));
        account.judge(Verdict::Unverifiable, &[Reason::RingLost], Units::new(1, 0));
        let body = account.close();
        assert_eq!(
            (body.opening, body.closing),
            (Units::default(), Units::new(1, 0))
        );
        assert_eq!(body.lost[&Reason::RingLost], Units::new(1, 0));
        account.withdraw(Verdict::Unlogged, Units::new(1, 0));
        account.judge(Verdict::Matched, &[Reason::LateLine], Units::new(2, 0));
        assert_eq!(account.judged()[&Verdict::Matched], Units::new(3, 1));
        let body = account.close();
        assert_eq!(account.judged()[&Verdict::Matched], Units::new(3, 1));
        assert_eq!(body.opening, Units::new(1, 0));
        assert_eq!(body.closing, Units::default());
        assert!(account.is_idle());
    }
}
