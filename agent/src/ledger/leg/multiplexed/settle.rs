//! What is left of the exchanges and lines of a connection that carries many at once, and which of
//! it belongs together.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{Horizon, Settled, misfit},
    Accused, MOST_COMPARED, Multiplexed, always, exchanges_in_time,
    waiting::Half,
};
use crate::{
    ledger::{
        compare::{Comparison, compare, fits_in_time},
        input::{Entry, Exchange, Line},
    },
    record::{Fingerprint, Reason, Side},
    timestamp::Timestamp,
};

/// Exchanges that are weighed against each other for one line.
const MOST_WEIGHED: usize = 64;

/// Exchanges among which one in a line's time is preferred: the lines come in the order in which
/// they ended, so that it is one of the first.
const MOST_IN_TIME: usize = 16;

/// How long a busy proxy may take to read a request.
const LONGEST_STALL: Duration = Duration::from_secs(1);

/// How long after its exchange was due a line waits for those that are alike to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);

impl Multiplexed {
    /// A line is settled once every exchange that it may be of has missed its own line, and an
    /// exchange once every line that may be its is settled.
    pub(in crate::ledger::leg) fn settle(
        &mut self,
        horizon: Horizon,
        may_judge: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) {
        let due = self.lines.in_time(Timestamp::default()..=horizon.lines);
        let due: Vec<u64> = due.map(|(number, _)| number).collect();
        let left = self.pair_what_agrees(due, horizon, settled);
        let is_due = |exchange: &Exchange| exchange.end <= horizon.exchanges && may_judge(exchange);
        let alone = self.pair_what_differs(left, horizon, &is_due, settled);
        for number in alone {
            let Some(line) = self.lines.remove(number) else {
                continue;
            };
            let accused = self.accused_so_far_as_known(&line);
            settled.push(match accused {
                Some((accused, comparison)) => Settled::Late {
                    exchange: accused.exchange,
                    line,
                    comparison,
                    record: accused.record,
                },
                None => Settled::Line(line),
            });
        }
        let missed = self.ended.in_time(Timestamp::default()..=horizon.exchanges);
        let missed = missed.filter(|(_, exchange)| {
            is_due(exchange) && !self.may_get_line(exchange, horizon.grace)
        });
        let missed: Vec<u64> = missed.map(|(number, _)| number).collect();
        for number in missed {
            settled.extend(self.ended.remove(number).map(Settled::Exchange));
        }
    }

    /// Pairs lines with exchanges that agree with them so far as they are known, now that none is
    /// left which agrees in more. Returns the other lines, without those that wait for one.
    fn pair_what_agrees(
        &mut self,
        due: Vec<u64>,
        horizon: Horizon,
        settled: &mut Vec<Settled>,
    ) -> Vec<u64> {
        let mut left = Vec::new();
        for number in due {
            let Some(line) = self.lines.get(number) else {
                continue;
            };
            match self.agreeing(number, line, horizon) {
                Some((exchange, end, comparison)) if end <= horizon.exchanges => {
                    self.put_together(exchange, number, comparison, settled);
                }
                Some(_) => {}
                None => left.push(number),
            }
        }
        left
    }

    /// An exchange that agrees with a line so far as it is known, and when it ended. Rather one
    /// that has missed its own line, in the line's time, with its path; in its time for sure if
    /// its request may be older than the agent.
    fn agreeing(
        &self,
        number: u64,
        line: &Line,
        horizon: Horizon,
    ) -> Option<(u64, Timestamp, Comparison)> {
        let entry = line.entry()?;
        let fits = |(_, exchange): &(u64, &Exchange)| {
            fits_in_time(self.side, exchange.time, exchange.end, entry)
        };
        let agrees = |(number, exchange): (u64, &Exchange)| {
            let comparison = so_far_as_known(self.side, exchange, entry)?;
            Some((number, exchange.end, comparison))
        };
        let due = *exchanges_in_time(entry).start()..=horizon.exchanges;
        // Of those that are alike, lines went to the neighbours' exchanges.
        let before_line = |(_, exchange): &(u64, &Exchange)| {
            exchange.end <= horizon.exchanges || exchange.time <= line.time
        };
        let is_older = self.older_lines.contains(&number);
        let any_time_before_line = |found: &(u64, &Exchange)| !is_older && before_line(found);
        let Some(path) = line.path() else {
            // The proxy did not read it, and neither did the agent, it seems.
            let unread = self.ended.with_path(None, exchanges_in_time(entry));
            let unread = unread.filter(before_line).filter(fits);
            let in_time = self.ended.in_time(due).filter(fits);
            let at_any_time = self.ended.in_time(always()).filter(any_time_before_line);
            let found = unread.take(MOST_COMPARED).find_map(agrees);
            return found
                .or_else(|| in_time.take(MOST_COMPARED).find_map(agrees))
                .or_else(|| at_any_time.take(MOST_COMPARED).find_map(agrees));
        };
        let in_time = |path| {
            let in_time = self.ended.with_path(path, due.clone());
            in_time.take(MOST_IN_TIME).filter(fits).find_map(agrees)
        };
        let at_any_time = |path| {
            let at_any_time = self
                .ended
                .with_path(path, always())
                .filter(any_time_before_line);
            at_any_time.take(MOST_COMPARED).find_map(agrees)
        };
        in_time(Some(path))
            .or_else(|| in_time(None))
            .or_else(|| at_any_time(Some(path)))
            .or_else(|| at_any_time(None))
    }

    /// Pairs lines with exchanges that differ from them, with as few differences as possible.
    /// Returns the lines that have none.
    fn pair_what_differs(
        &mut self,
        left: Vec<u64>,
        horizon: Horizon,
        is_due: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) -> Vec<u64> {
        let (mut alone, mut pairs) = (Vec::new(), Vec::new());
        for number in left {
            let Some(line) = self.lines.get(number) else {
                continue;
            };
            let mut candidates = self.candidates(line);
            if candidates.is_empty() {
                let is_patient = line.time + horizon.grace + PATIENCE > horizon.lines;
                let displaced = self.displaced(line).into_iter();
                candidates.extend(displaced.filter(|(_, it)| is_patient || is_due(it)));
            }
            let waits = candidates.iter().any(|(_, exchange)| !is_due(exchange))
                || candidates.is_empty() && self.may_go_on(line);
            if !waits {
                let costs = candidates
                    .iter()
                    .map(|(exchange, candidate)| (self.cost(candidate, line), number, *exchange));
                pairs.extend(costs);
                alone.push(number);
            }
        }
        pairs.sort_unstable();
        let (mut exchanges, mut lines) = (BTreeSet::new(), BTreeSet::new());
        for (_, line, exchange) in pairs {
            if lines.contains(&line) || !exchanges.insert(exchange) {
                continue;
            }
            lines.insert(line);
            let both = self.ended.get(exchange).zip(self.lines.get(line));
            let comparison =
                both.and_then(|(exchange, line)| Some(compare(self.side, exchange, line.entry()?)));
            self.put_together(exchange, line, comparison.unwrap_or_default(), settled);
        }
        alone.retain(|line| !lines.contains(line));
        alone
    }

    /// The exchanges that a line may be of although they differ.
    fn candidates(&self, line: &Line) -> Vec<(u64, &Exchange)> {
        let Some(entry) = line.entry() else {
            return Vec::new();
        };
        let with_id = entry.request_id.into_iter();
        let with_id = with_id.flat_map(|id| self.ended.with_request_id(id, always()));
        let mut candidates: Vec<_> = with_id.take(MOST_WEIGHED).collect();
        if candidates.is_empty() {
            let in_time = self.ended.in_time(exchanges_in_time(entry));
            let in_time = in_time.filter(|(_, exchange)| {
                exchange.time <= line.time && may_be_of(self.side, exchange, entry)
            });
            candidates.extend(in_time.take(MOST_WEIGHED));
        }
        candidates
    }

    /// Takes out an exchange that was accused and agrees with a line so far as it is known, rather
    /// one in its time.
    fn accused_so_far_as_known(&mut self, line: &Line) -> Option<(Accused, Comparison)> {
        let entry = line.entry()?;
        let agreeing = self.accused.iter().filter_map(|(number, accused)| {
            let exchange = &accused.exchange;
            let comparison = so_far_as_known(self.side, exchange, entry)?;
            let in_time = fits_in_time(self.side, exchange.time, exchange.end, entry);
            (exchange.time <= line.time).then_some((!in_time, *number, comparison))
        });
        let (_, number, comparison) = agreeing.min_by_key(|(misfit, ..)| *misfit)?;
        Some((self.accused.remove(&number)?, comparison))
    }

    /// Of exchanges that are alike, each line went to the one before if the first had none that
    /// agrees. Then the first of those that are left stands for the one that a line is of.
    fn displaced(&self, line: &Line) -> Option<(u64, &Exchange)> {
        let entry = line.entry()?;
        let mut paths = self.paths_beside(entry);
        // Its own too: what was paired beside it may be forgotten.
        paths.extend(line.path().map(Some));
        let first = |path| self.ended.with_path(path, always()).next();
        let left = paths.into_iter().filter_map(first);
        left.min_by_key(|(_, exchange)| exchange.end)
    }

    /// The paths of exchanges that are paired and were there when the request of a line was.
    fn paths_beside(&self, entry: &Entry) -> BTreeSet<Option<Fingerprint>> {
        let beside = self.paired.iter().rev();
        let beside = beside.filter(|it| began_with(self.side, it.time, it.end, entry));
        beside.map(|it| it.path).collect()
    }

    /// Whether a line may be of an exchange that goes on, so far as the kernel can tell: what the
    /// proxy sent last may lie in its socket.
    fn may_go_on(&self, line: &Line) -> bool {
        line.entry().is_some_and(|entry| {
            self.goes_on(|began| began_with(self.side, began, Timestamp::MAX, entry))
        })
    }

    /// Whether an exchange may be that of a line which waits.
    fn may_get_line(&self, exchange: &Exchange, grace: Duration) -> bool {
        let may_be_its = |line: &Line| {
            line.entry().is_some_and(|entry| {
                may_be_of(self.side, exchange, entry)
                    || so_far_as_known(self.side, exchange, entry).is_some()
                    || self.paths_beside(entry).contains(&exchange.path())
            })
        };
        let stamped = Timestamp::default()..=exchange.end + grace;
        let lines = self.lines.in_time(stamped).take(MOST_WEIGHED);
        lines.map(|(_, line)| line).any(may_be_its)
    }

    fn cost(&self, exchange: &Exchange, line: &Line) -> (u64, u64) {
        let (differences, distance) = misfit(self.side, exchange, line);
        let end = line.entry().and_then(written);
        let from_end = end.map_or(0, |end| end.0.abs_diff(exchange.end.0) >> 20);
        (differences, distance + from_end)
    }
}

/// The comparison of an exchange and a line in which nothing differs that is known of both.
fn so_far_as_known(side: Side, exchange: &Exchange, entry: &Entry) -> Option<Comparison> {
    let ids = exchange.request_id.zip(entry.request_id);
    let other_id = ids.is_some_and(|(kernel, log)| kernel != log);
    let is_read = entry.method.is_some() || entry.path.is_some();
    if other_id || exchange.is_unread() && is_read {
        return None;
    }
    let comparison = compare(side, exchange, entry);
    let is_rewritten = comparison.reasons.contains(&Reason::Rewritten);
    (comparison.agrees() && !is_rewritten).then_some(comparison)
}

/// Whether START_TIME tells of the begin of an exchange.
fn may_be_of(side: Side, exchange: &Exchange, entry: &Entry) -> bool {
    began_with(side, exchange.time, exchange.end, entry)
}

fn began_with(side: Side, began: Timestamp, end: Timestamp, entry: &Entry) -> bool {
    fits_in_time(side, began, end.min(began + LONGEST_STALL), entry)
}

/// When the proxy was done with the request of a line, at the latest.
fn written(entry: &Entry) -> Option<Timestamp> {
    let lasted = Duration::from_millis(entry.duration_milliseconds? + 1);
    let precision = Duration::from_nanos(entry.start_time_precision_nanoseconds);
    Some(entry.start_time? + precision + lasted)
}
