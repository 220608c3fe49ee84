//! Exchanges and lines that bear the address of X-Forwarded-For, so that no tuple joins them.
//!
//! Envoy then logs that address with port 0. Such lines are matched within their pod, by all that
//! they say: all at once and in the order of START_TIME, each with the exchange that ends first of
//! those it agrees with. That finds as many pairs as there are, whichever order the lines come in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use super::{
    compare::fits_in_time,
    input::{Entry, Exchange, Line},
    interim::{LongPairs, is_interim, tells_of_what_goes_on},
};
use crate::{
    http::ConnectionId,
    record::{Fingerprint, Side},
    timestamp::Timestamp,
};

/// Exchanges that agree in all that a line says are interchangeable within this much time.
const INTERCHANGEABLE: Duration = Duration::from_secs(1);

/// Exchanges that are held against one line.
const MOST_COMPARED: usize = 64;

/// The exchanges and lines of one pod that wait for each other.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    groups: BTreeMap<Key, Group>,
    lines: usize,
    /// How many of them tell of requests that go on.
    amid: usize,
    /// Lines that found their exchange and may have others before them.
    pub(super) long_pairs: LongPairs,
}

/// Original destination and path: what exchange and line have in common at least.
type Key = (Option<SocketAddr>, Option<Fingerprint>);

#[derive(Debug, Default)]
struct Group {
    exchanges: Vec<Waiting>,
    #[expect(clippy::vec_box, reason = "lines move between lists")]
    lines: Vec<Box<Line>>,
}

/// An exchange that waits for its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) connection: ConnectionId,
    pub(super) exchange: u32,
    time: Timestamp,
    end: Timestamp,
}

impl Forwarded {
    /// An exchange ended.
    pub(super) fn add_exchange(&mut self, asked: Option<SocketAddr>, exchange: &Exchange) {
        let key = (asked, exchange.path.map(|path| path.bare_normalized));
        self.groups.entry(key).or_default().exchanges.push(Waiting {
            connection: exchange.connection,
            exchange: exchange.exchange,
            time: exchange.time,
            end: exchange.end,
        });
    }

    /// A line was read.
    pub(super) fn add_line(&mut self, line: Box<Line>) {
        let Some(entry) = line.entry() else { return };
        self.amid += usize::from(tells_of_what_goes_on(entry));
        self.groups
            .entry(key_of(entry))
            .or_default()
            .lines
            .push(line);
        self.lines += 1;
    }

    /// A line was taken out.
    fn left(&mut self, line: &Line) {
        self.lines -= 1;
        self.amid -= usize::from(line.entry().is_some_and(tells_of_what_goes_on));
    }

    /// Takes out the lines that tell of what goes on, have the destination and the path of a line,
    /// and of which this holds.
    #[expect(clippy::vec_box, reason = "lines move between lists")]
    pub(super) fn take_lines_amid(
        &mut self,
        entry: &Entry,
        holds: impl Fn(&Entry) -> bool,
    ) -> Vec<Box<Line>> {
        // Most logs have none, and many others.
        let group = match self.amid {
            0 => None,
            _ => self.groups.get_mut(&key_of(entry)),
        };
        let holds = |entry: &Entry| tells_of_what_goes_on(entry) && holds(entry);
        let holds = |line: &mut Box<Line>| line.entry().is_some_and(holds);
        let taken = group.map(|group| group.lines.extract_if(.., holds).collect());
        let taken: Vec<_> = taken.unwrap_or_default();
        taken.iter().for_each(|line| self.left(line));
        taken
    }

    /// How many lines wait.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The lines that wait.
    pub(super) fn waiting_lines(&self) -> impl Iterator<Item = &Line> {
        let lines = self.groups.values().flat_map(|group| &group.lines);
        lines.map(|line| &**line)
    }

    /// Takes out every line stamped by `due`, with the exchange it belongs to if there is one.
    /// Later lines take part in the choice and stay.
    pub(super) fn take_due(
        &mut self,
        due: Timestamp,
        waits: impl Fn(&Waiting) -> bool,
        agrees: impl Fn(&Waiting, &Entry) -> bool,
    ) -> Vec<(Box<Line>, Option<Waiting>)> {
        let mut taken = Vec::new();
        self.groups.retain(|_, group| {
            group.exchanges.retain(&waits);
            if group.lines.iter().any(|line| line.time <= due) {
                group.take_due(due, &agrees, &mut taken);
            }
            !group.exchanges.is_empty() || !group.lines.is_empty()
        });
        taken.iter().for_each(|(line, _)| self.left(line));
        taken
    }

    /// Takes out the only line that lies in the time of an exchange and that `fits` allows.
    pub(super) fn take_only(
        &mut self,
        exchange: &Exchange,
        fits: impl Fn(&Entry) -> bool,
    ) -> Option<Box<Line>> {
        let fits = |_: &Line, entry: &Entry| fits(entry);
        let mut found = self.find_lines(exchange, Duration::ZERO, &fits);
        let (Some(only), None) = (found.next(), found.next()) else {
            return None;
        };
        drop(found);
        self.take_line(only)
    }

    /// Takes out the first.
    pub(super) fn take_first(
        &mut self,
        exchange: &Exchange,
        fits: impl Fn(&Entry) -> bool,
    ) -> Option<Box<Line>> {
        let fits = |_: &Line, entry: &Entry| fits(entry);
        let first = self.find_lines(exchange, Duration::ZERO, &fits).next()?;
        self.take_line(first)
    }

    /// Takes out the first that lies not far from the time of an exchange.
    pub(super) fn take_near(
        &mut self,
        exchange: &Exchange,
        fits: impl Fn(&Line, &Entry) -> bool,
    ) -> Option<Box<Line>> {
        let first = self.find_lines(exchange, INTERCHANGEABLE, &fits).next()?;
        self.take_line(first)
    }

    /// Where lines stand that lie in the time of an exchange, or so near to it.
    fn find_lines(
        &self,
        exchange: &Exchange,
        margin: Duration,
        fits: &impl Fn(&Line, &Entry) -> bool,
    ) -> impl Iterator<Item = (Key, usize)> {
        let (from, to) = (exchange.time - margin, exchange.end + margin);
        let in_time = move |line: &Line| {
            line.entry().is_some_and(|entry| {
                fits_in_time(Side::Client, from, to, entry)
                    && !is_interim(entry)
                    && fits(line, entry)
            })
        };
        self.groups.iter().flat_map(move |(key, group)| {
            let lines = group.lines.iter().enumerate();
            let found = lines.filter(move |(_, line)| in_time(line));
            found.map(|(at, _)| (*key, at))
        })
    }

    fn take_line(&mut self, (key, at): (Key, usize)) -> Option<Box<Line>> {
        let line = self.groups.get_mut(&key)?.lines.remove(at);
        self.left(&line);
        Some(line)
    }

    /// The first exchange in the time of a line of which this holds.
    pub(super) fn find(&self, entry: &Entry, holds: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        self.find_within(Duration::ZERO, entry, holds)
    }

    /// The same, or one not far from that time: of exchanges that are alike a line may have gone to
    /// another.
    pub(super) fn find_near(
        &self,
        entry: &Entry,
        holds: impl Fn(&Waiting) -> bool,
    ) -> Option<Waiting> {
        self.find_within(INTERCHANGEABLE, entry, holds)
    }

    fn find_within(
        &self,
        margin: Duration,
        entry: &Entry,
        holds: impl Fn(&Waiting) -> bool,
    ) -> Option<Waiting> {
        let exchanges = self.groups.values().flat_map(|group| &group.exchanges);
        let fits = |waiting: &&Waiting| {
            let (from, to) = (waiting.time - margin, waiting.end + margin);
            fits_in_time(Side::Client, from, to, entry) && holds(waiting)
        };
        exchanges.copied().find(|waiting| fits(&waiting))
    }
}

impl Group {
    fn take_due(
        &mut self,
        due: Timestamp,
        agrees: &impl Fn(&Waiting, &Entry) -> bool,
        taken: &mut Vec<(Box<Line>, Option<Waiting>)>,
    ) {
        self.lines
            .sort_by_key(|line| line.entry().and_then(|entry| entry.start_time));
        self.exchanges.sort_by_key(|waiting| waiting.time);
        let mut began = self.exchanges.iter().enumerate().peekable();
        // Those that had begun by the line's START_TIME, by their ends.
        let mut open: BTreeSet<(Timestamp, usize)> = BTreeSet::new();
        let mut partners = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let Some(entry) = line.entry() else {
                partners.push(None);
                continue;
            };
            let has_begun =
                |waiting: &Waiting| fits_in_time(Side::Client, waiting.time, Timestamp::MAX, entry);
            while let Some((at, waiting)) = began.next_if(|(_, waiting)| has_begun(waiting)) {
                open.insert((waiting.end, at));
            }
            let start = entry.start_time.unwrap_or_default();
            while open
                .first()
                .is_some_and(|(end, _)| *end + INTERCHANGEABLE < start)
            {
                open.pop_first();
            }
            let fits = |(_, at): &&(Timestamp, usize)| agrees(&self.exchanges[*at], entry);
            let found = open.iter().take(MOST_COMPARED).find(fits).copied();
            partners.push(found.map(|(end, at)| {
                open.remove(&(end, at));
                self.exchanges[at]
            }));
        }
        for (line, partner) in std::mem::take(&mut self.lines).into_iter().zip(partners) {
            match line.time <= due {
                true => taken.push((line, partner)),
                false => self.lines.push(line),
            }
        }
    }
}

fn key_of(entry: &Entry) -> Key {
    let path = entry.path.map(|path| path.bare_normalized);
    (entry.downstream_local_address, path)
}

/// X-Forwarded-For stands where the peer's address and port should be.
pub(super) fn is_forwarded(entry: &Entry) -> bool {
    match entry.downstream() {
        Some(peer) => peer.port() == 0,
        None => entry.upstream_local_address.is_none(),
    }
}
