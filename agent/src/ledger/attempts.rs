//! Attempts behind one inbound line.
//!
//! A proxy that retries writes one line, whose tuple is that of the last attempt. The others are
//! exchanges of the same app without a line, found by what they share with the line: the
//! x-request-id, the method, the path, and the time between its START_TIME and its end.
//!
//! A client can choose its x-request-id. So an exchange counts as an attempt only if it lies
//! within the line's own DURATION before the named one, and if the proxy had a reason to try
//! again: an answer that was final when the next attempt began is never a failed attempt.

use std::{borrow::Cow, collections::VecDeque, time::Duration};

use super::{
    compare::{CLOCK_TOLERANCE, answered_by_upstream},
    input::{Exchange, Line},
};
use crate::{http::ConnectionId, number_map::NumberMap, record::Fingerprint, timestamp::Timestamp};

/// Attempts behind one line, where the format does not count them. Policies say 2 or 3.
const MOST_ATTEMPTS: usize = 32;

/// DURATION is cut to milliseconds.
const DURATION_PRECISION: Duration = Duration::from_millis(1);

/// What is answered in less was no attempt that a timeout of the proxy, in whole milliseconds,
/// cut off.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// A line whose attempt began this soon after START_TIME has no attempt cut off before it.
const UNDELAYED: Duration = Duration::from_millis(1);

/// The next attempt begins at most this long after the last one ended: four times the longest
/// back-off of Envoy's default (`retry_back_off`, 250 ms).
pub(super) const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// How long an exchange without a line waits for one that goes on and may be the next attempt.
pub(super) const PATIENCE_WITH_ATTEMPTS: Duration = Duration::from_secs(60);

/// An app may go on working on an attempt that the proxy gave up, and answer it this long after.
const PATIENCE_WITH_APPS: Duration = Duration::from_secs(300);

/// Exchanges and lines that are kept to find each other, of one pod, each.
pub(super) const KEPT: usize = 65_536;

/// What may be attempts of one another, of one pod.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Exchanges without a line, by x-request-id, in the order in which they ended.
    waiting: NumberMap<Fingerprint, Vec<Attempt>>,
    waiting_count: usize,
    /// Paired lines that may have attempts which have not ended.
    lines: Lines,
    /// Paired lines that cover an exchange which waits. They are few, and stay however many of the
    /// others come.
    covering: Lines,
}

/// Paired lines, by x-request-id and in the order in which they came.
#[derive(Debug, Default)]
struct Lines {
    by_request_id: NumberMap<Fingerprint, Vec<Retried>>,
    order: VecDeque<Fingerprint>,
}

/// An exchange that may have been tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    request_id: Fingerprint,
    pub(super) connection: ConnectionId,
    pub(super) exchange: u32,
    time: Timestamp,
}

/// A line, and what it shares with its attempts.
#[derive(Debug)]
pub(super) struct Retried {
    start: Timestamp,
    /// DURATION, or up to when the line was written.
    lasted: Duration,
    /// No flag is set: what the named attempt answered was taken in before the line's end.
    answered: bool,
    /// What the app answered, if it says so.
    status: Option<u16>,
    /// It says that there were more.
    says_so: bool,
    /// So many more attempts may be found.
    left: usize,
    pub(super) request_id: Fingerprint,
    method: Option<Cow<'static, str>>,
    path: Option<Fingerprint>,
    /// Where the attempt was that its tuple names, and when it began.
    connection: ConnectionId,
    time: Timestamp,
    /// When it ended.
    ended: Timestamp,
    /// The latest moment of that attempt which lies before the line's end for sure.
    taken_in: Timestamp,
    /// Another may have followed it.
    failed: bool,
    /// When the others that were found began.
    others: Vec<Timestamp>,
}

impl Attempts {
    /// An inbound exchange ended, and no line is there yet.
    pub(super) fn wait(&mut self, attempt: Attempt) {
        if self.waiting_count < KEPT {
            self.waiting_count += 1;
            let of_id = self.waiting.entry(attempt.request_id);
            of_id.or_insert_with(|| Vec::with_capacity(1)).push(attempt);
        }
    }

    /// It was judged.
    pub(super) fn forget(&mut self, exchange: &Exchange) {
        let Some(id) = exchange.request_id else {
            return;
        };
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return;
        };
        let before = waiting.len();
        waiting.retain(|attempt| {
            (attempt.connection, attempt.exchange) != (exchange.connection, exchange.exchange)
        });
        self.waiting_count -= before - waiting.len();
        if waiting.is_empty() {
            self.waiting.remove(&id);
        }
    }

    /// Those that wait under an x-request-id.
    pub(super) fn waiting(&self, id: Fingerprint) -> &[Attempt] {
        self.waiting.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Whether an exchange of the same x-request-id waits that may be a later attempt. No proxy
    /// tries more than so many times.
    pub(super) fn has_later(&self, exchange: &Exchange) -> bool {
        let waiting = exchange.request_id.and_then(|id| self.waiting.get(&id));
        let later = |other: &&Attempt| exchange.time < other.time && failed(exchange, other.time);
        let later = waiting.into_iter().flatten().filter(later).count();
        (1..MOST_ATTEMPTS).contains(&later)
    }

    /// Keeps a line for attempts that have yet to end, or that wait and are `covered`.
    pub(super) fn keep(&mut self, line: Retried, covered: bool) {
        let undelayed = line.time.since(line.start) < UNDELAYED;
        if line.left == 0 {
            return;
        }
        if covered {
            self.covering.keep(line);
        } else if !undelayed || line.failed {
            self.lines.keep(line);
        }
    }

    /// Whether a line that was paired before is also that of this exchange; counts it in.
    pub(super) fn count_in(&mut self, exchange: &Exchange) -> bool {
        self.covering.count_in(exchange) || self.lines.count_in(exchange)
    }

    /// Lets go of lines whose attempts must have ended before `now`.
    pub(super) fn drop_lines(&mut self, now: Timestamp) {
        self.covering.drop_before(now);
        self.lines.drop_before(now);
    }
}

impl Lines {
    fn keep(&mut self, line: Retried) {
        let id = line.request_id;
        // Nearly all have one: what a vector takes by itself would be four times that.
        let of_id = self.by_request_id.entry(id);
        of_id.or_insert_with(|| Vec::with_capacity(1)).push(line);
        self.order.push_back(id);
        if self.order.len() > KEPT {
            self.drop_oldest();
        }
    }

    fn count_in(&mut self, exchange: &Exchange) -> bool {
        let id = exchange.request_id;
        let lines = id.and_then(|id| self.by_request_id.get_mut(&id));
        let mut lines = lines.into_iter().flatten();
        lines.any(|line| line.covers(exchange) && line.count_in(exchange))
    }

    fn drop_before(&mut self, now: Timestamp) {
        let is_done = |line: &Retried| line.start + line.lasted + PATIENCE_WITH_APPS < now;
        while let Some(id) = self.order.front()
            && self
                .by_request_id
                .get(id)
                .is_none_or(|lines| lines.first().is_none_or(is_done))
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(id) = self.order.pop_front()
            && let Some(lines) = self.by_request_id.get_mut(&id)
        {
            lines.remove(0);
            if lines.is_empty() {
                self.by_request_id.remove(&id);
            }
        }
    }
}

impl Attempt {
    /// None if no proxy would have tried it again, for all that is known.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let lasted = exchange.end.since(exchange.time);
        (lasted >= SHORTEST_TIMEOUT || failed(exchange, exchange.end)).then_some(Self {
            request_id: exchange.request_id?,
            connection: exchange.connection,
            exchange: exchange.exchange,
            time: exchange.time,
        })
    }
}

impl Retried {
    /// None if the line does not say when its request began.
    pub(super) fn of(line: &Line, named: Option<&Exchange>) -> Option<Self> {
        let entry = line.entry()?;
        let start = entry.start_time?;
        let attempts = entry
            .attempts
            .map_or(MOST_ATTEMPTS, |attempts| attempts as usize);
        // One that never came to a connection is counted as well, and so is none that it names.
        let left = attempts.min(MOST_ATTEMPTS).saturating_sub(1);
        let lasted = entry
            .duration_milliseconds
            .map_or(line.time.since(start), Duration::from_millis);
        let answered = entry.response_flags.as_deref().is_none_or(|f| f == "-");
        let cut_off = !answered && !answered_by_upstream(entry);
        // With the attempt an HTTP/1 connection ends; what came before it on that is another.
        let ends_connection = cut_off && named.is_some_and(|named| named.stream.is_none());
        let (path, end) = (named.map_or(entry.path, |named| named.path), start + lasted);
        Some(Self {
            start,
            lasted,
            answered,
            status: entry.response_code.filter(|_| !cut_off),
            says_so: entry.counts_retries() || entry.has_flag("URX") || ends_connection,
            left,
            request_id: named.map_or(entry.request_id, |named| named.request_id)?,
            method: named.map_or(&entry.method, |named| &named.method).clone(),
            path: path.map(|path| path.bare_normalized),
            connection: named.map_or(0, |named| named.connection),
            time: named.map_or(end, |named| named.time),
            ended: named.map_or(end, |named| named.end),
            taken_in: named.map_or(end, |named| taken_in(named, answered)),
            failed: named.is_some_and(|named| failed(named, Timestamp::MAX)),
            others: Vec::new(),
        })
    }

    /// One more attempt was found, if there may be one more.
    pub(super) fn count_in(&mut self, exchange: &Exchange) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let other = self.time.min(exchange.time);
        self.others.push(other);
        if self.time < exchange.time {
            // The line is of this one: it went to another that it fits as well.
            self.time = exchange.time;
            self.ended = exchange.end;
            self.taken_in = taken_in(exchange, self.answered);
            self.failed = failed(exchange, Timestamp::MAX);
        }
        true
    }

    /// Whether what a line says makes it certain enough that the proxy tried again: before the
    /// attempt which it names, or after that, where it says that there were more.
    pub(super) fn tells_of(&self, covered: &Exchange) -> bool {
        covered.end <= self.time || self.says_so && self.ended <= covered.time
    }

    /// Whether an exchange without a line of its own was an attempt of this one. It may be the last:
    /// then the line went to an earlier one of the same connection which it fits as well.
    pub(super) fn covers(&self, exchange: &Exchange) -> bool {
        let same = exchange.request_id == Some(self.request_id)
            && exchange.method == self.method
            && exchange.path.map(|path| path.bare_normalized) == self.path;
        if !same || exchange.time + CLOCK_TOLERANCE < self.start {
            return false;
        }
        let (first, taken_in) =
            if exchange.time < self.time && failed(exchange, self.next(exchange)) {
                (exchange.time, self.taken_in)
            } else if self.failed
                && self.fits(exchange)
                && exchange.connection == self.connection
                && self.time < exchange.time
            {
                (self.time, taken_in(exchange, self.answered))
            } else {
                return false;
            };
        taken_in.since(first) < self.lasted + DURATION_PRECISION
    }

    fn fits(&self, exchange: &Exchange) -> bool {
        let answered = exchange.response.as_ref();
        let answered = answered.and_then(|response| response.status);
        self.status.is_none() || self.status == answered
    }

    /// When the attempt after this one began.
    fn next(&self, exchange: &Exchange) -> Timestamp {
        let later = self.others.iter().filter(|began| **began > exchange.time);
        later.fold(self.time, |next, began| next.min(*began))
    }
}

/// Of the attempt that a line names, the latest moment that lies before the line's end for sure.
fn taken_in(named: &Exchange, answered: bool) -> Timestamp {
    let ended = named.response.as_ref().and_then(|response| response.ended);
    ended.filter(|_| answered).unwrap_or(named.time)
}

/// Whether an exchange had failed, in the eyes of a proxy that tried again at `next`.
pub(super) fn failed(exchange: &Exchange, next: Timestamp) -> bool {
    exchange.response.as_ref().is_none_or(|response| {
        response.ended.is_none_or(|ended| ended > next)
            || response.status.is_none_or(|status| status >= 400)
            || response.grpc_status.is_some_and(|status| status != 0)
    })
}
