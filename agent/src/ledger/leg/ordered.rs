//! A connection that carries one exchange after another, whose lines a proxy writes in that order.

mod gap;
mod trim;

use std::{collections::VecDeque, sync::Arc};

use super::{Begun, Leftovers, Multiplexed, OpenExchange, Settled};
use crate::{
    ledger::{
        compare::{Comparison, compare, fits_in_time},
        input::{Exchange, Line},
    },
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Exchanges of one gap among which the one that a line belongs to is looked for with care.
const MOST_COMPARED: usize = 64;

/// How many comparisons an exchange or a line pays for. Where nothing agrees, as after a loss, all
/// that waits is compared again only once enough has come.
const COMPARED_EACH: usize = 256;

/// The exchanges and lines of one connection, so far as they are not settled.
///
/// A slot of an exchange goes through:
///
/// ```text
/// Begun ──▶ Ended ──▶ Paired          (dropped once nothing before it is open)
///             │
///             └─────▶ Accused ──▶ Paired   (a late line)
/// ```
#[derive(Debug)]
pub(super) struct Ordered {
    side: Side,
    slots: VecDeque<Slot>,
    lines: VecDeque<Placed>,
    next_order: u64,
    last_paired_order: Option<u64>,
    /// More happened to the slots than that exchanges came and were paired in order.
    is_out_of_order: bool,
    /// Comparisons in vain that nothing has paid for.
    unpaid: usize,
}

#[derive(Debug)]
enum Slot {
    Begun {
        exchange: u32,
        time: Timestamp,
    },
    Ended(Box<Exchange>),
    Accused {
        exchange: Box<Exchange>,
        record: Arc<str>,
    },
    /// With the order of its line, unless that was found by other means than the tuple.
    Paired(Option<u64>),
}

#[derive(Debug)]
struct Placed {
    order: u64,
    /// Its request may be older than the agent, and then has no exchange here.
    may_be_older: bool,
    line: Box<Line>,
}

impl Ordered {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            slots: VecDeque::new(),
            lines: VecDeque::new(),
            next_order: 0,
            last_paired_order: None,
            is_out_of_order: false,
            unpaid: 0,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(super) fn begin(&mut self, begun: Begun) {
        let (exchange, time) = (begun.number, begun.time);
        self.slots.push_back(Slot::Begun { exchange, time });
    }

    /// When an exchange that goes on began.
    pub(super) fn began(&self, number: u32) -> Option<Timestamp> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Begun { exchange, time } if *exchange == number => Some(*time),
            _ => None,
        })
    }

    /// An exchange ended. False if it never began here.
    pub(super) fn end(&mut self, ended: Box<Exchange>) -> bool {
        let began = |slot: &&mut Slot| matches!(slot, Slot::Begun { exchange, .. } if *exchange == ended.exchange);
        // It is among the newest.
        match self.slots.iter_mut().rev().find(began) {
            Some(slot) => {
                *slot = Slot::Ended(ended);
                true
            }
            None => false,
        }
    }

    /// A line that names this connection.
    pub(super) fn place(&mut self, line: Box<Line>, may_be_older: bool) {
        let order = self.next_order;
        self.next_order += 1;
        self.lines.push_back(Placed {
            order,
            may_be_older,
            line,
        });
    }

    #[expect(clippy::vec_box, reason = "lines move between lists")]
    pub(super) fn take_lines(
        &mut self,
        id: Fingerprint,
        holds: impl Fn(&Line) -> bool,
    ) -> Vec<Box<Line>> {
        let mut taken = Vec::new();
        for at in (0..self.lines.len()).rev() {
            let line = &self.lines[at].line;
            let has_id = line.entry().is_some_and(|it| it.request_id == Some(id));
            if has_id && holds(line) {
                taken.extend(self.lines.remove(at).map(|placed| placed.line));
            }
        }
        taken
    }

    /// Nothing is open, accused slots apart.
    pub(super) fn is_settled(&self) -> bool {
        self.lines.is_empty()
            && self
                .slots
                .iter()
                .all(|slot| matches!(slot, Slot::Paired(_) | Slot::Accused { .. }))
    }

    /// Whether an exchange without a line lies in a time: from its begin to its end, so far.
    pub(super) fn has_open(&self, in_time: impl Fn(Timestamp, Timestamp) -> bool) -> bool {
        self.slots.iter().any(|slot| match slot {
            Slot::Begun { time, .. } => in_time(*time, Timestamp::MAX),
            Slot::Ended(exchange) => in_time(exchange.time, exchange.end),
            Slot::Accused { .. } | Slot::Paired(_) => false,
        })
    }

    /// Exchanges are kept that a late line may acquit.
    pub(super) fn has_accused(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Accused { .. }))
    }

    /// Takes out the exchanges that are kept for a late line: the records in which they were
    /// accused.
    pub(super) fn take_accused(&mut self) -> Vec<Arc<str>> {
        let slots = std::mem::take(&mut self.slots);
        let (accused, others): (Vec<Slot>, Vec<Slot>) = slots
            .into_iter()
            .partition(|slot| matches!(slot, Slot::Accused { .. }));
        self.slots = others.into();
        self.is_out_of_order = true;
        accused
            .into_iter()
            .filter_map(|slot| match slot {
                Slot::Accused { record, .. } => Some(record),
                _ => None,
            })
            .collect()
    }

    /// Exchanges that wait for a verdict.
    pub(super) fn open_exchanges(&self) -> usize {
        let open = |slot: &&Slot| matches!(slot, Slot::Begun { .. } | Slot::Ended(_));
        self.slots.iter().filter(open).count()
    }

    /// The earliest end of an exchange that waits for its line.
    pub(super) fn earliest_end(&self) -> Option<Timestamp> {
        let ends = self.slots.iter().filter_map(|slot| match slot {
            Slot::Ended(exchange) => Some(exchange.end),
            _ => None,
        });
        ends.min()
    }

    /// The earliest stamp of a line that waits for its exchange.
    pub(super) fn earliest_line(&self) -> Option<Timestamp> {
        self.lines.iter().map(|placed| placed.line.time).min()
    }

    /// Remembers in which record an exchange was accused, so that a late line can revise it.
    pub(super) fn accuse(&mut self, exchange: Box<Exchange>, record: Arc<str>) {
        let slot = Slot::Accused { exchange, record };
        let number = |slot: &Slot| match slot {
            Slot::Begun { exchange, .. } => *exchange,
            Slot::Ended(exchange) | Slot::Accused { exchange, .. } => exchange.exchange,
            Slot::Paired(_) => 0,
        };
        let at = self
            .slots
            .iter()
            .position(|other| number(other) > number(&slot));
        self.slots.insert(at.unwrap_or(self.slots.len()), slot);
        self.is_out_of_order = true;
    }

    /// Takes out an exchange that a line without a usable tuple belongs to.
    pub(super) fn take(&mut self, exchange: u32) -> Option<Box<Exchange>> {
        let at = self
            .slots
            .iter()
            .position(|slot| matches!(slot, Slot::Ended(ended) if ended.exchange == exchange))?;
        let slot = std::mem::replace(&mut self.slots[at], Slot::Paired(None));
        self.is_out_of_order = true;
        self.trim();
        match slot {
            Slot::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Looks at an exchange that waits for its line.
    pub(super) fn waiting(&self, exchange: u32) -> Option<&Exchange> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Ended(ended) if ended.exchange == exchange => Some(&**ended),
            _ => None,
        })
    }

    /// Looks at an exchange that was accused.
    pub(super) fn accused(&self, exchange: u32) -> Option<&Exchange> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Accused {
                exchange: accused, ..
            } if accused.exchange == exchange => Some(&**accused),
            _ => None,
        })
    }

    /// Takes out an exchange that was accused, with the record in which it was.
    pub(super) fn acquit(&mut self, exchange: u32) -> Option<(Box<Exchange>, Arc<str>)> {
        let is_it = |slot: &Slot| matches!(slot, Slot::Accused { exchange: accused, .. } if accused.exchange == exchange);
        let at = self.slots.iter().position(is_it)?;
        self.is_out_of_order = true;
        match self.slots.remove(at)? {
            Slot::Accused { exchange, record } => Some((exchange, record)),
            _ => None,
        }
    }

    /// Exchanges that ended by this moment and wait for their line.
    pub(super) fn ended_by(&self, moment: Timestamp) -> impl Iterator<Item = &Exchange> {
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Ended(exchange) if exchange.end <= moment => Some(&**exchange),
            _ => None,
        })
    }

    /// Whether an exchange goes on that began at such a time.
    pub(super) fn goes_on(&self, began: impl Fn(Timestamp) -> bool) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Begun { time, .. } if began(*time)))
    }

    /// An exchange or a line came: pairs what agrees, as [`Self::pair_all`] does, unless that is
    /// still to be paid for.
    pub(super) fn pair(&mut self, captured: Timestamp, settled: &mut Vec<Settled>) {
        self.unpaid = self.unpaid.saturating_sub(COMPARED_EACH);
        if self.unpaid == 0 {
            self.pair_all(captured, settled);
        }
    }

    /// Pairs what agrees in every comparable field, in order. What was sent before `captured` is
    /// known.
    ///
    /// Behind a line that agrees with nothing (edited, or invented?) only what cannot be anything
    /// else is paired: a mistake there would make two faults of one.
    fn pair_all(&mut self, captured: Timestamp, settled: &mut Vec<Settled>) {
        let is_paired = |slot: &Slot| matches!(slot, Slot::Paired(Some(_)));
        let is_open = |slot: &Slot| matches!(slot, Slot::Ended(_) | Slot::Accused { .. });
        let mut first = self
            .slots
            .iter()
            .rposition(is_paired)
            .map_or(0, |at| at + 1);
        let mut at = 0;
        let mut passed = 0;
        self.unpaid = 0;
        while at < self.lines.len() && self.slots.range(first..).any(is_open) {
            let placed = &self.lines[at];
            let candidate = self
                .last_paired_order
                .is_none_or(|last| placed.order > last);
            let known = passed == 0 || placed.line.time < captured;
            let careful = (1..MOST_COMPARED).contains(&passed);
            let from = if careful { first } else { first + passed };
            let found = (candidate && known)
                .then(|| self.find_partner(&placed.line, from, careful))
                .flatten();
            let Some((slot, comparison)) = found else {
                if candidate && known {
                    self.unpaid += self.slots.len().saturating_sub(from);
                }
                passed += usize::from(candidate && !placed.may_be_older);
                at += 1;
                continue;
            };
            passed = 0;
            let Some(Placed { order, line, .. }) = self.lines.remove(at) else {
                break;
            };
            self.last_paired_order = Some(order);
            first = slot + 1;
            let mut before = self.slots.range(..slot);
            self.is_out_of_order |= !before.all(|slot| matches!(slot, Slot::Paired(_)));
            match std::mem::replace(&mut self.slots[slot], Slot::Paired(Some(order))) {
                Slot::Ended(exchange) => {
                    settled.push(Settled::Pair {
                        exchange,
                        line,
                        comparison,
                    });
                }
                Slot::Accused { exchange, record } => {
                    settled.push(Settled::Late {
                        exchange,
                        line,
                        comparison,
                        record,
                    });
                }
                Slot::Begun { .. } | Slot::Paired(_) => {}
            }
        }
        self.trim();
    }

    /// Its exchanges turn out to be carried many at once.
    pub(super) fn hand_over(&mut self, to: &mut Multiplexed) {
        for slot in self.slots.drain(..) {
            match slot {
                Slot::Begun { exchange, time } => to.begin(begun(exchange, time)),
                Slot::Ended(exchange) => to.wait(exchange),
                Slot::Accused { exchange, record } => to.accuse(exchange, record),
                Slot::Paired(_) => {}
            }
        }
        for placed in self.lines.drain(..) {
            to.place(placed.line, placed.may_be_older);
        }
    }

    /// Everything that is left, whatever the horizon: the agent stops.
    pub(super) fn drain(&mut self) -> Leftovers {
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        for slot in self.slots.drain(..) {
            match slot {
                Slot::Ended(exchange) => ended.push(exchange),
                Slot::Begun { exchange, time } => begun.push(self::begun(exchange, time)),
                Slot::Accused { .. } | Slot::Paired(_) => {}
            }
        }
        let lines = self.lines.drain(..).map(|placed| placed.line).collect();
        Leftovers {
            ended,
            begun,
            lines,
        }
    }

    pub(super) fn waiting_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map(|placed| &*placed.line)
    }

    pub(super) fn exchanges_without_line(&self) -> impl Iterator<Item = OpenExchange<'_>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Begun { exchange, time } => Some(OpenExchange::Begun(begun(*exchange, *time))),
            Slot::Ended(exchange) => Some(OpenExchange::Ended(exchange)),
            Slot::Accused { exchange, record } => Some(OpenExchange::Accused { exchange, record }),
            Slot::Paired(_) => None,
        })
    }

    /// The first exchange from the slot `first` on that agrees with a line and lies in its time, or
    /// that the request's id proves. Behind lines that were passed over, `careful`: only if no other
    /// does; if they are many, the first that leaves each of them one. Rather one with the same host.
    fn find_partner(
        &self,
        line: &Line,
        first: usize,
        careful: bool,
    ) -> Option<(usize, Comparison)> {
        let entry = line.entry()?;
        let (mut found, mut with_other_host, mut other_hosts) = (None, None, 0);
        for at in first..self.slots.len() {
            if (found.is_some() || with_other_host.is_some()) && at >= first + MOST_COMPARED {
                break;
            }
            let (Slot::Ended(exchange) | Slot::Accused { exchange, .. }) = &self.slots[at] else {
                continue;
            };
            let same_id = match (entry.request_id, exchange.request_id) {
                (Some(log), Some(kernel)) if log != kernel => continue,
                (log, kernel) => log.is_some() && log == kernel,
            };
            let in_time = fits_in_time(self.side, exchange.time, exchange.end, entry);
            if !same_id && !in_time {
                continue;
            }
            let comparison = compare(self.side, exchange, entry);
            // What the proxy rewrites is no evidence that these two belong together.
            let sure = same_id || !comparison.is_unlike;
            if !sure || !comparison.agrees() {
                continue;
            }
            if !same_id && comparison.differs_in_authority() {
                other_hosts += 1;
                with_other_host.get_or_insert((at, comparison));
                continue;
            }
            if same_id || !careful {
                return Some((at, comparison));
            }
            if found.is_some() {
                return None;
            }
            found = Some((at, comparison));
        }
        found.or(with_other_host.filter(|_| !careful || other_hosts == 1))
    }
}

fn begun(number: u32, time: Timestamp) -> Begun {
    Begun {
        number,
        stream: None,
        time,
    }
}
