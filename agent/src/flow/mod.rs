//! UDP flows: datagrams into connections.
//!
//! A flow is the traffic of one socket with one remote address, whichever end sent first. It is
//! told at its first datagram, and ends when its socket is closed, or 30 s after its last one.
//! No I/O, no clock.

mod quic;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, mem, net::SocketAddr, time::Duration};

use crate::{
    capture::{Cookie, Flow, FlowCount, FlowPlace},
    http::{Closed, Connection, ConnectionId, End, Udp},
    number_map::NumberMap,
    timestamp::Timestamp,
};

/// A flow that is quiet for so long has ended.
pub const IDLE: Duration = Duration::from_secs(30);

/// Ids of flows are no cookies of sockets: the kernel counts these up from 1, and some down from
/// the largest.
const FIRST_ID: ConnectionId = 1 << 62;

/// All flows of a node. They are bounded by the kernel side's table.
#[derive(Debug, Default)]
pub struct Flows {
    open: NumberMap<ConnectionId, Open>,
    /// Which flow a socket has with a remote address.
    directions: BTreeMap<(Cookie, SocketAddr), Direction>,
    /// Those that have ended, and since when, which the table does not know yet.
    ended: Vec<(Open, Timestamp)>,
    /// Those of which what was on its way may still be counted.
    ending: Vec<(Open, Timestamp)>,
    begun: u64,
}

/// A flow that has not ended.
#[derive(Debug)]
struct Open {
    id: ConnectionId,
    /// Its socket sent the first datagram.
    sent_first: bool,
    /// The addresses of the first datagram.
    source: SocketAddr,
    destination: SocketAddr,
    /// The socket in the same place that receives what this one sends.
    receiver: Option<Cookie>,
    /// What its socket has with the remote address.
    own: Vec<FlowPlace>,
    /// What the other socket sends back, where that is in the same place.
    reply: Vec<FlowPlace>,
    /// Its keys in `directions`.
    keys: Vec<(Cookie, SocketAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Direction {
    flow: ConnectionId,
    is_reply: bool,
}

/// What is to be done in the kernel side's table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Nothing more is to be counted in these places.
    pub end: Vec<FlowPlace>,
    /// These places are not needed any more.
    pub free: Vec<FlowPlace>,
}

impl Flows {
    /// Takes the first datagram in a place of the table; the flow, if it begins one.
    pub fn begin(&mut self, flow: Flow) -> Option<Connection> {
        let remote = if flow.sent {
            flow.destination
        } else {
            flow.source
        };
        let key = (flow.cookie, remote);
        if let Some(direction) = self.directions.get(&key).copied() {
            // Two of its datagrams were the first at the same moment.
            self.add(key, direction, flow.place);
            return None;
        }
        if let Some(id) = self.answered_by(&flow) {
            let direction = Direction {
                flow: id,
                is_reply: true,
            };
            self.add(key, direction, flow.place);
            return None;
        }
        let id = FIRST_ID + self.begun;
        self.begun += 1;
        let open = Open {
            id,
            sent_first: flow.sent,
            source: flow.source,
            destination: flow.destination,
            receiver: flow.receiver.as_ref().and_then(|receiver| receiver.cookie),
            own: Vec::new(),
            reply: Vec::new(),
            keys: Vec::new(),
        };
        self.open.insert(id, open);
        let direction = Direction {
            flow: id,
            is_reply: false,
        };
        self.add(key, direction, flow.place);
        Some(connection(id, flow))
    }

    /// A socket was closed.
    pub fn close(&mut self, cookie: Cookie, time: Timestamp) {
        let all = (cookie, SocketAddr::from(([0, 0, 0, 0], 0)))..;
        let of_it = self.directions.range(all);
        let of_it = of_it.take_while(|((of, _), _)| *of == cookie);
        let own = of_it.filter(|(_, direction)| !direction.is_reply);
        let mut flows: Vec<_> = own.map(|(_, direction)| direction.flow).collect();
        flows.sort_unstable();
        for id in flows {
            self.end(id, time);
        }
    }

    /// Orders the end of what has ended, and tells of those whose end was ordered by the call before:
    /// there must be some milliseconds between the two.
    pub fn sweep(
        &mut self,
        count: impl Fn(FlowPlace) -> FlowCount,
        mut closed: impl FnMut(Closed),
    ) -> Orders {
        let mut orders = Orders::default();
        let ended = mem::take(&mut self.ended);
        orders.end = ended.iter().flat_map(|(open, _)| open.places()).collect();
        for (open, time) in mem::replace(&mut self.ending, ended) {
            let (client_bytes, server_bytes) = open.bytes(&count);
            closed(Closed {
                connection: open.id,
                time,
                client_bytes,
                server_bytes,
                both_fin: false,
                client_closed_first: false,
                established: true,
                no_request: false,
                unread: false,
                retransmits: 0,
            });
            orders.free.extend(open.places());
        }
        orders
    }

    /// Ends the flows that are idle.
    pub fn end_idle(&mut self, count: impl Fn(FlowPlace) -> FlowCount) {
        let idle = |open: &Open| {
            let counts = open.places().map(&count);
            let last = counts.max_by_key(|count| count.last)?;
            (last.quiet >= IDLE).then_some((open.id, last.last))
        };
        let mut idle: Vec<_> = self.open.values().filter_map(idle).collect();
        idle.sort_unstable();
        for (id, last) in idle {
            self.end(id, last);
        }
    }

    /// What each flow that goes on has carried so far: from its client, and from its server.
    pub fn carried(
        &self,
        count: impl Fn(FlowPlace) -> FlowCount,
    ) -> Vec<(ConnectionId, (u64, u64))> {
        let carried = |open: &Open| (open.id, open.bytes(&count));
        let mut carried: Vec<_> = self.open.values().map(carried).collect();
        carried.sort_unstable();
        carried
    }

    fn add(&mut self, key: (Cookie, SocketAddr), direction: Direction, place: FlowPlace) {
        let Some(open) = self.open.get_mut(&direction.flow) else {
            return;
        };
        match direction.is_reply {
            true => open.reply.push(place),
            false => open.own.push(place),
        }
        if self.directions.insert(key, direction).is_none() {
            open.keys.push(key);
        }
    }

    /// The flow within the same place that this is the way back of.
    fn answered_by(&self, flow: &Flow) -> Option<ConnectionId> {
        if !flow.sent || !flow.inside {
            return None;
        }
        let asker = flow.receiver.as_ref()?.cookie?;
        let all = (asker, SocketAddr::from(([0, 0, 0, 0], 0)))..;
        let of_asker = self.directions.range(all);
        let of_asker = of_asker.take_while(|((of, _), _)| *of == asker);
        let flows = of_asker.filter(|(_, direction)| !direction.is_reply);
        let mut flows = flows.filter_map(|(_, direction)| self.open.get(&direction.flow));
        // NAT shows the answer with another source than the question's destination.
        let answers = |open: &&Open| {
            open.sent_first
                && open.source == flow.destination
                && match open.receiver {
                    Some(receiver) => receiver == flow.cookie,
                    None => open.destination == flow.source,
                }
        };
        flows.find(answers).map(|open| open.id)
    }

    fn end(&mut self, id: ConnectionId, time: Timestamp) {
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        for key in &open.keys {
            self.directions.remove(key);
        }
        self.ended.push((open, time));
    }
}

impl Open {
    fn places(&self) -> impl Iterator<Item = FlowPlace> {
        self.own.iter().chain(&self.reply).copied()
    }

    /// What its client end sent, and what its server end did.
    fn bytes(&self, count: impl Fn(FlowPlace) -> FlowCount) -> (u64, u64) {
        let own = self.own.iter().map(|place| count(*place));
        let (sent, received) = own.fold((0, 0), |(sent, received), count| {
            (sent + count.bytes_sent, received + count.bytes_received)
        });
        let back = self.reply.iter().map(|place| count(*place).bytes_sent);
        let received = received + back.sum::<u64>();
        match self.sent_first {
            true => (sent, received),
            false => (received, sent),
        }
    }
}

fn connection(id: ConnectionId, flow: Flow) -> Connection {
    let Flow {
        cookie,
        time,
        cgroup,
        process,
        sent,
        inside,
        receiver,
        source,
        destination,
        connected,
        length,
        payload,
        place: _,
    } = flow;
    // What leaves has the address that was asked for: a Service's is translated outside the pod.
    // That of a connected socket says nothing there, for it can send to others.
    let asked = connected.filter(|_| inside);
    let (client, server) = if sent {
        let own = End {
            cookie,
            cgroup,
            process,
            local: source,
            remote: asked.unwrap_or(destination),
        };
        let other = receiver.map(|receiver| End {
            cookie: receiver.cookie.unwrap_or_default(),
            cgroup: receiver.cgroup,
            process: receiver.process,
            local: destination,
            remote: source,
        });
        (Some(own), other)
    } else {
        let own = End {
            cookie,
            cgroup,
            process,
            local: destination,
            remote: source,
        };
        (None, Some(own))
    };
    Connection {
        id,
        time,
        client,
        server,
        source,
        destination,
        asked,
        established: true,
        preexisting: false,
        udp: Some(Udp {
            inside,
            quic: quic::is_quic(&payload, length as usize),
        }),
    }
}
