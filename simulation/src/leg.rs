//! A connection that a proxy keeps and uses again, exchange by exchange.

use meshwitness::{ledger::Input, record::Side, timestamp::Timestamp};

use crate::{scene::Scene, transaction::Transaction, wire::Wire};

pub(crate) struct Leg {
    pub(crate) wire: Wire,
    /// It carries many exchanges at once (HTTP/2).
    pub(crate) multiplexed: bool,
    /// Exchanges so far.
    count: u32,
    bytes: (u64, u64),
    /// When all so far had ended.
    pub(crate) free: Timestamp,
    /// It carries nothing more.
    pub(crate) spent: bool,
}

impl Scene {
    pub(crate) fn open_leg(&mut self, pod: usize, side: Side, begin: Timestamp) -> Leg {
        let wire = self.wire(pod, side, begin);
        let told = wire.opened + self.random.micros(1, 20);
        self.tell(
            told,
            Input::Opened(Box::new(wire.connection(&self.pods[pod]))),
        );
        Leg {
            wire,
            multiplexed: false,
            count: 0,
            bytes: (0, 0),
            free: told,
            spent: false,
        }
    }

    /// The exchange goes over the connection, and is seen.
    pub(crate) fn carry(&mut self, leg: &mut Leg, transaction: &mut Transaction) {
        match leg.multiplexed {
            true => transaction.carry(leg.count),
            false => transaction.number = leg.count,
        }
        leg.count += 1;
        leg.bytes.0 += transaction.request_bytes + 100;
        leg.bytes.1 += transaction.reply.as_ref().map_or(0, |reply| reply.bytes);
        leg.free = leg.free.max(transaction.ended);
        self.exchange(&leg.wire, transaction);
    }

    pub(crate) fn close_leg(&mut self, leg: &Leg) {
        let told = leg.free + self.random.micros(1, 3_000);
        let mut closed = leg.wire.closed(leg.free, leg.bytes);
        closed.both_fin = !leg.spent;
        self.tell(told, Input::Closed(closed));
    }
}
