//! One connection between an app and its sidecar: its exchanges, its lines, and which belongs to
//! which.

mod leads;
mod multiplexed;
mod ordered;

use std::{sync::Arc, time::Duration};

pub(super) use leads::{OpenExchange, RecentPairs};
use multiplexed::Multiplexed;
use ordered::Ordered;

use super::{
    compare::{Comparison, compare, fits_in_time},
    input::{Exchange, Line},
};
use crate::{
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Accused exchanges that are kept for a late line.
const KEPT_ACCUSED: usize = 256;

/// The exchanges and lines of one connection, so far as they are not settled.
#[derive(Debug)]
pub(super) struct Leg {
    kind: Kind,
    /// At least one exchange was paired with a line that agrees.
    pub(super) ever_matched: bool,
}

/// How its exchanges follow one another.
///
/// ```text
/// Ordered ──▶ Multiplexed   (with the first HTTP/2 stream)
/// ```
#[derive(Debug)]
enum Kind {
    /// One after another, and so do its lines.
    Ordered(Ordered),
    /// Many at once, which end in any order.
    Multiplexed(Box<Multiplexed>),
}

/// An exchange that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// Its number on the connection.
    pub(super) number: u32,
    /// The HTTP/2 stream that carries it.
    pub(super) stream: Option<u32>,
    /// When it began.
    pub(super) time: Timestamp,
}

/// What became of an exchange, of a line, or of both.
#[derive(Debug)]
pub(super) enum Settled {
    /// They belong together.
    Pair {
        exchange: Box<Exchange>,
        line: Box<Line>,
        comparison: Comparison,
    },
    /// They belong together, and the exchange had been accused in this record.
    Late {
        exchange: Box<Exchange>,
        line: Box<Line>,
        comparison: Comparison,
        record: Arc<str>,
    },
    /// No line came.
    Exchange(Box<Exchange>),
    /// No exchange fits.
    Line(Box<Line>),
}

/// What was open when the agent stopped.
#[derive(Debug)]
#[expect(clippy::vec_box, reason = "exchanges and lines move between lists")]
pub(super) struct Leftovers {
    /// Exchanges without a line.
    pub(super) ended: Vec<Box<Exchange>>,
    /// Exchanges that go on.
    pub(super) begun: Vec<Begun>,
    /// Lines without an exchange.
    pub(super) lines: Vec<Box<Line>>,
}

/// How far both accounts are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    /// Exchanges that ended before this have had their line read, if there is one.
    pub(super) exchanges: Timestamp,
    /// Lines stamped before this are judged.
    pub(super) lines: Timestamp,
    /// What was sent before this was told.
    pub(super) captured: Timestamp,
    /// How long after its exchange a line is stamped at most.
    pub(super) grace: Duration,
}

/// Does the same to either kind.
macro_rules! of_either {
    ($leg:expr, $of_kind:ident => $does:expr) => {
        match $leg {
            Kind::Ordered($of_kind) => $does,
            Kind::Multiplexed($of_kind) => $does,
        }
    };
}

impl Leg {
    pub(super) fn new(side: Side) -> Self {
        Self {
            kind: Kind::Ordered(Ordered::new(side)),
            ever_matched: false,
        }
    }

    /// An exchange began.
    pub(super) fn begin(&mut self, begun: Begun) {
        if begun.stream.is_some()
            && let Kind::Ordered(ordered) = &mut self.kind
        {
            let mut multiplexed = Multiplexed::new(ordered.side());
            ordered.hand_over(&mut multiplexed);
            self.kind = Kind::Multiplexed(Box::new(multiplexed));
        }
        of_either!(&mut self.kind, leg => leg.begin(begun));
    }

    /// When an exchange that goes on began.
    pub(super) fn began(&self, number: u32) -> Option<Timestamp> {
        of_either!(&self.kind, leg => leg.began(number))
    }

    /// An exchange ended. False if it never began here.
    pub(super) fn end(&mut self, ended: Box<Exchange>) -> bool {
        of_either!(&mut self.kind, leg => leg.end(ended))
    }

    /// A line that names this connection.
    pub(super) fn place(&mut self, line: Box<Line>) {
        of_either!(&mut self.kind, leg => leg.place(line, false));
    }

    /// One whose request may be older than the agent. It is not to take the place of a younger one
    /// that is alike, nor to hold up those behind it.
    pub(super) fn place_older(&mut self, line: Box<Line>) {
        of_either!(&mut self.kind, leg => leg.place(line, true));
    }

    /// It carries many exchanges at once.
    pub(super) fn is_multiplexed(&self) -> bool {
        matches!(self.kind, Kind::Multiplexed(_))
    }

    /// Takes out the lines that wait, have this request's id, and of which this holds.
    #[expect(clippy::vec_box, reason = "lines move between lists")]
    pub(super) fn take_lines(
        &mut self,
        id: Fingerprint,
        holds: impl Fn(&Line) -> bool,
    ) -> Vec<Box<Line>> {
        of_either!(&mut self.kind, leg => leg.take_lines(id, holds))
    }

    /// Whether an exchange beside others waits for such a line.
    pub(super) fn awaits(&self, line: &Line) -> bool {
        match &self.kind {
            Kind::Ordered(_) => false,
            Kind::Multiplexed(leg) => leg.awaits(line),
        }
    }

    /// Nothing is open, accused exchanges apart.
    pub(super) fn is_settled(&self) -> bool {
        of_either!(&self.kind, leg => leg.is_settled())
    }

    /// Whether an exchange without a line lies in a time: from its begin to its end, so far.
    pub(super) fn has_open(&self, in_time: impl Fn(Timestamp, Timestamp) -> bool) -> bool {
        of_either!(&self.kind, leg => leg.has_open(in_time))
    }

    /// Exchanges are kept that a late line may acquit.
    pub(super) fn has_accused(&self) -> bool {
        of_either!(&self.kind, leg => leg.has_accused())
    }

    /// Takes out the exchanges that are kept for a late line: the records in which they were
    /// accused.
    pub(super) fn take_accused(&mut self) -> Vec<Arc<str>> {
        of_either!(&mut self.kind, leg => leg.take_accused())
    }

    /// Exchanges that wait for a verdict.
    pub(super) fn open_exchanges(&self) -> usize {
        of_either!(&self.kind, leg => leg.open_exchanges())
    }

    /// The earliest end of an exchange that waits for its line.
    pub(super) fn earliest_end(&self) -> Option<Timestamp> {
        of_either!(&self.kind, leg => leg.earliest_end())
    }

    /// The earliest stamp of a line that waits for its exchange.
    pub(super) fn earliest_line(&self) -> Option<Timestamp> {
        of_either!(&self.kind, leg => leg.earliest_line())
    }

    /// Remembers in which record an exchange was accused, so that a late line can revise it.
    pub(super) fn accuse(&mut self, exchange: Box<Exchange>, record: Arc<str>) {
        of_either!(&mut self.kind, leg => leg.accuse(exchange, record));
    }

    /// Takes out an exchange that a line without a usable tuple belongs to.
    pub(super) fn take(&mut self, exchange: u32) -> Option<Box<Exchange>> {
        of_either!(&mut self.kind, leg => leg.take(exchange))
    }

    /// Looks at an exchange that waits for its line.
    pub(super) fn waiting(&self, exchange: u32) -> Option<&Exchange> {
        of_either!(&self.kind, leg => leg.waiting(exchange))
    }

    /// Looks at an exchange that was accused.
    pub(super) fn accused(&self, exchange: u32) -> Option<&Exchange> {
        of_either!(&self.kind, leg => leg.accused(exchange))
    }

    /// Takes out an exchange that was accused, with the record in which it was.
    pub(super) fn acquit(&mut self, exchange: u32) -> Option<(Box<Exchange>, Arc<str>)> {
        of_either!(&mut self.kind, leg => leg.acquit(exchange))
    }

    /// Exchanges that ended by this moment and wait for their line.
    pub(super) fn ended_by(&self, moment: Timestamp) -> Box<dyn Iterator<Item = &Exchange> + '_> {
        of_either!(&self.kind, leg => Box::new(leg.ended_by(moment)))
    }

    /// Whether an exchange goes on that began at such a time.
    pub(super) fn goes_on(&self, began: impl Fn(Timestamp) -> bool) -> bool {
        of_either!(&self.kind, leg => leg.goes_on(began))
    }

    /// Pairs what belongs together for sure. What was sent before `captured` is known.
    pub(super) fn pair(&mut self, captured: Timestamp, settled: &mut Vec<Settled>) {
        match &mut self.kind {
            Kind::Ordered(leg) => leg.pair(captured, settled),
            Kind::Multiplexed(leg) => leg.pair(settled),
        }
    }

    /// Judges what is left and lies before the horizon.
    ///
    /// `may_judge` is false for exchanges whose line may yet come in another way.
    pub(super) fn settle(
        &mut self,
        horizon: Horizon,
        may_judge: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) {
        of_either!(&mut self.kind, leg => leg.settle(horizon, may_judge, settled));
    }

    /// Everything that is left, whatever the horizon: the agent stops.
    pub(super) fn drain(&mut self) -> Leftovers {
        of_either!(&mut self.kind, leg => leg.drain())
    }

    /// The lines that wait for their exchange.
    pub(super) fn waiting_lines(&self) -> Box<dyn Iterator<Item = &Line> + '_> {
        of_either!(&self.kind, leg => Box::new(leg.waiting_lines()))
    }

    /// The exchanges that have no line.
    pub(super) fn exchanges_without_line(&self) -> Box<dyn Iterator<Item = OpenExchange<'_>> + '_> {
        of_either!(&self.kind, leg => Box::new(leg.exchanges_without_line()))
    }
}

/// How badly an exchange and a line fit: differences first, then distance in time.
fn misfit(side: Side, exchange: &Exchange, line: &Line) -> (u64, u64) {
    let Some(entry) = line.entry() else {
        return (u64::MAX >> 32, 0);
    };
    let comparison = compare(side, exchange, entry);
    let out_of_time = u64::from(!fits_in_time(side, exchange.time, exchange.end, entry));
    let other_id = match (exchange.request_id, entry.request_id) {
        (Some(kernel), Some(log)) => u64::from(kernel != log),
        _ => 0,
    };
    let unread_head = u64::from(exchange.is_unread() && entry.method.is_some());
    let distance = entry
        .start_time
        .map_or(0, |start| start.0.abs_diff(exchange.time.0));
    (
        2 * ((comparison.accusing + comparison.differences.len()) as u64 + unread_head)
            + out_of_time
            + 8 * other_id,
        distance >> 20,
    )
}
