//! Lines that were read before their connection was told: the log may overtake the rings.

use std::net::SocketAddr;

use super::{
    Ledger,
    copies::Copy,
    input::{Entry, Line},
    pod::PodBook,
    tracked::Tracked,
};
use crate::{http::ConnectionId, timestamp::Timestamp};

impl Ledger {
    /// A connection was told: lines may have been waiting for it.
    pub(super) fn retry_unplaced(&mut self, id: ConnectionId) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get(&id) else {
            return;
        };
        let source = mesh.connection.source;
        let Some(pod) = self.pods.get_mut(&mesh.place.pod_uid) else {
            return;
        };
        for line in pod.take_unplaced(id, source) {
            self.place_on(id, line);
        }
    }

    /// Judges the lines stamped by `due`, whose connection must have been told.
    pub(super) fn judge_unplaced(&mut self, uid: &str, due: Timestamp) {
        loop {
            let Some(pod) = self.pods.get_mut(uid) else {
                return;
            };
            if pod.unplaced.front().is_none_or(|line| line.time > due) {
                return;
            }
            let Some(line) = pod.unplaced.pop_front() else {
                return;
            };
            let now_known = line.entry().and_then(|entry| pod.find(&line, entry));
            if let Some(id) = now_known {
                self.place_on(id, line);
            } else if !self.judge_without_exchange(&line, true) {
                self.judge_unseen(&line, None);
            }
        }
    }
}

impl PodBook {
    /// Takes out the lines that wait for this connection and what seems to be a copy of them, in the
    /// order in which they were read.
    #[expect(clippy::vec_box, reason = "lines move between lists")]
    fn take_unplaced(&mut self, id: ConnectionId, source: SocketAddr) -> Vec<Box<Line>> {
        let source = Some(source);
        let is_its =
            |entry: &Entry| entry.upstream_local_address == source || entry.downstream() == source;
        let names_it = |line: &Line| line.entry().is_some_and(is_its);
        let is_copy_of_it = |copy: &Copy| copy.of.is_none() && names_it(&copy.line);
        // Thousands may wait while connections come by the thousand.
        if !self.unplaced.iter().any(|line| names_it(line))
            && !self.copies.waiting.iter().any(is_copy_of_it)
        {
            return Vec::new();
        }
        let mut lines = std::mem::take(&mut self.unplaced);
        let mut copies = std::mem::take(&mut self.copies.waiting);
        let is_of_it = |line: &Line| {
            let entry = line.entry().filter(|entry| is_its(entry));
            entry.is_some_and(|entry| self.find(line, entry) == Some(id))
        };
        let (mut found, others): (Vec<_>, Vec<_>) = lines.drain(..).partition(|it| is_of_it(it));
        let of_it = copies.extract_if(.., |copy| copy.of.is_none() && is_of_it(&copy.line));
        found.extend(of_it.map(|copy| copy.line));
        found.sort_by_key(|line| (line.time, line.offset));
        self.unplaced = others.into();
        self.copies.waiting = copies;
        found
    }
}
