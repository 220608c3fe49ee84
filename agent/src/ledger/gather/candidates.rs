//! What might have been the other half of something, nearest first, and why it is not.

use std::time::Duration;

use super::describe::{
    exchange_subject, line_subject, misfits, misfits_of_line, named_source, time_misfit,
};
use crate::{
    ledger::{
        evidence::{Candidate, Misfit, Subject},
        input::{Exchange, Line},
        leg::OpenExchange,
        pod::PodBook,
        tracked::MeshConnection,
        write::Writer,
    },
    timestamp::Timestamp,
};

/// Candidates that are described; the others are counted.
const MOST_CANDIDATES: usize = 8;

/// How many of each kind are looked at: the oldest, among which is what comes next.
const MOST_LOOKED_AT: usize = 256;

/// Candidates by their distance in time.
#[derive(Debug, Default)]
pub(super) struct Leads {
    first: Option<Candidate>,
    found: Vec<(Duration, Candidate)>,
    further: usize,
}

impl Leads {
    /// The one that was taken, although it differs.
    pub(super) fn put_first(&mut self, candidate: Candidate) {
        self.first = Some(candidate);
    }

    /// Nearest first, and how many were left out.
    pub(super) fn finish(mut self) -> (Vec<Candidate>, usize) {
        self.found.sort_by_key(|(distance, _)| *distance);
        let found = self.found.into_iter().map(|(_, candidate)| candidate);
        let mut candidates: Vec<_> = self.first.into_iter().chain(found).collect();
        let further = self.further + candidates.len().saturating_sub(MOST_CANDIDATES);
        candidates.truncate(MOST_CANDIDATES);
        (candidates, further)
    }

    /// Lines that might have been that of an exchange.
    pub(super) fn lines_for(
        &mut self,
        exchange: &Exchange,
        mesh: &MeshConnection,
        pod: Option<&PodBook>,
        writer: &Writer,
    ) {
        let of_exchange = |line: &Line| misfits_of_line(mesh.side, exchange, line);
        self.nearest(
            mesh.leg.waiting_lines(),
            exchange.end,
            |line| line.time,
            |line| Candidate {
                subject: line_subject(line),
                misfits: of_exchange(line),
            },
        );
        self.lines_of_connection(exchange.end, mesh, of_exchange);
        self.pairs(exchange.time, None, mesh, writer);
        let Some(pod) = pod else { return };
        let of_pod = pod
            .forwarded
            .waiting_lines()
            .chain(pod.doubtful.iter().map(|line| &**line));
        self.nearest(
            of_pod,
            exchange.end,
            |line| line.time,
            |line| Candidate {
                subject: line_subject(line),
                misfits: of_exchange(line),
            },
        );
        self.stray_lines(exchange.end, mesh, pod, writer, of_exchange);
    }

    /// Lines that might have been that of a connection.
    pub(super) fn lines_for_connection(
        &mut self,
        mesh: &MeshConnection,
        pod: Option<&PodBook>,
        writer: &Writer,
    ) {
        let ended = mesh
            .closed
            .as_ref()
            .map_or(mesh.connection.time, |closed| closed.time);
        self.lines_of_connection(ended, mesh, |_| Vec::new());
        self.pairs(ended, None, mesh, writer);
        if let Some(pod) = pod {
            self.stray_lines(ended, mesh, pod, writer, |_| Vec::new());
        }
    }

    /// Exchanges that might have been that of a line which names their connection.
    pub(super) fn exchanges_for(&mut self, line: &Line, mesh: &MeshConnection, writer: &Writer) {
        let Some(entry) = line.entry() else { return };
        let start = entry.start_time.unwrap_or(line.time);
        let source = mesh.connection.source;
        let whole = |exchange: &Exchange, judged: Option<&str>| {
            let mut misfits = misfits(mesh.side, exchange, entry);
            misfits.extend(judged.map(|record| Misfit::Judged {
                record: record.to_owned(),
            }));
            Candidate {
                subject: exchange_subject(mesh, exchange),
                misfits,
            }
        };
        let begin = |open: &OpenExchange<'_>| match open {
            OpenExchange::Begun(begun) => begun.time,
            OpenExchange::Ended(exchange) | OpenExchange::Accused { exchange, .. } => exchange.time,
        };
        self.nearest(
            mesh.leg.exchanges_without_line(),
            start,
            begin,
            |open| match open {
                OpenExchange::Begun(begun) => Candidate {
                    subject: Subject::Exchange {
                        source,
                        number: begun.number,
                        stream: begun.stream,
                        time: begun.time,
                        end: None,
                        what: None,
                    },
                    misfits: vec![Misfit::NotEnded],
                },
                OpenExchange::Ended(exchange) => whole(exchange, None),
                OpenExchange::Accused { exchange, record } => whole(exchange, Some(record)),
            },
        );
        self.pairs(start, Some(line), mesh, writer);
    }

    /// Connections with the address that a line names, in another time.
    pub(super) fn connections_for(&mut self, line: &Line, pod: &PodBook) {
        let Some(entry) = line.entry() else { return };
        let start = entry.start_time.unwrap_or(line.time);
        let spans = pod.connections_named(entry);
        self.nearest(
            spans,
            start,
            |(_, span)| span.from,
            |(source, span)| {
                let closed = (span.to != Timestamp::MAX).then_some(span.to);
                Candidate {
                    subject: Subject::Connection {
                        source,
                        destination: span.destination,
                        opened: span.from,
                        closed,
                    },
                    misfits: vec![time_misfit(span.from, start)],
                }
            },
        );
    }

    fn lines_of_connection(
        &mut self,
        moment: Timestamp,
        mesh: &MeshConnection,
        misfits: impl Fn(&Line) -> Vec<Misfit>,
    ) {
        let lines = mesh.connection_lines.iter().map(|line| &**line);
        self.nearest(
            lines,
            moment,
            |line| line.time,
            |line| Candidate {
                subject: line_subject(line),
                misfits: misfits(line),
            },
        );
    }

    /// The pairs beside which something stands; `line` may be one of their lines once more.
    fn pairs(
        &mut self,
        moment: Timestamp,
        line: Option<&Line>,
        mesh: &MeshConnection,
        writer: &Writer,
    ) {
        let whole = line.and_then(|line| line.entry()?.whole);
        self.nearest(
            mesh.recent.iter(),
            moment,
            |pair| pair.time,
            |pair| {
                let record = writer.id(pair.sequence).to_string();
                let is_repeated = whole.is_some() && pair.whole == whole;
                Candidate {
                    subject: Subject::Pair {
                        number: pair.exchange,
                        stream: pair.stream,
                        time: pair.time,
                        offset: pair.offset,
                        stamp: pair.stamp,
                    },
                    misfits: vec![match is_repeated {
                        true => Misfit::Repeated { record },
                        false => Misfit::Paired { record },
                    }],
                }
            },
        );
    }

    /// Lines of the same pod that were judged alone, or wait for a connection.
    fn stray_lines(
        &mut self,
        moment: Timestamp,
        mesh: &MeshConnection,
        pod: &PodBook,
        writer: &Writer,
        of_exchange: impl Fn(&Line) -> Vec<Misfit>,
    ) {
        let rejected = pod.rejected.iter();
        let rejected = rejected.map(|rejected| (&rejected.line, Some(rejected.sequence)));
        let unplaced = pod.unplaced.iter().take(MOST_LOOKED_AT);
        let strays = rejected.chain(unplaced.map(|line| (&**line, None)));
        self.nearest(
            strays,
            moment,
            |(line, _)| line.time,
            |(line, judged)| {
                let mut misfits = of_exchange(line);
                let named = line
                    .entry()
                    .and_then(|entry| named_source(mesh.side, entry));
                if named != Some(mesh.connection.source) {
                    misfits.insert(0, Misfit::AnotherConnection { source: named });
                }
                misfits.extend(judged.map(|sequence| Misfit::Judged {
                    record: writer.id(sequence).to_string(),
                }));
                Candidate {
                    subject: line_subject(line),
                    misfits,
                }
            },
        );
    }

    /// Describes those nearest to a moment; the others are counted.
    fn nearest<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        moment: Timestamp,
        time: impl Fn(&T) -> Timestamp,
        describe: impl Fn(T) -> Candidate,
    ) {
        let mut items: Vec<T> = items.take(MOST_LOOKED_AT).collect();
        items.sort_by_key(|item| time(item).distance(moment));
        self.further += items.len().saturating_sub(MOST_CANDIDATES);
        let described = items.into_iter().take(MOST_CANDIDATES);
        self.found
            .extend(described.map(|item| (time(&item).distance(moment), describe(item))));
    }
}
