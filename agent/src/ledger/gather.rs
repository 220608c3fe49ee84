//! Gathers the evidence of what was judged, at the moment of the verdict.

mod candidates;
mod describe;

use std::time::Duration;

use self::{candidates::Leads, describe::candidate_of_pair};
use super::{
    Ledger,
    evidence::{ConnectionEvidence, EndEvidence, Evidence, HoleEvidence, LogWindow, LossEvidence},
    input::{Exchange, Line},
    roles::{Role, Roles},
    tracked::{MeshConnection, Tracked},
};
use crate::{
    http::{Closed, Connection, ConnectionId, End},
    record::{Difference, Verdict},
    timestamp::Timestamp,
};

/// Lines judged alone that a pod's books remember, for exchanges that miss theirs later.
const KEPT_REJECTED: usize = 16;

/// A line that was judged alone.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) line: Line,
    pub(super) sequence: u64,
}

impl Ledger {
    /// From now on [`Self::take_evidence`] has something to hand out.
    pub fn keep_evidence(&mut self) {
        self.evidence.get_or_insert_default();
    }

    /// The evidence of the records since the last call that are not `matched`, in their order.
    pub fn take_evidence(&mut self) -> Vec<Evidence> {
        self.evidence
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Whether anybody asks for the evidence of such a verdict.
    pub(super) fn gathers(&self, verdict: Verdict) -> bool {
        self.evidence.is_some() && verdict != Verdict::Matched
    }

    /// Of the exchange whose record was written last, which is not `matched`.
    pub(super) fn gather_exchange(
        &mut self,
        id: ConnectionId,
        exchange: &Exchange,
        paired: Option<(&Line, Vec<Difference>)>,
    ) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let mut leads = Leads::default();
        if let Some((line, differences)) = paired {
            leads.put_first(candidate_of_pair(line, differences));
        }
        leads.lines_for(
            exchange,
            mesh,
            self.pods.get(&mesh.place.pod_uid),
            &self.writer,
        );
        let log = self.window(
            &mesh.place.pod_uid,
            exchange.time,
            exchange.end + self.grace(),
        );
        let mut losses = losses(mesh);
        losses.extend(exchange.gap.map(|cause| LossEvidence {
            time: exchange.end,
            cause,
            heads: None,
        }));
        let connection = Some(connection(
            &self.roles,
            &mesh.connection,
            mesh.closed.as_ref(),
        ));
        self.gathered(connection, Some(log), losses, leads);
    }

    /// Of the connection between app and sidecar whose record was written last.
    pub(super) fn gather_mesh(
        &mut self,
        id: ConnectionId,
        paired: Option<(&Line, Vec<Difference>)>,
    ) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let mut leads = Leads::default();
        if let Some((line, differences)) = paired {
            leads.put_first(candidate_of_pair(line, differences));
        }
        leads.lines_for_connection(mesh, self.pods.get(&mesh.place.pod_uid), &self.writer);
        let opened = mesh.connection.time;
        let ended = mesh.closed.as_ref().map_or(opened, |closed| closed.time);
        let log = self.window(&mesh.place.pod_uid, opened, ended + self.grace());
        let connection = Some(connection(
            &self.roles,
            &mesh.connection,
            mesh.closed.as_ref(),
        ));
        let losses = losses(mesh);
        self.gathered(connection, Some(log), losses, leads);
    }

    /// Of a connection that is judged by itself, whose record was written last.
    pub(super) fn gather_alone(&mut self, opened: &Connection, closed: Option<&Closed>) {
        let connection = Some(connection(&self.roles, opened, closed));
        self.gathered(connection, None, Vec::new(), Leads::default());
    }

    /// Of something on such a connection.
    pub(super) fn gather_on_alone(&mut self, id: ConnectionId) {
        if let Some(Tracked::Alone(alone)) = self.connections.get(&id) {
            let connection = Some(connection(&self.roles, &alone.connection, None));
            self.gathered(connection, None, Vec::new(), Leads::default());
        }
    }

    /// Of what is told without a connection, whose record was written last.
    pub(super) fn gather_without_connection(&mut self) {
        self.gathered(None, None, Vec::new(), Leads::default());
    }

    /// Of the line alone whose record was written last.
    pub(super) fn gather_line(&mut self, line: &Line, verdict: Verdict) {
        let sequence = self.writer.last_sequence();
        let mut leads = Leads::default();
        let (mut told, mut lost) = (None, Vec::new());
        if let Some(pod) = self.pods.get(&line.pod_uid) {
            let entry = line.entry();
            let named = entry.and_then(|entry| pod.find(line, entry));
            match named.and_then(|id| self.connections.get(&id)) {
                Some(Tracked::Mesh(mesh)) => {
                    leads.exchanges_for(line, mesh, &self.writer);
                    told = Some(connection(
                        &self.roles,
                        &mesh.connection,
                        mesh.closed.as_ref(),
                    ));
                    lost = losses(mesh);
                }
                _ => leads.connections_for(line, pod),
            }
        }
        let accuses = !matches!(verdict, Verdict::Outside | Verdict::ProxyAnswered);
        if accuses && let Some(pod) = self.pods.get_mut(&line.pod_uid) {
            if pod.rejected.len() == KEPT_REJECTED {
                pod.rejected.pop_front();
            }
            let line = line.clone();
            pod.rejected.push_back(Rejected { line, sequence });
        }
        let log = self.window(&line.pod_uid, line.time, line.time);
        self.gathered(told, Some(log), lost, leads);
    }

    fn gathered(
        &mut self,
        connection: Option<ConnectionEvidence>,
        log: Option<LogWindow>,
        losses: Vec<LossEvidence>,
        leads: Leads,
    ) {
        let (candidates, further_candidates) = leads.finish();
        let mut evidence = Evidence {
            sequence: self.writer.last_sequence(),
            connection,
            log,
            captured_until: self.captured_until,
            losses,
            candidates,
            further_candidates,
        };
        if !self.clock.is_undisturbed() {
            evidence.each_time(&|moment| self.clock.reading(moment));
        }
        if let Some(gathered) = &mut self.evidence {
            gathered.push(evidence);
        }
    }

    fn window(&self, uid: &str, from: Timestamp, to: Timestamp) -> LogWindow {
        const WIDENED: Duration = Duration::from_secs(10);
        let pod = self.pods.get(uid);
        let holes = pod.into_iter().flat_map(|pod| pod.holes());
        let holes = holes.map(|hole| hole.noticed);
        let near = |noticed: &Timestamp| *noticed + WIDENED >= from && *noticed <= to + WIDENED;
        LogWindow {
            from,
            to,
            begin: pod.and_then(|pod| pod.marks.before(from)),
            end: pod.and_then(|pod| pod.marks.end()),
            read_until: pod.and_then(|pod| pod.read_until),
            holes: holes
                .filter(near)
                .map(|time| HoleEvidence { time })
                .collect(),
            lines_ever: pod.is_some_and(|pod| pod.lines_ever),
        }
    }
}

fn losses(mesh: &MeshConnection) -> Vec<LossEvidence> {
    let heads = mesh.lost.iter().map(|lost| LossEvidence {
        time: lost.time,
        cause: lost.cause,
        heads: Some(lost.count),
    });
    heads.collect()
}

fn connection(
    roles: &Roles,
    connection: &Connection,
    closed: Option<&Closed>,
) -> ConnectionEvidence {
    let own = connection.client.as_ref().map(|end| end.local);
    ConnectionEvidence {
        opened: connection.time,
        closed: closed.map(|closed| closed.time),
        asked: own.zip(connection.asked),
        sent: (connection.source, connection.destination),
        client: connection.client.as_ref().map(|client| end(roles, client)),
        server: connection.server.as_ref().map(|server| end(roles, server)),
        established: connection.established,
        preexisting: connection.preexisting,
    }
}

fn end(roles: &Roles, end: &End) -> EndEvidence {
    let role = roles.role(end);
    let word = match &role {
        Some(Role::App(_)) => "app",
        Some(Role::Proxy { .. }) => "proxy",
        Some(Role::PilotAgent(_)) => "pilot_agent",
        Some(Role::Foreign(_)) => "foreign",
        Some(Role::MeshInit(_)) => "mesh_init",
        Some(Role::Kubelet) => "kubelet",
        Some(Role::Nobody) => "outside",
        None => "unknown",
    };
    let place = role.as_ref().and_then(Role::place);
    let container = place.and_then(|place| place.container.as_ref());
    EndEvidence {
        role: word.to_owned(),
        container: container.and_then(|(_, name)| name.as_deref().map(str::to_owned)),
        process: end.process.clone(),
    }
}
