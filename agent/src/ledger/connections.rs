//! Connections and their exchanges, as they are told.

use std::collections::BTreeMap;

use super::{
    Ledger,
    attempts::Attempt,
    course::{Course, Moment, course},
    input::Input,
    leg::Begun,
    tracked::{AloneConnection, MeshConnection, Tracked, Waiting, reason_of},
    write::{Judgement, connection_traffic, exchange_traffic, is_client, workload},
};
use crate::{
    capture::CgroupId,
    config::{Expectation, PolicyRule},
    http::{Closed, Connection, ConnectionId},
    ledger::policy,
    record::{Kind, Reason, Side, Traffic, Units, Verdict},
    timestamp::Timestamp,
};

/// Events of one connection that are kept until its course is known.
pub(super) const KEPT_EVENTS: usize = 1024;

/// Connections whose course is open, of one cgroup: one that floods is judged with what is known.
pub(super) const KEPT_WAITING_OF_ONE: usize = 4096;

/// The same, all together.
const KEPT_WAITING: usize = 65_536;

impl Ledger {
    pub(super) fn opened(&mut self, connection: Connection) {
        let id = connection.id;
        let cgroup = cgroup_of(&connection);
        let waiting = Waiting {
            connection,
            events: Vec::new(),
            closed: false,
        };
        self.connections
            .insert(id, Tracked::Waiting(Box::new(waiting)));
        self.waiting.insert(id);
        let of_its_cgroup = self.waiting_of.entry(cgroup).or_default();
        *of_its_cgroup += 1;
        let last_chance = *of_its_cgroup > KEPT_WAITING_OF_ONE || self.waiting.len() > KEPT_WAITING;
        self.consider(id, self.captured_until, last_chance);
    }

    /// Something happened on a connection.
    pub(super) fn on_connection(&mut self, id: ConnectionId, event: Input) {
        let now = self.captured_until;
        match self.connections.get_mut(&id) {
            None => {}
            Some(Tracked::Waiting(waiting)) => {
                let closed = matches!(event, Input::Closed(_));
                waiting.closed |= closed;
                waiting.events.push(event);
                let last_chance = waiting.events.len() >= KEPT_EVENTS;
                if closed || last_chance {
                    self.consider(id, now, last_chance);
                }
            }
            Some(Tracked::Mesh(_)) => self.on_mesh(id, event),
            Some(Tracked::Alone(_)) => self.on_alone(id, event),
            Some(Tracked::Kubelet) => {
                if matches!(event, Input::Closed(_)) {
                    self.connections.remove(&id);
                }
            }
        }
    }

    /// Connections whose course is open are looked at again.
    pub(super) fn reconsider_waiting(&mut self, now: Timestamp) {
        for id in self.waiting.clone() {
            self.consider(id, now, false);
        }
    }

    pub(super) fn consider(&mut self, id: ConnectionId, now: Timestamp, last_chance: bool) {
        let Some(Tracked::Waiting(waiting)) = self.connections.get(&id) else {
            self.waiting.remove(&id);
            return;
        };
        let connection = &waiting.connection;
        let tuple = (connection.source, connection.destination);
        let is_kubelet_tuple = self.kubelet_tuples.contains(&tuple);
        let now = now.max(connection.time);
        let moment = Moment {
            now,
            closed: waiting.closed,
            last_chance,
        };
        let Some(course) = course(connection, &mut self.roles, is_kubelet_tuple, moment) else {
            return;
        };
        self.waiting.remove(&id);
        let Some(Tracked::Waiting(waiting)) = self.connections.remove(&id) else {
            return;
        };
        let Waiting {
            connection, events, ..
        } = *waiting;
        let cgroup = cgroup_of(&connection);
        if let Some(waiting) = self.waiting_of.get_mut(&cgroup) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting_of.remove(&cgroup);
            }
        }
        self.assign(connection, course);
        for event in events {
            self.on_connection(id, event);
        }
    }

    fn assign(&mut self, connection: Connection, course: Course) {
        let id = connection.id;
        let tracked = match course {
            Course::Kubelet => {
                if connection.udp.is_none() {
                    let tuple = (connection.source, connection.destination);
                    self.kubelet_tuples.insert(tuple, ());
                }
                Tracked::Kubelet
            }
            Course::Mesh {
                place,
                side,
                by_name,
            } => {
                let pod = self.pods.entry(place.pod_uid.clone()).or_default();
                pod.index(side, &connection, self.started);
                let server = connection.asked_for();
                pod.intercepted.note(side, server);
                Tracked::Mesh(Box::new(MeshConnection::new(
                    connection, place, side, by_name,
                )))
            }
            Course::Alone {
                place,
                side,
                mut verdict,
                mut reasons,
                reads_http,
            } => {
                if side == Side::Proxy
                    && connection.client.is_none()
                    && connection.udp.is_none()
                    && !reasons.contains(&Reason::PilotAgent)
                    && let Some(place) = &place
                {
                    let pod = self.pods.entry(place.pod_uid.clone()).or_default();
                    pod.network_opened(&connection, self.started);
                }
                let mut policy = None;
                if verdict == Verdict::Bypassed
                    && let Some(rule) = self.direct_rule(side, place.as_ref(), &connection)
                {
                    policy = policy::reason(rule);
                    verdict = Verdict::Outside;
                    reasons = vec![Reason::Policy];
                }
                if verdict == Verdict::Bypassed && connection.preexisting {
                    reasons.push(Reason::Preexisting);
                }
                let found =
                    self.found_alone(&connection, place.as_ref(), side, (verdict, &reasons));
                let alone = AloneConnection {
                    found,
                    connection,
                    place,
                    side,
                    verdict,
                    reasons,
                    policy,
                    reads_http,
                    exchanges: 0,
                    tls: None,
                    open: BTreeMap::new(),
                    carried: (0, 0),
                };
                self.flow_begins(&alone);
                self.announce(&alone);
                self.leg_assigned(&alone);
                self.meets_stranger(&alone);
                Tracked::Alone(Box::new(alone))
            }
        };
        let is_mesh = matches!(tracked, Tracked::Mesh(_));
        self.connections.insert(id, tracked);
        if is_mesh {
            self.retry_unplaced(id);
        }
    }

    fn direct_rule(
        &self,
        side: Side,
        place: Option<&super::roles::Place>,
        connection: &Connection,
    ) -> Option<&PolicyRule> {
        let (server, remote) = match side {
            Side::Client => {
                let server = connection.asked_for();
                (server, server)
            }
            _ => (connection.destination, connection.source),
        };
        let subject = policy::Subject {
            side,
            place,
            server,
            remote,
            exchange: None,
        };
        policy::rule(
            &self.settings.policy,
            &self.roles,
            Expectation::Direct,
            subject,
        )
    }

    fn on_mesh(&mut self, id: ConnectionId, event: Input) {
        let attached_by = self.attached_by();
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let pod = self.pods.entry(mesh.place.pod_uid.clone()).or_default();
        match event {
            Input::Begun {
                exchange: number,
                stream,
                time,
                ..
            } => {
                mesh.leg.begin(Begun {
                    number,
                    stream,
                    time,
                });
                if stream.is_some() {
                    mesh.told.expect_many();
                }
                mesh.place_connection_lines(attached_by);
                mesh.begun += 1;
                if pod.http_matched.contains(&(mesh.side, mesh.port())) {
                    self.enter_exchanges(id);
                }
            }
            Input::Ended(exchange) => {
                let forwarded = exchange.may_be_forwarded() && mesh.side == Side::Client;
                let (end, asked) = (exchange.end, mesh.connection.asked);
                if forwarded {
                    pod.forwarded.add_exchange(asked, &exchange);
                }
                let attempt = Some(mesh.side).filter(|side| *side == Side::Server);
                let attempt = attempt.and_then(|_| Attempt::of(&exchange));
                if mesh.side == Side::Server {
                    pod.received.note(mesh.connection.destination, &exchange);
                }
                mesh.note_end(&exchange);
                if !mesh.leg.end(exchange) {
                    return;
                }
                if let Some(attempt) = attempt {
                    pod.attempts.wait(attempt);
                }
                if mesh.agenda.is_none() {
                    mesh.agenda = Some(end);
                    pod.agenda.insert((end, id));
                }
                self.pair(id);
            }
            Input::Lost {
                exchanges,
                time,
                cause,
                ..
            } => {
                mesh.place_connection_lines(attached_by);
                let count = u64::from(exchanges);
                // One that is older was found when something was seen of it.
                let opened = match mesh.connection.preexisting {
                    true => self.started,
                    false => mesh.connection.time,
                };
                let span = (opened, time);
                pod.missed.note(id, span, count, reason_of(cause));
                mesh.begun += count;
                mesh.lost.note(count, cause, time);
                if pod.http_matched.contains(&(mesh.side, mesh.port())) {
                    self.enter_exchanges(id);
                }
            }
            Input::Closed(closed) => {
                pod.close(mesh.side, mesh.connection.source, id, closed.time);
                pod.missed.close(id, closed.time);
                if let Some(earlier) = mesh.agenda.replace(closed.time) {
                    pod.agenda.remove(&(earlier, id));
                }
                let next = mesh
                    .leg
                    .earliest_end()
                    .map_or(closed.time, |end| end.min(closed.time));
                mesh.agenda = Some(next);
                pod.agenda.insert((next, id));
                mesh.closed = Some(closed);
                self.settle(id);
            }
            Input::Greeted { time, greeting, .. } => self.greeted(id, time, greeting),
            _ => {}
        }
    }

    /// Makes units of the exchanges that the books do not know yet.
    pub(super) fn enter_exchanges(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let new = mesh.begun - mesh.entered;
        mesh.entered = mesh.begun;
        let uid = mesh.place.pod_uid.clone();
        self.account(Some(&uid)).enter(Units::new(new, 0));
        // Those that are lost wait for nothing.
        self.write_lost(id);
    }

    fn on_alone(&mut self, id: ConnectionId, event: Input) {
        let Some(Tracked::Alone(alone)) = self.connections.get_mut(&id) else {
            return;
        };
        match event {
            Input::Begun {
                exchange: number,
                stream,
                time,
                ..
            } if alone.reads_http => {
                alone.exchanges += 1;
                let begun = Begun {
                    number,
                    stream,
                    time,
                };
                alone.open.insert(number, begun);
                let uid = alone.place.as_ref().map(|place| place.pod_uid.clone());
                self.account(uid.as_ref()).enter(Units::new(1, 0));
            }
            Input::Lost {
                exchanges,
                time,
                cause,
                ..
            } if alone.reads_http && exchanges > 0 => {
                alone.exchanges += u64::from(exchanges);
                let units = Units::new(u64::from(exchanges), 0);
                let judgement = Judgement {
                    verdict: Verdict::Unverifiable,
                    reasons: vec![reason_of(cause)],
                    units,
                };
                let place = alone.place.clone();
                let traffic = Traffic {
                    side: Some(alone.side),
                    workload: workload(&self.roles, place.as_ref(), None),
                    ..Traffic::default()
                };
                let account = self.account(place.as_ref().map(|place| &place.pod_uid));
                account.enter(units);
                account.judge(judgement.verdict, &judgement.reasons, units);
                self.tell(Kind::Http, time, judgement, traffic);
                if self.gathers(Verdict::Unverifiable) {
                    self.gather_on_alone(id);
                }
            }
            Input::Ended(exchange) if alone.reads_http => {
                alone.open.remove(&exchange.exchange);
                let units = Units::new(1, 0);
                let mut reasons = alone.reasons.clone();
                if exchange.undecoded && alone.verdict != Verdict::Unverifiable {
                    reasons.push(Reason::HpackUnknownEntry);
                }
                let judgement = Judgement {
                    verdict: alone.verdict,
                    reasons,
                    units,
                };
                let place = alone.place.as_ref();
                let mut traffic = exchange_traffic(
                    &self.roles,
                    alone.side,
                    place,
                    &alone.connection,
                    &exchange,
                    None,
                );
                traffic.attributes.policy.clone_from(&alone.policy);
                let uid = place.map(|place| place.pod_uid.clone());
                self.account(uid.as_ref())
                    .judge(judgement.verdict, &judgement.reasons, units);
                let verdict = judgement.verdict;
                self.tell(Kind::Http, exchange.time, judgement, traffic);
                if self.gathers(verdict) {
                    self.gather_on_alone(id);
                }
            }
            Input::Closed(closed) => self.close_alone(id, &closed),
            Input::Greeted { time, greeting, .. } => self.greeted(id, time, greeting),
            _ => {}
        }
    }

    pub(super) fn close_alone(&mut self, id: ConnectionId, closed: &Closed) {
        let Some(Tracked::Alone(alone)) = self.connections.remove(&id) else {
            return;
        };
        if alone.side == Side::Proxy
            && let Some(place) = &alone.place
            && let Some(pod) = self.pods.get_mut(&place.pod_uid)
        {
            pod.network_closed(alone.connection.source, id, closed.time);
        }
        self.end_alone(*alone, Some(closed));
    }

    /// A connection that is judged by itself has ended, or, of a flow, the agent does before it.
    pub(super) fn end_alone(&mut self, alone: AloneConnection, closed: Option<&Closed>) {
        let announced = alone.announces();
        let AloneConnection {
            connection,
            place,
            side,
            verdict,
            reasons,
            exchanges,
            found,
            tls,
            policy,
            carried,
            ..
        } = alone;
        let uid = place.as_ref().map(|place| place.pod_uid.clone());
        let is_unit = side != Side::Proxy && exchanges == 0;
        let units = Units::new(u64::from(is_unit), 0);
        let account = self.account(uid.as_ref());
        // A flow entered with its first datagram.
        if connection.udp.is_none() {
            account.enter(units);
        }
        account.judge(verdict, &reasons, units);
        let spoke_http = exchanges > 0;
        let mut traffic = connection_traffic(
            &self.roles,
            side,
            place.as_ref(),
            &connection,
            closed,
            spoke_http,
        );
        traffic.attributes.tls = tls;
        traffic.attributes.policy = policy;
        if closed.is_none()
            && let Some(body) = &mut traffic.connection
        {
            body.count(carried, is_client(side, &connection));
        }
        let has_no_sidecar = reasons.contains(&Reason::NoSidecar);
        let judgement = Judgement {
            verdict,
            reasons,
            units,
        };
        let record = self.tell(Kind::Connection, connection.time, judgement, traffic);
        if let Some(closed) = closed {
            self.leg_closed(connection.id, closed.time, &record);
        }
        if let Some(uid) = uid.as_ref().filter(|_| has_no_sidecar) {
            self.stranger_closed(&connection, uid, &record);
        }
        if self.gathers(verdict) {
            self.gather_alone(&connection, closed);
        }
        match (announced, found) {
            (Some(kind), _) => self.no_longer(kind, uid.as_ref(), record),
            (None, Some(kind)) => {
                self.find(kind, uid.as_ref(), connection.time, Some(record));
            }
            (None, None) => {}
        }
    }
}

/// The cgroup of the end that a connection is judged by.
fn cgroup_of(connection: &Connection) -> CgroupId {
    let end = connection.client.as_ref().or(connection.server.as_ref());
    end.map_or(0, |end| end.cgroup)
}
