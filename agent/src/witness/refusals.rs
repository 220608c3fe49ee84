//! What the kernel side refused to report: counted, and told to all who must not take it for
//! nothing.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{Witness, input};
use crate::{
    capture::{Observation, Refusal, Refused},
    http::Gap,
    ledger::Input,
};

/// How often accounts of cgroups that are gone are freed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A cgroup that was quiet for this long needs no account.
const QUIET: Duration = Duration::from_secs(600);

impl Witness {
    /// Takes what was refused since the last call.
    pub(super) fn take_refusals(&mut self, take: &mut dyn FnMut(Input)) {
        let to = self.capture.now();
        let mut losses = self.capture.losses();
        if self.last_sweep.elapsed() >= SWEEP_EVERY {
            losses.extend(self.capture.forget_quiet(QUIET));
            self.last_sweep = Instant::now();
        }
        // The clock may have been set back.
        let from = mem::replace(&mut self.refusals_until, to).min(to);
        for loss in losses {
            self.refused += loss.count;
            let (cgroup, refusal) = (loss.cgroup, loss.refusal);
            self.metrics.capture_refused.add(word(refusal), loss.count);
            if refusal == Refusal::Flow {
                // That excuses no line.
                self.flow_watch.lose(&loss);
                continue;
            }
            take(Input::Refused {
                cgroup,
                from,
                to,
                cause: cause(refusal),
            });
            let refused = Refused {
                cgroup,
                refusal,
                from,
                to,
            };
            let (tracker, events) = (&mut self.tracker, &mut self.events);
            tracker.observe(Observation::Refused(refused), events);
            for event in events.drain(..) {
                take(input(&self.intake, event));
            }
        }
    }
}

/// A refusal as metrics call it.
pub(super) fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::SocketsFull => "sockets_full",
        Refusal::SocketsRation => "sockets_ration",
        Refusal::StreamsFull => "streams_full",
        Refusal::StreamsRation => "streams_ration",
        Refusal::Intricate => "intricate",
        Refusal::NoStorage => "no_storage",
        Refusal::Flow => "flow",
    }
}

/// A refusal as the books call it.
fn cause(refusal: Refusal) -> Gap {
    match refusal {
        Refusal::Intricate => Gap::StreamGap,
        Refusal::Flow => Gap::Evicted,
        Refusal::SocketsFull
        | Refusal::SocketsRation
        | Refusal::StreamsFull
        | Refusal::StreamsRation
        | Refusal::NoStorage => Gap::RingLost,
    }
}
