//! A proxy that is killed with lines in its buffer, and what only looks so.

use std::time::Duration;

use meshwitness::{
    ledger::Input,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    leg::Leg,
    manner::Manner,
    scene::{BEGIN, Scene},
    truth::Statement,
};

/// When all else of the scene is over.
const LATE: Duration = Duration::from_secs(40);

/// Who closes a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The kernel, all of a proxy's.
    Killed,
    /// The proxy, one of several.
    One,
    PilotAgent,
}

const CLOSINGS: [Closing; 4] = [
    Closing::Killed,
    Closing::Killed,
    Closing::One,
    Closing::PilotAgent,
];

impl Scene {
    pub(crate) fn proxy_ends(&mut self, pod: usize) {
        let closing = *self.random.pick(&CLOSINGS);
        let time = BEGIN + LATE + self.random.millis(0, 1_000);
        let flush = self.flush;
        let side = *self.random.pick(&[Side::Client, Side::Server]);
        let mut leg = self.open_leg(pod, side, time - flush - Duration::from_secs(4));
        let in_buffer = self.random.millis(100, 900);
        let reason = (closing == Closing::Killed).then_some(Reason::ProxyKilled);
        let flushed = time - flush - Duration::from_millis(500);
        self.unlogged(pod, &mut leg, flushed, None);
        self.unlogged(pod, &mut leg, time - in_buffer, reason);
        self.close_leg(&leg);
        let ports: &[u16] = match closing {
            Closing::Killed => &[15001, 15006],
            Closing::One => &[15001],
            Closing::PilotAgent => &[15020],
        };
        for port in ports {
            let closed = time + self.random.micros(0, 40);
            let end = self.pods[pod].listener_end(*port, closed);
            self.tell(closed, Input::ListenerClosed(end));
        }
        let mut leg = self.open_leg(pod, side, time + Duration::from_millis(1));
        self.unlogged(pod, &mut leg, time + Duration::from_millis(2), None);
        self.close_leg(&leg);
    }

    /// A request whose line is missing.
    fn unlogged(&mut self, pod: usize, leg: &mut Leg, begin: Timestamp, reason: Option<Reason>) {
        let manner = Manner {
            same_path: false,
            ..Manner::first()
        };
        let mut transaction = self.transaction(0, leg.wire.side, &manner, begin);
        self.carry(leg, &mut transaction);
        let likeness = self.truth.unlike("in a buffer");
        let uid = self.pods[pod].uid.clone();
        self.truth.observed(&uid, transaction.begun, likeness);
        let mut says = Statement::new(Verdict::Unlogged, leg.wire.side).observed(likeness);
        says.reasons.extend(reason);
        self.truth.expect(vec![says]);
    }
}
