//! A connection that carries many exchanges at once (RFC 9113), which end in any order. A proxy
//! writes the line of each when its stream ends.
//!
//! Order tells little here, so each half is looked for by what it says: by the request's id, or by
//! the path among those of the same time. Of exchanges that a line fits alike it takes the one that
//! ended first, so that none is left behind whose own line is still to come.

mod settle;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use waiting::{Half, Waiting};

use super::{Begun, KEPT_ACCUSED, Leftovers, OpenExchange, Settled};
use crate::{
    ledger::{
        compare::{CLOCK_TOLERANCE, Comparison, compare, fits_in_time, latest_begin},
        input::{Entry, Exchange, Line},
    },
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Halves that are held against one other, of all that lie in its time.
const MOST_COMPARED: usize = 256;

/// Exchanges that are looked at, of all that began before a line's request.
const MOST_BEGUN: usize = 1024;

/// Attempts at one request among which the one of a line is looked for.
const MOST_ATTEMPTS: usize = 8;

/// How much earlier than its line says an exchange may have ended, by the clocks.
const EARLY: Duration = Duration::from_millis(20);

/// Pairs that are remembered for a line beside which they stood.
const KEPT_PAIRED: usize = 1024;

/// The exchanges and lines of one connection, so far as they are not settled.
///
/// An exchange goes through:
///
/// ```text
/// begun ──▶ ended ──▶ (paired)
///             │
///             └─────▶ accused ──▶ (paired: a late line)
/// ```
#[derive(Debug)]
pub(super) struct Multiplexed {
    side: Side,
    begun: BTreeMap<u32, Begun>,
    ended: Waiting<Exchange>,
    accused: BTreeMap<u32, Accused>,
    lines: Waiting<Line>,
    next_line: u64,
    /// Lines whose request may be older than the agent.
    older_lines: BTreeSet<u64>,
    /// The last exchanges that found their lines.
    paired: VecDeque<Paired>,
    /// Exchanges and lines that came since the last pairing.
    new_exchanges: Vec<u64>,
    new_lines: Vec<u64>,
}

/// An exchange that was judged without a line, in this record.
#[derive(Debug)]
struct Accused {
    exchange: Box<Exchange>,
    record: Arc<str>,
}

/// When an exchange was there that has found its line.
#[derive(Clone, Copy, Debug)]
struct Paired {
    time: Timestamp,
    end: Timestamp,
    path: Option<Fingerprint>,
}

impl Multiplexed {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            begun: BTreeMap::new(),
            ended: Waiting::new(),
            accused: BTreeMap::new(),
            lines: Waiting::new(),
            next_line: 0,
            older_lines: BTreeSet::new(),
            paired: VecDeque::new(),
            new_exchanges: Vec::new(),
            new_lines: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, begun: Begun) {
        self.begun.insert(begun.number, begun);
    }

    pub(super) fn began(&self, number: u32) -> Option<Timestamp> {
        self.begun.get(&number).map(|begun| begun.time)
    }

    pub(super) fn end(&mut self, ended: Box<Exchange>) -> bool {
        let has_begun = self.begun.remove(&ended.exchange).is_some();
        if has_begun {
            self.wait(ended);
        }
        has_begun
    }

    /// An exchange that ended waits for its line.
    pub(super) fn wait(&mut self, ended: Box<Exchange>) {
        let number = u64::from(ended.exchange);
        self.new_exchanges.push(number);
        self.ended.insert(number, ended);
    }

    /// A line that names this connection. One that may be older than the agent is left to what is
    /// left when it is due.
    pub(super) fn place(&mut self, line: Box<Line>, may_be_older: bool) {
        if may_be_older {
            self.older_lines.insert(self.next_line);
        } else {
            self.new_lines.push(self.next_line);
        }
        self.lines.insert(self.next_line, line);
        self.next_line += 1;
    }

    #[expect(clippy::vec_box, reason = "lines move between lists")]
    pub(super) fn take_lines(
        &mut self,
        id: Fingerprint,
        holds: impl Fn(&Line) -> bool,
    ) -> Vec<Box<Line>> {
        let of_id = self.lines.with_request_id(id, always());
        let of_id = of_id.filter(|(_, line)| holds(line));
        let numbers: Vec<u64> = of_id.map(|(number, _)| number).collect();
        let taken = numbers.into_iter();
        taken.filter_map(|it| self.lines.remove(it)).collect()
    }

    pub(super) fn awaits(&self, line: &Line) -> bool {
        self.exchange_of(line).is_some()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.lines.is_empty() && self.open_exchanges() == 0
    }

    pub(super) fn has_open(&self, in_time: impl Fn(Timestamp, Timestamp) -> bool) -> bool {
        let mut ended = self.ended.iter();
        let goes_on = |began| in_time(began, Timestamp::MAX);
        self.goes_on(goes_on) || ended.any(|(_, exchange)| in_time(exchange.time, exchange.end))
    }

    pub(super) fn has_accused(&self) -> bool {
        !self.accused.is_empty()
    }

    pub(super) fn take_accused(&mut self) -> Vec<Arc<str>> {
        let accused = std::mem::take(&mut self.accused).into_values();
        accused.map(|accused| accused.record).collect()
    }

    pub(super) fn open_exchanges(&self) -> usize {
        self.begun.len() + self.ended.len()
    }

    pub(super) fn earliest_end(&self) -> Option<Timestamp> {
        self.ended.first_moment()
    }

    pub(super) fn earliest_line(&self) -> Option<Timestamp> {
        self.lines.first_moment()
    }

    /// Of those that wait for a late line the oldest give way.
    pub(super) fn accuse(&mut self, exchange: Box<Exchange>, record: Arc<str>) {
        let number = exchange.exchange;
        self.accused.insert(number, Accused { exchange, record });
        if self.accused.len() > KEPT_ACCUSED {
            self.accused.pop_first();
        }
    }

    pub(super) fn take(&mut self, exchange: u32) -> Option<Box<Exchange>> {
        self.ended.remove(exchange.into())
    }

    pub(super) fn waiting(&self, exchange: u32) -> Option<&Exchange> {
        self.ended.get(exchange.into())
    }

    pub(super) fn accused(&self, exchange: u32) -> Option<&Exchange> {
        self.accused
            .get(&exchange)
            .map(|accused| &*accused.exchange)
    }

    pub(super) fn acquit(&mut self, exchange: u32) -> Option<(Box<Exchange>, Arc<str>)> {
        let accused = self.accused.remove(&exchange)?;
        Some((accused.exchange, accused.record))
    }

    pub(super) fn ended_by(&self, moment: Timestamp) -> impl Iterator<Item = &Exchange> {
        let ended = self.ended.in_time(Timestamp::default()..=moment);
        ended.map(|(_, exchange)| exchange)
    }

    pub(super) fn goes_on(&self, began: impl Fn(Timestamp) -> bool) -> bool {
        self.begun.values().any(|begun| began(begun.time))
    }

    /// Pairs what agrees in every comparable field and belongs together for sure.
    pub(super) fn pair(&mut self, settled: &mut Vec<Settled>) {
        for number in std::mem::take(&mut self.new_lines) {
            self.pair_line(number, settled);
        }
        for number in std::mem::take(&mut self.new_exchanges) {
            let found = (self.ended.get(number)).and_then(|ended| self.line_of(ended));
            if let Some((line, comparison)) = found {
                self.put_together(number, line, comparison, settled);
            }
        }
    }

    pub(super) fn drain(&mut self) -> Leftovers {
        let begun = std::mem::take(&mut self.begun).into_values().collect();
        self.accused.clear();
        Leftovers {
            ended: self.ended.drain(),
            begun,
            lines: self.lines.drain(),
        }
    }

    pub(super) fn waiting_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map(|(_, line)| line)
    }

    pub(super) fn exchanges_without_line(&self) -> impl Iterator<Item = OpenExchange<'_>> {
        let begun = self.begun.values().copied().map(OpenExchange::Begun);
        let ended = (self.ended.iter()).map(|(_, exchange)| OpenExchange::Ended(exchange));
        let accused = self.accused.values();
        let accused =
            accused.map(|Accused { exchange, record }| OpenExchange::Accused { exchange, record });
        begun.chain(ended).chain(accused)
    }

    fn pair_line(&mut self, number: u64, settled: &mut Vec<Settled>) {
        let Some(line) = self.lines.get(number) else {
            return;
        };
        if let Some((exchange, comparison)) = self.exchange_of(line) {
            self.put_together(exchange, number, comparison, settled);
            return;
        }
        let Some((accused, comparison)) = self.accused_of(line) else {
            return;
        };
        let accused = self.accused.remove(&accused);
        if let (Some(Accused { exchange, record }), Some(line)) =
            (accused, self.lines.remove(number))
        {
            settled.push(Settled::Late {
                exchange,
                line,
                comparison,
                record,
            });
        }
    }

    /// The exchange that a line belongs to for sure.
    fn exchange_of(&self, line: &Line) -> Option<(u64, Comparison)> {
        let entry = line.entry()?;
        let in_time = exchanges_in_time(entry);
        let evident = |(number, exchange): (u64, &Exchange)| {
            Some((number, evidently(self.side, exchange, entry)?))
        };
        let of_id = |id| {
            let in_time = self.ended.with_request_id(id, in_time.clone());
            let out_of_time = self.ended.with_request_id(id, always());
            let all = in_time
                .take(MOST_COMPARED)
                .chain(out_of_time.take(MOST_COMPARED));
            nearest(all.filter_map(evident), |number| {
                self.ended.get(number).map(|it| distance(it, entry))
            })
        };
        entry.request_id.and_then(of_id).or_else(|| {
            let path = line.path()?;
            let of_path = |time| self.ended.with_path(Some(path), time).take(MOST_COMPARED);
            let with_its_end = self.ends_of_line(entry).map(of_path);
            let all = with_its_end.into_iter().flatten();
            let all = all.chain(of_path(in_time.clone()));
            let found = with_the_same_host(all.filter_map(evident));
            found.or_else(|| {
                let begun = self.begun_in_time(entry, path).into_iter();
                with_the_same_host(begun.filter_map(evident))
            })
        })
    }

    /// Exchanges that began in time for a line, in the order in which they ended: its own may have
    /// ended behind many others which began too late for it.
    fn begun_in_time(&self, entry: &Entry, path: Fingerprint) -> Vec<(u64, &Exchange)> {
        let latest = |start| latest_begin(self.side, start, entry);
        let latest = entry.start_time.map_or(Timestamp::MAX, latest);
        // Their numbers are in the order in which they began.
        let begun = self.ended.iter().take(MOST_BEGUN);
        let in_time = begun.take_while(|(_, exchange)| exchange.time <= latest);
        let with_path = in_time.filter(|(_, exchange)| exchange.path() == Some(path));
        let mut found: Vec<_> = with_path.take(MOST_COMPARED).collect();
        found.sort_by_key(|(_, exchange)| exchange.end);
        found
    }

    /// When the exchange of a line ended at the earliest, as the app sees it: what it received last
    /// had left the proxy by then.
    fn ends_of_line(&self, entry: &Entry) -> Option<RangeInclusive<Timestamp>> {
        let lasted = Duration::from_millis(entry.duration_milliseconds?);
        let end = entry.start_time? + lasted;
        (self.side == Side::Client && lasted > EARLY).then(|| end - EARLY..=Timestamp::MAX)
    }

    /// The line that belongs to an exchange for sure.
    fn line_of(&self, exchange: &Exchange) -> Option<(u64, Comparison)> {
        if self.lines.is_empty() {
            return None;
        }
        let evident = |(number, line): (u64, &Line)| {
            let may_be = !self.older_lines.contains(&number);
            let entry = line.entry().filter(|_| may_be)?;
            Some((number, evidently(self.side, exchange, entry)?))
        };
        let of_id = |id| {
            let of_id = self.lines.with_request_id(id, always());
            let all = of_id.take(MOST_COMPARED).filter_map(evident);
            nearest(all, |number| {
                let entry = self.lines.get(number)?.entry()?;
                Some(distance(exchange, entry))
            })
        };
        exchange.request_id.and_then(of_id).or_else(|| {
            let path = exchange.path()?;
            let of_path = self.lines.with_path(Some(path), always());
            with_the_same_host(of_path.take(MOST_COMPARED).filter_map(evident))
        })
    }

    /// The exchange that a line acquits.
    fn accused_of(&self, line: &Line) -> Option<(u32, Comparison)> {
        let entry = line.entry()?;
        let evident = self.accused.iter().filter_map(|(number, accused)| {
            Some((*number, evidently(self.side, &accused.exchange, entry)?))
        });
        with_the_same_host(evident)
    }

    fn note_pair(&mut self, exchange: &Exchange) {
        if self.paired.len() == KEPT_PAIRED {
            self.paired.pop_front();
        }
        self.paired.push_back(Paired {
            time: exchange.time,
            end: exchange.end,
            path: exchange.path(),
        });
    }

    fn put_together(
        &mut self,
        exchange: u64,
        line: u64,
        comparison: Comparison,
        settled: &mut Vec<Settled>,
    ) {
        let both = self.ended.remove(exchange).zip(self.lines.remove(line));
        let Some((exchange, line)) = both else { return };
        self.note_pair(&exchange);
        settled.push(Settled::Pair {
            exchange,
            line,
            comparison,
        });
    }
}

/// Of the first of those with one request's id, the one that is nearest in time: attempts at one
/// request, each with its own line, have all else in common.
fn nearest<T>(
    all: impl Iterator<Item = (u64, T)>,
    distance: impl Fn(u64) -> Option<(u64, u64)>,
) -> Option<(u64, T)> {
    all.take(MOST_ATTEMPTS)
        .min_by_key(|(number, _)| distance(*number))
}

/// The first in which no host was replaced, or else the first.
fn with_the_same_host<T>(all: impl Iterator<Item = (T, Comparison)>) -> Option<(T, Comparison)> {
    let mut with_another = None;
    for found in all {
        if !found.1.differs_in_authority() {
            return Some(found);
        }
        with_another.get_or_insert(found);
    }
    with_another
}

/// How far the times of a line lie from those of an exchange, roughly in milliseconds: its end
/// first, since the line of a request that the proxy tries again is that of the last attempt.
fn distance(exchange: &Exchange, entry: &Entry) -> (u64, u64) {
    let lasted = entry.duration_milliseconds.map(Duration::from_millis);
    let end = entry.start_time.zip(lasted);
    let from_end = end.map_or(0, |(start, lasted)| {
        (start + lasted).0.abs_diff(exchange.end.0)
    });
    let from_start = entry
        .start_time
        .map_or(0, |start| start.0.abs_diff(exchange.time.0));
    (from_end >> 22, from_start >> 20)
}

/// The comparison of an exchange and a line that agree, if nothing else could: they have the
/// request's id in common, or its method, its path and its time.
fn evidently(side: Side, exchange: &Exchange, entry: &Entry) -> Option<Comparison> {
    let ids = exchange.request_id.zip(entry.request_id);
    let same_id = ids.map(|(kernel, log)| kernel == log);
    let is_known = exchange.method.is_some()
        && exchange.path.is_some()
        && entry.method.is_some()
        && entry.path.is_some();
    let may_be = match same_id {
        Some(same) => same,
        None => is_known && fits_in_time(side, exchange.time, exchange.end, entry),
    };
    let comparison = may_be.then(|| compare(side, exchange, entry))?;
    // What the proxy rewrites is no evidence that these two belong together.
    let is_sure = same_id == Some(true) || !comparison.is_unlike;
    (is_sure && comparison.agrees()).then_some(comparison)
}

/// When an exchange may have ended which a line fits in time.
fn exchanges_in_time(entry: &Entry) -> RangeInclusive<Timestamp> {
    let start = entry.start_time.unwrap_or_default();
    start - CLOCK_TOLERANCE..=Timestamp::MAX
}

fn always() -> RangeInclusive<Timestamp> {
    Timestamp::default()..=Timestamp::MAX
}
