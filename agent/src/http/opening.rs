//! What the facts of its ends say of a connection.

use std::net::SocketAddr;

use super::{
    endpoint::Endpoint,
    event::{Closed, Connection, End},
    protocol::NoRequest,
};
use crate::{
    capture::{Opener, Peer, Socket},
    timestamp::Timestamp,
};

/// The end that opened the connection, if the kernel saw it.
pub(super) fn client(ends: &[Option<Endpoint>; 2]) -> Option<usize> {
    let opened = |(index, end): (usize, &Option<Endpoint>)| match end.as_ref()?.opener() {
        Opener::Here => Some(index),
        Opener::Peer => Some(1 - index),
        Opener::Unknown => None,
    };
    ends.iter().enumerate().find_map(opened)
}

/// The end that more likely opened it: a server has the lower port.
pub(super) fn likely_client(ends: &[Option<Endpoint>; 2]) -> usize {
    let guess = |(index, end): (usize, &Option<Endpoint>)| {
        let facts = end.as_ref()?.facts.as_ref()?;
        if facts.asked.is_some() || facts.local.port() >= facts.remote.port() {
            Some(index)
        } else {
            Some(1 - index)
        }
    };
    ends.iter().enumerate().find_map(guess).unwrap_or_default()
}

/// The connection, where the end at `client` opened it. None if there are no facts of any end.
pub(super) fn connection(ends: &[Option<Endpoint>; 2], client: usize) -> Option<Connection> {
    let facts = |index: usize| ends[index].as_ref().and_then(|end| end.facts.as_ref());
    let (near, far) = (facts(client), facts(1 - client));
    let (source, destination) = tuple(near, far)?;
    let any = near.or(far)?;
    let client_end = near.map(end_of).or_else(|| {
        let mirrored = far.map(|far| (far, source, destination));
        mirrored.and_then(|(far, local, remote)| peer_end(far, local, remote))
    });
    let server_end = far.map(end_of).or_else(|| {
        let mirrored = near.map(|near| (near, destination, source));
        mirrored.and_then(|(near, local, remote)| peer_end(near, local, remote))
    });
    // A socket that is only said to be the peer may say otherwise, and be told by itself.
    let id = ends[client].as_ref().or(ends[1 - client].as_ref())?.cookie;
    let both = || near.into_iter().chain(far);
    Some(Connection {
        id,
        time: any.opened,
        client: client_end,
        server: server_end,
        source,
        destination,
        asked: near.and_then(|near| near.asked),
        established: both().any(|facts| facts.established),
        preexisting: both().any(|facts| facts.preexisting),
        udp: None,
    })
}

/// How the connection ended; `ends` are the client's and the server's.
pub(super) fn closed(
    connection: &Connection,
    ends: [Option<&Endpoint>; 2],
    time: Timestamp,
    no_request: NoRequest,
) -> Closed {
    let [client, server] = ends.map(|end| end.and_then(|end| end.facts.as_ref()));
    let sent = |near: Option<&Socket>, far: Option<&Socket>| match (near, far) {
        (Some(near), _) => near.bytes_sent,
        (None, Some(far)) => far.bytes_received,
        (None, None) => 0,
    };
    let server_bytes = sent(server, client);
    let first_closed = |index: usize| {
        let at: Option<Timestamp> = ends[index].and_then(Endpoint::let_go);
        at.unwrap_or(Timestamp::MAX)
    };
    let both = || client.into_iter().chain(server);
    let fin = |end: Option<&Socket>| end.is_some_and(|facts| facts.fin_sent);
    // A server that resets in answer to the client's FIN is in CLOSE before the client is.
    let client_closed_first = match (fin(client), fin(server)) {
        (true, false) => true,
        _ => first_closed(0) <= first_closed(1),
    };
    let unread = client_closed_first
        && client.is_some_and(|facts| facts.fin_sent && facts.established)
        && server.is_some_and(|facts| !facts.fin_sent && !facts.preexisting)
        && server_bytes == 0;
    Closed {
        connection: connection.id,
        time,
        client_bytes: sent(client, server),
        server_bytes,
        both_fin: fin(client) && fin(server),
        client_closed_first,
        established: both().any(|facts| facts.established),
        no_request: match no_request {
            NoRequest::No => false,
            NoRequest::NoLine => server_bytes == 0 && client_closed_first,
            NoRequest::NoStream => true,
        },
        unread,
        retransmits: both().fold(0, |sum, facts| sum.saturating_add(facts.retransmits)),
    }
}

/// Source and destination of what the client sends, after NAT.
fn tuple(client: Option<&Socket>, server: Option<&Socket>) -> Option<(SocketAddr, SocketAddr)> {
    let sent = client.and_then(|client| client.sent);
    let answered = || {
        let (from, to) = server?.sent?;
        Some((to, from))
    };
    let own = || client.map(|client| (client.local, client.remote));
    let others = || server.map(|server| (server.remote, server.local));
    sent.or_else(answered).or_else(own).or_else(others)
}

fn end_of(socket: &Socket) -> End {
    End {
        cookie: socket.cookie,
        cgroup: socket.cgroup,
        process: socket.process.clone(),
        local: socket.local,
        remote: socket.remote,
    }
}

/// The peer of a socket, by what the kernel said of it alone.
fn peer_end(socket: &Socket, local: SocketAddr, remote: SocketAddr) -> Option<End> {
    let (cookie, cgroup) = match socket.peer {
        Peer::Local { cookie, cgroup } => (cookie, cgroup),
        // Established, so somebody behind that listener holds the other end.
        Peer::Listener { cookie, cgroup } if socket.established => (cookie, cgroup),
        Peer::Listener { .. } | Peer::Unknown | Peer::Remote => return None,
    };
    Some(End {
        cookie,
        cgroup,
        process: None,
        local,
        remote,
    })
}
