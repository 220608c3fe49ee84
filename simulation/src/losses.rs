//! What the capture misses of a connection, and what must be said of it.

use meshwitness::{
    http::Gap,
    ledger::Input,
    record::{Reason, Verdict},
};

use crate::{
    manner::Manner,
    random::Random,
    scene::Scene,
    transaction::Transaction,
    truth::{Likeness, Statement},
    wire::Wire,
};

pub(crate) const CAUSES: [Gap; 5] = [
    Gap::RingLost,
    Gap::StreamGap,
    Gap::StreamMismatch,
    Gap::Evicted,
    Gap::Mptcp,
];

/// What is missed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A part of an exchange.
    Part(Gap),
    /// An exchange, which is known by number.
    Head(Gap),
    /// Everything from here on, uncounted.
    Rest(Gap),
}

/// The losses of one connection.
pub(crate) struct Losses {
    percent: u64,
    cause: Gap,
    gone: bool,
}

impl Losses {
    pub(crate) fn new(manner: &Manner, cause: Gap) -> Self {
        Self {
            percent: if manner.lossy { 40 } else { 0 },
            cause,
            gone: false,
        }
    }

    /// What is missed of the next exchange.
    pub(crate) fn next(&mut self, plain: bool, random: &mut Random) -> Option<Loss> {
        if !self.gone && !random.chance(self.percent) {
            return None;
        }
        let part = if plain {
            Loss::Part(self.cause)
        } else {
            Loss::Head(self.cause)
        };
        let rest = Loss::Rest(self.cause);
        let loss = match self.gone {
            true => rest,
            false => *random.pick(&[part, part, Loss::Head(self.cause), rest]),
        };
        self.gone = loss == rest;
        Some(loss)
    }
}

impl Scene {
    /// The exchange was not seen, but its line is there.
    pub(crate) fn lose(
        &mut self,
        pod: usize,
        wire: &Wire,
        transaction: &Transaction,
        (exchanges, cause): (u32, Gap),
    ) {
        let says = Statement::new(Verdict::Unverifiable, wire.side).because(reason(cause));
        let time = self.moment(transaction.ended);
        self.tell(
            time,
            Input::Lost {
                connection: wire.id,
                exchanges,
                time,
                cause,
            },
        );
        if exchanges > 0 {
            let head = self.truth.unlike("lost head");
            let uid = self.pods[pod].uid.clone();
            self.truth.observed(&uid, time, head);
            self.truth.expect(vec![says.clone().observed(head)]);
        }
        let likeness: Likeness = self.likeness(pod, wire, transaction);
        let entry = transaction.logged.entry(wire);
        let named = transaction.named_side(wire.side);
        self.write(pod, transaction.logged.made, entry, likeness, named);
        self.truth.expect(vec![says.logged(likeness)]);
    }
}

/// The word of the records for a gap.
pub(crate) fn reason(gap: Gap) -> Reason {
    match gap {
        Gap::RingLost => Reason::RingLost,
        Gap::StreamGap => Reason::StreamGap,
        Gap::StreamMismatch => Reason::StreamMismatch,
        Gap::Evicted => Reason::Evicted,
        Gap::Mptcp => Reason::Mptcp,
    }
}
