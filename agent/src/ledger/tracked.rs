//! What the ledger keeps of a connection.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    input::{Exchange, Input, Line},
    interim::LongPairs,
    leg::{Begun, Leg, RecentPairs},
    lost::LostHeads,
    roles::Place,
    told::Told,
};
use crate::{
    http::{Closed, Connection, Gap},
    record::{FindingKind, Reason, Side, Tls, Verdict},
    timestamp::Timestamp,
};

/// How far around a loss the order of exchanges and lines proves nothing.
const AROUND: Duration = Duration::from_millis(100);

/// How long a busy proxy takes to turn from a whole response to a request that was sent ahead.
const TURN: Duration = Duration::from_millis(100);

/// A connection, from the moment when both its ends are told until no line can come any more.
///
/// ```text
/// Waiting ──┬──▶ Mesh ──▶ (finished, kept for stray and late lines) ──▶ dropped
///           ├──▶ Alone ──▶ dropped at its close
///           └──▶ Kubelet ──▶ dropped at its close
/// ```
#[derive(Debug)]
pub(super) enum Tracked {
    /// Who holds its ends is not known yet.
    Waiting(Box<Waiting>),
    /// Between an app and its sidecar.
    Mesh(Box<MeshConnection>),
    /// Judged by itself.
    Alone(Box<AloneConnection>),
    /// The kubelet's own end.
    Kubelet,
}

/// A connection whose course is open, and what happened on it so far.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) connection: Connection,
    pub(super) events: Vec<Input>,
    pub(super) closed: bool,
}

/// A connection between an app and its sidecar.
#[derive(Debug)]
pub(super) struct MeshConnection {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) side: Side,
    pub(super) by_name: bool,
    pub(super) leg: Leg,
    /// Told where evidence is kept.
    pub(super) recent: RecentPairs,
    pub(super) closed: Option<Closed>,
    /// Exchanges that began, lost ones included.
    pub(super) begun: u64,
    /// Of these, how many the books know: while the proxy may be carrying the connection as
    /// TCP, its exchanges are no units of their own.
    pub(super) entered: u64,
    /// Heads known by number only.
    pub(super) lost: LostHeads,
    /// When the last exchange lasted of which a part was not seen, and why.
    gap: Option<(Timestamp, Timestamp, Reason)>,
    /// Exchanges that were judged without their line and not accused, by the reason.
    pub(super) excuses: BTreeMap<Reason, u64>,
    /// Lines that speak of the connection as a whole, or came before its first exchange.
    #[expect(clippy::vec_box, reason = "lines move between lists")]
    pub(super) connection_lines: Vec<Box<Line>>,
    /// Its lines, to know those that were written twice.
    pub(super) told: Told,
    /// Those of long exchanges, to know others of the same.
    pub(super) long_pairs: LongPairs,
    pub(super) worst: Option<(Verdict, Vec<Reason>)>,
    pub(super) finished: bool,
    /// The first exchange whose response was not whole when the connection ended.
    cut_off: Option<u32>,
    /// When the last whole response ended.
    answered: Option<Timestamp>,
    /// It was told that its exchanges wait for the first HTTP line of their port.
    pub(super) waits_for_http: bool,
    /// The record of its end, once that is written.
    pub(super) record: Option<Arc<str>>,
    /// How its ends began to speak.
    pub(super) tls: Option<Box<Tls>>,
    /// It stands on the pod's agenda at this moment.
    pub(super) agenda: Option<Timestamp>,
    /// It stands on the ledger's agenda of lines at this moment.
    pub(super) line_agenda: Option<Timestamp>,
}

/// A connection that is judged by itself.
#[derive(Clone, Debug)]
pub(super) struct AloneConnection {
    pub(super) connection: Connection,
    pub(super) place: Option<Place>,
    pub(super) side: Side,
    pub(super) verdict: Verdict,
    pub(super) reasons: Vec<Reason>,
    /// The reason that the rule has which expects it.
    pub(super) policy: Option<Arc<str>>,
    pub(super) reads_http: bool,
    /// What it is a finding of.
    pub(super) found: Option<FindingKind>,
    pub(super) exchanges: u64,
    /// How its ends began to speak.
    pub(super) tls: Option<Box<Tls>>,
    /// Exchanges that began and did not end.
    pub(super) open: BTreeMap<u32, Begun>,
    /// Payload bytes of a UDP flow that goes on, from its client and from its server, as last told.
    pub(super) carried: (u64, u64),
}

impl AloneConnection {
    /// The finding that it is told with as soon as it is there. What was declared is told of when
    /// it ends.
    pub(super) fn announces(&self) -> Option<FindingKind> {
        let waits = |kind: &FindingKind| *kind == FindingKind::DeclaredExclusion;
        self.found
            .filter(|kind| self.connection.established && !waits(kind))
    }
}

impl MeshConnection {
    pub(super) fn new(connection: Connection, place: Place, side: Side, by_name: bool) -> Self {
        Self {
            connection,
            place,
            side,
            by_name,
            leg: Leg::new(side),
            recent: RecentPairs::default(),
            closed: None,
            begun: 0,
            entered: 0,
            lost: LostHeads::default(),
            gap: None,
            excuses: BTreeMap::new(),
            connection_lines: Vec::new(),
            told: Told::default(),
            long_pairs: LongPairs::default(),
            worst: None,
            finished: false,
            cut_off: None,
            answered: None,
            waits_for_http: false,
            record: None,
            tls: None,
            agenda: None,
            line_agenda: None,
        }
    }

    /// Notes how an exchange ended.
    pub(super) fn note_end(&mut self, exchange: &Exchange) {
        let response = exchange.response.as_ref();
        let answered = response.and_then(|response| response.ended);
        self.answered = self.answered.max(answered);
        let is_next = exchange.stream.is_none();
        if self.side == Side::Client && is_next && answered.is_none() && exchange.gap.is_none() {
            let first = self.cut_off.unwrap_or(exchange.exchange);
            self.cut_off = Some(first.min(exchange.exchange));
        }
        if let Some(gap) = exchange.gap {
            let before = self.gap.filter(|(_, to, _)| exchange.time <= *to + AROUND);
            let from = before.map_or(exchange.time, |(from, ..)| from.min(exchange.time));
            self.gap = Some((from, exchange.end, reason_of(gap)));
        }
    }

    /// Why order does not tell what belongs together in this time: something was lost around it.
    pub(super) fn lost_around(&self, (from, to): (Timestamp, Timestamp)) -> Option<Reason> {
        let of_heads = self.lost.after(from - AROUND).map(reason_of);
        of_heads.or_else(|| {
            let (lost_from, lost_to, reason) = self.gap?;
            (from <= lost_to + AROUND && lost_from <= to + AROUND).then_some(reason)
        })
    }

    /// The proxy never began with an exchange: it takes up a request that was sent ahead only when
    /// the response before it is whole, and drops it without a line when the client leaves first,
    /// or resets the connection as soon as it has that response.
    pub(super) fn never_began(&self, exchange: &Exchange) -> bool {
        let is_behind = |first| first < exchange.exchange;
        exchange.response.is_none()
            && exchange.stream.is_none()
            && (self.cut_off.is_some_and(is_behind) || self.was_left_before(exchange))
    }

    /// The client reset the connection as soon as it had the response before this request.
    fn was_left_before(&self, exchange: &Exchange) -> bool {
        let (Side::Client, Some(answered), Some(closed)) = (self.side, self.answered, &self.closed)
        else {
            return false;
        };
        exchange.time <= answered && !closed.both_fin && closed.time <= answered + TURN
    }

    /// It carried exchanges, read or not: these are the units, not the connection.
    pub(super) fn has_exchanges(&self) -> bool {
        self.begun > 0 || !self.lost.is_empty()
    }

    /// Lines that came before the first exchange belong to exchanges, it turns out.
    pub(super) fn place_connection_lines(&mut self, attached_by: Timestamp) {
        let of_exchange = |line: &mut Box<Line>| line.speaks_of_http();
        let lines: Vec<_> = self.connection_lines.extract_if(.., of_exchange).collect();
        for line in lines {
            self.place(line, attached_by);
        }
    }

    /// A line of an exchange, which may be older than the agent if it began before the programs
    /// were attached.
    pub(super) fn place(&mut self, line: Box<Line>, attached_by: Timestamp) {
        match self.connection.preexisting && line.began_before(attached_by) {
            true => self.leg.place_older(line),
            false => self.leg.place(line),
        }
    }

    /// The port that decides whether the proxy takes the connection for HTTP.
    pub(super) fn port(&self) -> u16 {
        match self.side {
            Side::Client => self.connection.asked_for().port(),
            _ => self.connection.destination.port(),
        }
    }

    /// The proxy wrote a line for the whole of it, and never one for an exchange.
    pub(super) fn is_carried_as_tcp(&self) -> bool {
        let of_the_whole = |line: &Line| !line.speaks_of_http();
        // Heads that are lost are units of their own.
        (self.entered == 0 || self.lost.is_empty())
            && !self.leg.ever_matched
            && self.connection_lines.iter().any(|line| of_the_whole(line))
    }

    /// Notes the verdict of one of its exchanges: the worst is the connection's own.
    pub(super) fn note(&mut self, verdict: Verdict, reasons: &[Reason]) {
        if self
            .worst
            .as_ref()
            .is_none_or(|(worst, _)| worst.gravity() < verdict.gravity())
        {
            self.worst = Some((verdict, reasons.to_vec()));
        }
    }

    /// A line speaks of bytes, and the connection lived and ended without one that the kernel side
    /// saw: something moved them past it (sockmap).
    pub(super) fn hides_bytes_of(&self, line: &Line) -> bool {
        let empty = self.closed.as_ref().is_some_and(|closed| {
            closed.established && closed.client_bytes == 0 && closed.server_bytes == 0
        });
        let any = |bytes: Option<u64>| bytes.is_some_and(|bytes| bytes > 0);
        let speaks_of_bytes = line.entry().is_some_and(|entry| {
            let carried = any(entry.bytes_received) || any(entry.bytes_sent);
            entry.method.is_some() || (carried && !entry.speaks_of_http())
        });
        empty && speaks_of_bytes && !self.connection.preexisting
    }

    /// What every verdict on this connection is accompanied by.
    pub(super) fn standing_reasons(&self) -> Vec<Reason> {
        self.by_name
            .then_some(Reason::RoleByName)
            .into_iter()
            .collect()
    }

    /// Why a line without an exchange may be that of one which was judged before.
    pub(super) fn take_excuse(&mut self) -> Option<Reason> {
        let mut excuse = self.excuses.first_entry()?;
        *excuse.get_mut() -= 1;
        let reason = *excuse.key();
        if *excuse.get() == 0 {
            excuse.remove();
        }
        Some(reason)
    }

    /// Accusations are withheld: it is older than the agent and nothing on it ever agreed.
    pub(super) fn withholds_accusations(&self) -> bool {
        self.connection.preexisting && !self.leg.ever_matched
    }
}

/// The word of the books for a gap.
pub(super) fn reason_of(gap: Gap) -> Reason {
    match gap {
        Gap::RingLost => Reason::RingLost,
        Gap::StreamGap => Reason::StreamGap,
        Gap::StreamMismatch => Reason::StreamMismatch,
        Gap::Evicted => Reason::Evicted,
        Gap::Mptcp => Reason::Mptcp,
    }
}
