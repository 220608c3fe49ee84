//! The end: every pending unit gets its verdict at once, and the books close at zero.

use std::sync::Arc;

use super::{
    Ledger,
    doubt::doubt_of,
    input::{Exchange, Input},
    leg::{Begun, Leftovers},
    put::TakenOver,
    tracked::Tracked,
    write::Judgement,
};
use crate::{
    http::ConnectionId,
    record::{Lifecycle, Reason, Units, Verdict},
    timestamp::Timestamp,
};

impl Ledger {
    pub(super) fn stop(&mut self, time: Timestamp) {
        self.place_early_lines(true);
        for id in self.waiting.clone() {
            self.consider(id, time, true);
        }
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.judge_forwarded(&uid, Timestamp::MAX);
            self.judge_copies(&uid, true);
        }
        let mut open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        open.sort_unstable();
        for id in open {
            match self.connections.get(&id) {
                Some(Tracked::Mesh(_)) => self.stop_mesh(id, time),
                Some(Tracked::Alone(_)) => self.stop_alone(id, time),
                _ => {}
            }
        }
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.stop_lines(&uid);
        }
        self.retry_raw_sockets(time, true);
        self.close_findings(time);
        self.close_interval(time);
        self.writer.lifecycle(time, Lifecycle::Stop);
    }

    fn stop_mesh(&mut self, id: ConnectionId, time: Timestamp) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        if mesh.finished {
            let lines = mesh.leg.drain().lines;
            let strays = std::mem::take(&mut mesh.connection_lines);
            for line in lines.into_iter().chain(strays) {
                self.judge_line(&line, Verdict::Unverifiable, vec![Reason::AgentDown], None);
            }
            self.drop_mesh(id);
            return;
        }
        let Leftovers {
            ended,
            begun,
            lines,
        } = mesh.leg.drain();
        let strays = std::mem::take(&mut mesh.connection_lines);
        let exchanges = mesh.begun;
        let connection_id = mesh.connection.id;
        let begun = begun
            .into_iter()
            .map(|begun| Box::new(Exchange::cut_off(connection_id, begun, time)));
        let unsettled: Vec<Box<Exchange>> = ended.into_iter().chain(begun).collect();
        self.enter_exchanges(id);
        for exchange in &unsettled {
            self.put_exchange(id, exchange, None, agent_down(Units::new(1, 0)), None);
        }
        for line in lines.into_iter().chain(strays) {
            self.judge_line(&line, Verdict::Unverifiable, vec![Reason::AgentDown], None);
        }
        if exchanges == 0 {
            self.stop_connection_unit(id);
        }
        self.drop_mesh(id);
    }

    /// A connection that ended without an exchange and waits for its line. One that goes on is
    /// no unit: it becomes one when it closes.
    fn stop_connection_unit(&mut self, id: ConnectionId) {
        if let Some(Tracked::Mesh(mesh)) = self.connections.get(&id)
            && mesh.closed.is_some()
        {
            self.put_connection(
                id,
                None,
                Vec::new(),
                agent_down(Units::new(1, 0)),
                TakenOver::default(),
            );
        }
    }

    /// Exchanges of a connection judged by itself that began and did not end.
    fn stop_alone(&mut self, id: ConnectionId, time: Timestamp) {
        let Some(Tracked::Alone(alone)) = self.connections.get_mut(&id) else {
            return;
        };
        for begun in std::mem::take(&mut alone.open).into_values() {
            let exchange = Exchange::cut_off(id, begun, time);
            self.on_connection(id, Input::Ended(Box::new(exchange)));
        }
        if let Some(Tracked::Alone(alone)) = self.connections.remove(&id)
            && alone.connection.udp.is_some()
        {
            self.end_alone(*alone, None);
        }
    }

    fn stop_lines(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let lines: Vec<_> = pod.unplaced.drain(..).collect();
        let doubtful: Vec<_> = pod.doubtful.drain(..).collect();
        for line in lines {
            self.judge_line(&line, Verdict::Unverifiable, vec![Reason::AgentDown], None);
        }
        for line in doubtful {
            self.judge_line(&line, Verdict::Unverifiable, vec![doubt_of(&line)], None);
        }
    }
}

fn agent_down(units: Units) -> Judgement {
    Judgement {
        verdict: Verdict::Unverifiable,
        reasons: vec![Reason::AgentDown],
        units,
    }
}

impl Exchange {
    /// An exchange of which nothing more than its beginning is known.
    fn cut_off(connection: ConnectionId, begun: Begun, end: Timestamp) -> Self {
        Self {
            connection,
            exchange: begun.number,
            stream: begun.stream,
            time: begun.time,
            end,
            method: None,
            path: None,
            authority: None,
            version: None,
            request_id: None,
            forwarded: false,
            request_ended: None,
            request_bytes: 0,
            response: None,
            gap: None,
            undecoded: false,
            refused: false,
            shown: Arc::default(),
        }
    }
}
