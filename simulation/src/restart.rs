//! The agent is stopped in the middle of everything, and started again.

use std::collections::{BTreeMap, BTreeSet};

use meshwitness::{
    http::{Closed, Connection, ConnectionId},
    ledger::{Input, ListenerEnd},
    timestamp::Timestamp,
};

/// What a capture that begins at `start` tells of what one from the beginning would have told.
///
/// Of a connection that is older it knows neither who opened it nor who listened, and counts its
/// exchanges from the first whose head it sees.
pub(crate) fn seen_since(told: &[(Timestamp, Input)], start: Timestamp) -> Vec<(Timestamp, Input)> {
    let mut older: BTreeMap<ConnectionId, Older> = BTreeMap::new();
    let mut seen = Vec::new();
    for (time, input) in told {
        match (input, *time < start) {
            (Input::Opened(connection), true) => {
                older.insert(connection.id, Older::new(connection));
            }
            (
                Input::Begun {
                    connection,
                    exchange,
                    ..
                },
                true,
            ) => {
                if let Some(older) = older.get_mut(connection) {
                    older.missed.insert(*exchange);
                }
            }
            // It is quiet, so that it is seen no more.
            (Input::Closed(closed), false) if is_quiet_flow(&older, closed) => {}
            (Input::Closed(closed), true) => {
                older.remove(&closed.connection);
            }
            (_, true) => {}
            // It was bound before.
            (Input::ListenerClosed(end), false) => {
                let end = ListenerEnd {
                    cookie: None,
                    ..end.clone()
                };
                seen.push((*time, Input::ListenerClosed(end)));
            }
            (input, false) => {
                let Some(older) = connection(input).and_then(|id| older.get_mut(&id)) else {
                    seen.push((*time, input.clone()));
                    continue;
                };
                let Some(input) = older.see(input) else {
                    continue;
                };
                if let Some(opened) = older.opened.take() {
                    let opened = Connection {
                        time: *time,
                        preexisting: true,
                        ..opened
                    };
                    seen.push((*time, Input::Opened(Box::new(opened))));
                }
                seen.push((*time, input));
            }
        }
    }
    seen
}

fn is_quiet_flow(older: &BTreeMap<ConnectionId, Older>, closed: &Closed) -> bool {
    let opened = older
        .get(&closed.connection)
        .and_then(|older| older.opened.as_ref());
    opened.is_some_and(|connection| connection.udp.is_some())
}

/// A connection that is older than the agent.
struct Older {
    /// Until it is told.
    opened: Option<Connection>,
    /// Exchanges whose heads were sent before.
    missed: BTreeSet<u32>,
}

impl Older {
    fn new(connection: &Connection) -> Self {
        let mut opened = connection.clone();
        for end in [&mut opened.client, &mut opened.server] {
            end.iter_mut().for_each(|end| end.process = None);
        }
        Self {
            opened: Some(opened),
            missed: BTreeSet::new(),
        }
    }

    fn see(&self, input: &Input) -> Option<Input> {
        let missed = u32::try_from(self.missed.len()).unwrap();
        let is_missed = |exchange: &u32| self.missed.contains(exchange);
        let mut input = input.clone();
        match &mut input {
            Input::Begun { exchange, .. } => *exchange -= missed,
            Input::Ended(ended) if is_missed(&ended.exchange) => return None,
            Input::Ended(ended) => ended.exchange -= missed,
            _ => {}
        }
        Some(input)
    }
}

fn connection(input: &Input) -> Option<ConnectionId> {
    match input {
        Input::Begun { connection, .. } | Input::Lost { connection, .. } => Some(*connection),
        Input::Ended(exchange) => Some(exchange.connection),
        Input::Closed(closed) => Some(closed.connection),
        _ => None,
    }
}
