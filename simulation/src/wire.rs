//! A connection between an app and its sidecar, as it really was.

use std::net::SocketAddr;

use meshwitness::{
    http::{Closed, Connection, ConnectionId},
    record::Side,
    timestamp::Timestamp,
};

use crate::pod::{Part, Pod};

#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) id: ConnectionId,
    pub(crate) side: Side,
    pub(crate) opened: Timestamp,
    /// The socket that opened it, in its own view.
    pub(crate) local: SocketAddr,
    /// Where its segments come from, after NAT.
    pub(crate) source: SocketAddr,
    /// Where they go to, after NAT.
    pub(crate) destination: SocketAddr,
    /// What the opener asked for.
    pub(crate) asked: SocketAddr,
    /// The proxy's own leg to the network: its end, and its peer's.
    pub(crate) network: (SocketAddr, SocketAddr),
    pub(crate) preexisting: bool,
}

impl Wire {
    /// How the capture tells it.
    pub(crate) fn connection(&self, pod: &Pod) -> Connection {
        let (client, server) = match self.side {
            Side::Client => (Part::App, Part::Proxy),
            _ => (Part::Proxy, Part::App),
        };
        let mut client = pod.end(client, self.local, self.asked);
        let mut server = pod.end(server, self.destination, self.source);
        if self.preexisting {
            // Nobody saw them call connect or listen.
            (client.process, server.process) = (None, None);
        }
        Connection {
            id: self.id,
            time: self.opened,
            client: Some(client),
            server: Some(server),
            source: self.source,
            destination: self.destination,
            asked: Some(self.asked),
            established: true,
            preexisting: self.preexisting,
            udp: None,
        }
    }

    /// How the capture tells its end, after so many bytes of payload each way.
    pub(crate) fn closed(&self, time: Timestamp, (client, server): (u64, u64)) -> Closed {
        Closed {
            connection: self.id,
            time,
            client_bytes: client,
            server_bytes: server,
            both_fin: true,
            client_closed_first: true,
            established: true,
            no_request: client == 0,
            unread: false,
            retransmits: 0,
        }
    }

    /// The port by which the proxy decides what it carries.
    pub(crate) fn port(&self) -> u16 {
        self.asked.port()
    }
}
