//! When the kernel side last refused something of a cgroup's sockets.

use std::collections::HashMap;

use crate::{capture::CgroupId, timestamp::Timestamp};

/// Cgroups that are remembered. Beyond that the one that was quiet longest is forgotten.
const KEPT: usize = 8192;

/// What was refused last.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Facts: the close of a socket may be among them.
    pub(super) facts: Times,
    /// Segments: a response may be among them.
    pub(super) segments: Times,
}

/// The last refusals, on the steady clock; none: of cgroups that cannot be told from each other.
#[derive(Debug, Default)]
pub(super) struct Times {
    last: HashMap<Option<CgroupId>, Timestamp>,
}

impl Times {
    pub(super) fn note(&mut self, cgroup: Option<CgroupId>, time: Timestamp) {
        let last = self.last.entry(cgroup).or_default();
        *last = time.max(*last);
        if self.last.len() > KEPT
            && let Some(quietest) = self.last.iter().min_by_key(|(cgroup, at)| (**at, **cgroup))
        {
            let quietest = *quietest.0;
            self.last.remove(&quietest);
        }
    }

    /// Whether something of a cgroup was refused at this moment or later.
    pub(super) fn since(&self, cgroup: CgroupId, moment: Timestamp) -> bool {
        let later = |cgroup| self.last.get(&cgroup).is_some_and(|last| *last >= moment);
        later(Some(cgroup)) || later(None)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Times};
    use crate::timestamp::Timestamp;

    #[test]
    fn remembers_the_last_of_each_cgroup() {
        let mut refusals = Times::default();
        refusals.note(Some(1), Timestamp(20));
        refusals.note(Some(1), Timestamp(10));
        assert!(refusals.since(1, Timestamp(20)) && !refusals.since(1, Timestamp(21)));
        assert!(!refusals.since(2, Timestamp(0)));
        for cgroup in 0..2 * KEPT as u64 {
            refusals.note(Some(cgroup), Timestamp(100 + cgroup));
        }
        assert_eq!(refusals.last.len(), KEPT);
    }
}
