//! What is left of the exchanges and lines of a connection that carries many at once, and which of
//! it belongs together.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{
    super::{Horizon, Settled, misfit},
    MOST_COMPARED, Multiplexed, always, exchanges_in_time, lines_in_time,
    waiting::Half,
};
use crate::{
    ledger::{
        compare::{Comparison, compare, fits_in_time},
        input::{Entry, Exchange, Line},
    },
    record::{Reason, Side},
    timestamp::Timestamp,
};

/// Exchanges that are weighed against each other for one line.
const MOST_WEIGHED: usize = 64;

/// How long a busy proxy may take to read a request.
const LONGEST_STALL: Duration = Duration::from_secs(1);

/// How much later than its line says an exchange may end, and be its other half although they
/// differ.
const SLACK: Duration = Duration::from_millis(100);

impl Multiplexed {
    /// A line is settled once every exchange that it may be of has missed its own line, and an
    /// exchange once every line that may be its is settled.
    pub(in crate::ledger::leg) fn settle(
        &mut self,
        horizon: Horizon,
        may_judge: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) {
        let due = self.lines.iter();
        let due = due.filter(|(_, line)| line.time <= horizon.lines);
        let due: Vec<u64> = due.map(|(number, _)| number).collect();
        let left = self.pair_what_agrees(due, horizon, settled);
        let is_due = |exchange: &Exchange| exchange.end <= horizon.exchanges && may_judge(exchange);
        let alone = self.pair_what_differs(left, &is_due, settled);
        for number in alone {
            settled.extend(self.lines.remove(number).map(Settled::Line));
        }
        let missed = self.ended.in_time(Timestamp::default()..=horizon.exchanges);
        let missed =
            missed.filter(|(_, exchange)| is_due(exchange) && !self.may_get_line(exchange));
        let missed: Vec<u64> = missed.map(|(number, _)| number).collect();
        for number in missed {
            settled.extend(self.ended.remove(number).map(Settled::Exchange));
        }
    }

    /// Pairs lines with exchanges that agree with them so far as they are known, now that none is
    /// left which agrees in more. Returns the other lines.
    fn pair_what_agrees(
        &mut self,
        due: Vec<u64>,
        horizon: Horizon,
        settled: &mut Vec<Settled>,
    ) -> Vec<u64> {
        let mut left = Vec::new();
        for number in due {
            let found = (self.lines.get(number)).and_then(|line| self.agreeing(line, horizon));
            match found {
                Some((exchange, comparison)) => {
                    self.put_together(exchange, number, comparison, settled);
                }
                None => left.push(number),
            }
        }
        left
    }

    fn agreeing(&self, line: &Line, horizon: Horizon) -> Option<(u64, Comparison)> {
        let entry = line.entry()?;
        let fits = |(_, exchange): &(u64, &Exchange)| {
            exchange.end <= horizon.exchanges
                && fits_in_time(self.side, exchange.time, exchange.end, entry)
        };
        let agrees = |(number, exchange): (u64, &Exchange)| {
            Some((number, so_far_as_known(self.side, exchange, entry)?))
        };
        let in_time = exchanges_in_time(entry);
        let Some(path) = line.path() else {
            let any = self.ended.in_time(in_time).filter(fits);
            return any.take(MOST_COMPARED).find_map(agrees);
        };
        let with_path = |path| {
            let with_path = self.ended.with_path(path, in_time.clone()).filter(fits);
            with_path.take(MOST_COMPARED).find_map(agrees)
        };
        with_path(Some(path))
            .or_else(|| with_path(None))
            .or_else(|| {
                // Of those that are alike, lines went to the neighbours' exchanges.
                let mut at_any_time = self.ended.with_path(Some(path), always());
                let mut at_any_time = at_any_time.by_ref().take(MOST_COMPARED);
                let is_due = |exchange: &Exchange| exchange.end <= horizon.exchanges;
                at_any_time.find_map(|found| agrees(found).filter(|_| is_due(found.1)))
            })
    }

    /// Pairs lines with exchanges that differ from them, with as few differences as possible.
    /// Returns the lines that have none.
    fn pair_what_differs(
        &mut self,
        left: Vec<u64>,
        is_due: &impl Fn(&Exchange) -> bool,
        settled: &mut Vec<Settled>,
    ) -> Vec<u64> {
        let (mut alone, mut pairs) = (Vec::new(), Vec::new());
        for number in left {
            let Some(line) = self.lines.get(number) else {
                continue;
            };
            let candidates = self.candidates(line);
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
            let in_time = self.ended.in_time(times_of_other_half(line, entry));
            let in_time = in_time.filter(|(_, exchange)| may_be_of(self.side, exchange, entry));
            candidates.extend(in_time.take(MOST_WEIGHED));
        }
        candidates
    }

    /// Whether a line may be of an exchange that goes on, so far as the kernel can tell: what the
    /// proxy sent last may lie in its socket.
    fn may_go_on(&self, line: &Line) -> bool {
        line.entry().is_some_and(|entry| {
            self.goes_on(|began| began_with(self.side, began, Timestamp::MAX, entry))
        })
    }

    /// Whether an exchange may be that of a line which waits.
    fn may_get_line(&self, exchange: &Exchange) -> bool {
        let may_be_its = |line: &Line| {
            line.entry().is_some_and(|entry| {
                may_be_of(self.side, exchange, entry)
                    && times_of_other_half(line, entry).contains(&exchange.end)
            })
        };
        let mut lines = self.lines.in_time(lines_in_time(exchange));
        lines.any(|(_, line)| may_be_its(line))
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
    if other_id || exchange.is_unread() && entry.method.is_some() {
        return None;
    }
    let comparison = compare(side, exchange, entry);
    let is_rewritten = comparison.reasons.contains(&Reason::Rewritten);
    (comparison.agrees() && !is_rewritten).then_some(comparison)
}

/// When an exchange ended of which a line may be that differs from it.
fn times_of_other_half(line: &Line, entry: &Entry) -> RangeInclusive<Timestamp> {
    let end = written(entry).unwrap_or(line.time);
    let earliest = *exchanges_in_time(entry).start();
    earliest..=(end + SLACK).max(earliest)
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
