//! Lines of the proxies' logs, as they are read.

use std::time::Duration;

use super::{
    CAPTURE_DELAY, Ledger,
    compare::CLOCK_TOLERANCE,
    copies::Copy,
    forwarded::is_forwarded,
    input::{Entry, Line, LineContent},
    interim::{has_not_ended, is_interim},
    roles::PodKind,
    tracked::Tracked,
    write::{Judgement, entry_attributes, envoy_body, workload},
};
use crate::{
    http::ConnectionId,
    ledger::roles::Place,
    record::{Attributes, Kind, Reason, Side, Traffic, Units, Verdict},
    timestamp::Timestamp,
};

/// The proxy may be so late to begin with a request that was sent before the programs were attached:
/// a line that began sooner after the start has no evidence to be compared with.
pub const ATTACH_SPAN: Duration = Duration::from_millis(100);

/// Flags of a line whose request may have come to the app before: the last attempt found no
/// connection, or no other was made.
const GAVE_UP: [&str; 5] = ["UF", "UC", "URX", "UT", "UO"];

impl Ledger {
    pub(super) fn line(&mut self, line: Box<Line>) {
        let pod = self.pods.entry(line.pod_uid.clone()).or_default();
        if self.evidence.is_some() {
            pod.marks.note(&line);
        }
        match &line.content {
            LineContent::Other => pod.account.other_line(),
            LineContent::Hole => {
                pod.copies.hole();
                pod.tell_hole(line.time);
            }
            LineContent::Unknown => {
                pod.account.enter(Units::new(0, 1));
                self.doubt(line);
            }
            LineContent::Entry(_) | LineContent::Ambiguous(_) => {
                pod.lines_ever = true;
                pod.account.enter(Units::new(0, 1));
                self.log_speaks(&line);
                self.legs_mentioned(&line);
                self.place_in_time(line);
            }
        }
    }

    /// Finds the connection that a line speaks of, or puts the line where it can wait.
    pub(super) fn place(&mut self, line: Box<Line>) {
        let Some(pod) = self.pods.get_mut(&line.pod_uid) else {
            return;
        };
        let Some(entry) = line.entry() else { return };
        if let Some(id) = pod.find(&line, entry) {
            self.place_on(id, line);
            return;
        }
        if let LineContent::Entry(entry) = &line.content
            && !is_interim(entry)
        {
            pod.told.expect_many();
            if pod.told.is_copy(entry) {
                if pod.forwarded.long_pairs.is_written_amid(entry) {
                    self.judge_interim(None, line);
                    return;
                }
                self.copy(Copy { of: None, line });
                return;
            }
            self.sample(&line);
        }
        if self.judge_without_exchange(&line, false) {
            return;
        }
        if self.is_of_before(&line) && answers_the_network(&line) {
            // On a connection that is older than the agent as well.
            self.keep_for_attempts_before(&line);
        }
        let Some(pod) = self.pods.get_mut(&line.pod_uid) else {
            return;
        };
        let Some(entry) = line.entry() else { return };
        if !pod.has_room_for_a_line() {
            self.judge_line(&line, Verdict::Unverifiable, vec![Reason::Evicted], None);
        } else if matches!(line.content, LineContent::Ambiguous(_)) {
            self.doubt(line);
        } else if is_forwarded(entry) && !names_an_inbound_connection(entry) {
            self.supersede_forwarded(&line);
            if let Some(pod) = self.pods.get_mut(&line.pod_uid) {
                pod.forwarded.add_line(line);
            }
        } else {
            pod.unplaced.push_back(line);
        }
    }

    pub(super) fn place_on(&mut self, id: ConnectionId, line: Box<Line>) {
        if line.entry().is_some_and(is_interim) {
            self.judge_interim(Some(id), line);
            return;
        }
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            self.judge_line(&line, Verdict::Unseen, Vec::new(), None);
            return;
        };
        if let LineContent::Entry(entry) = &line.content {
            let may_have_streams = mesh.begun == 0 || !mesh.lost.is_empty();
            if may_have_streams && entry.protocol.as_deref() == Some("HTTP/2") {
                // They may all be among what was lost, or have yet to be told.
                mesh.told.expect_many();
            }
            if mesh.told.is_copy(entry) {
                if mesh.long_pairs.is_written_amid(entry) {
                    self.judge_interim(Some(id), line);
                    return;
                }
                let of = Some((id, mesh.side));
                // Where many requests are under way at once, lines may be alike in all they say.
                let is_awaited = mesh.leg.awaits(&line);
                if !is_awaited || self.copies_are_usual(&line) != Some(false) {
                    self.copy(Copy { of, line });
                    return;
                }
            }
            self.sample(&line);
        }
        self.supersede(id, &line);
        let attached_by = self.attached_by();
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let of_exchange = mesh.has_exchanges() && line.speaks_of_http();
        if mesh.line_agenda.is_none() {
            mesh.line_agenda = Some(line.time);
            self.line_agenda.insert((line.time, id));
        }
        if of_exchange {
            mesh.place(line, attached_by);
            self.pair(id);
        } else {
            mesh.connection_lines.push(line);
            if mesh.closed.is_some() {
                self.settle(id);
            }
        }
    }

    /// A line that is no copy tells whether its log doubles lines.
    fn sample(&mut self, line: &Line) {
        let (grace, started) = (self.grace(), self.started);
        // Its other half may have been read by an earlier run, or by none.
        let start = line.entry().and_then(|entry| entry.start_time);
        let may_be_half = start.is_some_and(|start| start < started);
        if let Some(pod) = self.pods.get_mut(&line.pod_uid) {
            pod.copies.first(line, grace, may_be_half);
        }
    }

    /// Whether a line needs no exchange: the proxy answered by itself, or is a gateway. If
    /// `waited`, the connection that the line names would have been told.
    pub(super) fn judge_without_exchange(&mut self, line: &Line, waited: bool) -> bool {
        let Some(entry) = line.entry() else {
            return false;
        };
        let now = self.captured_until;
        let kind = self.roles.kind(&line.pod_uid, now);
        let Some(pod) = self.pods.get(&line.pod_uid) else {
            return false;
        };
        // Of a gateway no exchange ever tells whether its peers are announced.
        let is_gateway = kind == Some(PodKind::Gateway);
        let held = match waited && (is_gateway || pod.peers.are_announced()) {
            true => pod.held_announced_connection(line, entry),
            false => pod.held_network_connection(line, entry),
        };
        if is_gateway && held {
            self.judge_line(line, Verdict::Outside, vec![Reason::Gateway], None);
            return true;
        }
        // With X-Forwarded-For the addresses do not tell inbound from outbound: wait and see.
        let names_a_peer = entry.downstream().is_some_and(|peer| peer.port() != 0);
        if held && names_a_peer && answers_the_network(line) {
            if is_interim(entry) || has_not_ended(entry) {
                // It has no connection to its app yet.
                self.judge_line(
                    line,
                    Verdict::Matched,
                    vec![Reason::Repeated],
                    Some(Side::Server),
                );
            } else {
                self.judge_proxy_answer(line);
            }
            return true;
        }
        false
    }

    /// The proxy answered by itself.
    pub(super) fn judge_proxy_answer(&mut self, line: &Line) {
        self.keep_for_attempts_before(line);
        self.judge_line(line, Verdict::ProxyAnswered, Vec::new(), Some(Side::Server));
    }

    /// What the proxy answered by itself, it may be after attempts at its app.
    fn keep_for_attempts_before(&mut self, line: &Line) {
        let gave_up = |entry: &Entry| GAVE_UP.iter().any(|flag| entry.has_flag(flag));
        if line.entry().is_some_and(gave_up) {
            self.keep_for_attempts(&line.pod_uid, line, None);
        }
    }

    /// Lines that waited long enough are judged.
    pub(super) fn judge_waiting_lines(&mut self) {
        let due = self.captured_until - CAPTURE_DELAY;
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.judge_unplaced(&uid, due);
            self.judge_forwarded(&uid, due);
            self.judge_doubtful(&uid);
            self.judge_copies(&uid, false);
        }
    }

    /// No exchange fits a line: is that the line's fault? The judgement of it.
    pub(super) fn judge_unseen(
        &mut self,
        line: &Line,
        side: Option<Side>,
    ) -> (Verdict, Option<Reason>) {
        let start = line.entry().and_then(|entry| entry.start_time);
        let pod = self.pods.get(&line.pod_uid);
        let no_log_until = pod.and_then(|pod| pod.no_log_until);
        let excuse = if self.is_of_before(line) {
            Some(if self.settings.earlier_run {
                Reason::AgentDown
            } else {
                Reason::BeforeStart
            })
        } else if start
            .zip(no_log_until)
            .is_some_and(|(start, until)| start <= until + CLOCK_TOLERANCE)
        {
            // Its exchange was judged before the proxy's first line came.
            Some(Reason::NoLog)
        } else {
            self.refused(&line.pod_uid, (start.unwrap_or(line.time), line.time))
        };
        let verdict = match excuse {
            Some(_) => Verdict::Unverifiable,
            None => Verdict::Unseen,
        };
        self.judge_line(line, verdict, excuse.into_iter().collect(), side);
        (verdict, excuse)
    }

    /// Why something of a pod may be unknown that was there in this time.
    pub(super) fn refused(&self, uid: &str, time: (Timestamp, Timestamp)) -> Option<Reason> {
        let is_of_it = |cgroup| self.roles.is_of(cgroup, uid);
        self.refusals.reason(is_of_it, time)
    }

    /// Whether a line speaks of a time before the programs were attached.
    pub(super) fn is_of_before(&self, line: &Line) -> bool {
        line.began_before(self.attached_by())
    }

    /// Lines that began from then on are of requests that the programs saw.
    pub(super) fn attached_by(&self) -> Timestamp {
        self.started + ATTACH_SPAN
    }

    /// Writes the record of a line alone.
    pub(super) fn judge_line(
        &mut self,
        line: &Line,
        verdict: Verdict,
        reasons: Vec<Reason>,
        side: Option<Side>,
    ) {
        let units = Units::new(0, 1);
        let place = Place {
            pod_uid: line.pod_uid.clone(),
            container: None,
        };
        let entry = line.entry();
        let is_http = entry.is_none_or(|entry| entry.speaks_of_http());
        let traffic = Traffic {
            side: side.or_else(|| entry.and_then(side_of)),
            workload: workload(&self.roles, Some(&place), None),
            attributes: match &line.content {
                LineContent::Entry(entry) => entry_attributes(entry),
                _ => Attributes::default(),
            },
            duration: entry
                .and_then(|entry| entry.duration_milliseconds)
                .map(|milliseconds| Duration::from_millis(milliseconds).as_secs_f64()),
            envoy: Some(envoy_body(line)),
            ..Traffic::default()
        };
        let time = entry
            .and_then(|entry| entry.start_time)
            .unwrap_or(line.time);
        self.account(Some(&line.pod_uid))
            .judge(verdict, &reasons, units);
        let kind = if is_http {
            Kind::Http
        } else {
            Kind::Connection
        };
        let record = self.tell(
            kind,
            time,
            Judgement {
                verdict,
                reasons,
                units,
            },
            traffic,
        );
        self.find_sensitive(line, &record);
        if self.gathers(verdict) {
            self.gather_line(line, verdict);
        }
    }
}

/// Whether a line is of what the proxy answered by itself, if it names a connection from the
/// network.
pub(super) fn answers_the_network(line: &Line) -> bool {
    line.entry().is_some_and(|entry| {
        let cluster = entry.upstream_cluster.as_deref().unwrap_or_default();
        !cluster.starts_with("outbound|") && entry.upstream_local_address.is_none()
    })
}

/// The connection between sidecar and app, whatever stands in X-Forwarded-For.
fn names_an_inbound_connection(entry: &Entry) -> bool {
    side_of(entry) == Some(Side::Server) && entry.upstream_local_address.is_some()
}

/// The side that a line itself tells: by its cluster.
fn side_of(entry: &Entry) -> Option<Side> {
    let cluster = entry.upstream_cluster.as_deref()?;
    if cluster.starts_with("inbound|") || cluster == "InboundPassthroughCluster" {
        Some(Side::Server)
    } else if cluster.starts_with("outbound|") || cluster == "PassthroughCluster" {
        Some(Side::Client)
    } else {
        None
    }
}
