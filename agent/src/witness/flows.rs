//! UDP flows: what the kernel side counts, and what it had no room for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Witness;
use crate::{
    capture::{CgroupId, Loss},
    ledger::{FlowsLost, Input},
};

/// How often idle flows are looked for, and lost ones told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When flows were looked at, and what was lost since.
pub(super) struct FlowWatch {
    last_look: Instant,
    lost: BTreeMap<Option<CgroupId>, u64>,
}

impl FlowWatch {
    pub(super) fn new() -> Self {
        Self {
            last_look: Instant::now(),
            lost: BTreeMap::new(),
        }
    }

    /// The kernel side had no room for flows.
    pub(super) fn lose(&mut self, loss: &Loss) {
        *self.lost.entry(loss.cgroup).or_default() += loss.count;
    }
}

impl Witness {
    /// Ends the flows that are idle or whose socket was closed.
    pub(super) fn look_at_flows(&mut self, take: &mut dyn FnMut(Input)) {
        if self.flow_watch.last_look.elapsed() >= LOOK_EVERY {
            self.flow_watch.last_look = Instant::now();
            let capture = &self.capture;
            self.flows.end_idle(|place| capture.flow_count(place));
            self.tell_lost_flows(take);
        }
        let capture = &self.capture;
        let orders = self.flows.sweep(
            |place| capture.flow_count(place),
            |closed| take(Input::Closed(closed)),
        );
        for place in orders.end {
            self.capture.end_flow(place);
        }
        for place in orders.free {
            self.capture.free_flow(place);
        }
    }

    /// Tells what is known of flows that go on; to be called before the ledger is stopped.
    pub fn tell_open_flows(&mut self, take: &mut dyn FnMut(Input)) {
        self.tell_lost_flows(take);
        let capture = &self.capture;
        let carried = self.flows.carried(|place| capture.flow_count(place));
        for (connection, (client_bytes, server_bytes)) in carried {
            take(Input::Carried {
                connection,
                client_bytes,
                server_bytes,
            });
        }
    }

    fn tell_lost_flows(&mut self, take: &mut dyn FnMut(Input)) {
        let time = self.capture.now();
        while let Some((cgroup, flows)) = self.flow_watch.lost.pop_first() {
            take(Input::FlowsLost(FlowsLost {
                cgroup,
                flows,
                time,
            }));
        }
    }
}
