//! How the ends of connections began to speak.

use super::{Ledger, tracked::Tracked};
use crate::{
    http::{ConnectionId, Greeting},
    record::Tls,
    timestamp::Timestamp,
};

impl Ledger {
    /// An end of a connection began to speak.
    pub(super) fn greeted(&mut self, id: ConnectionId, time: Timestamp, greeting: Greeting) {
        let is_plain = greeting == Greeting::Plain;
        let tls = match self.connections.get_mut(&id) {
            Some(Tracked::Mesh(mesh)) => &mut mesh.tls,
            Some(Tracked::Alone(alone)) => &mut alone.tls,
            _ => return,
        };
        learn(tls.get_or_insert_default(), greeting);
        if is_plain {
            self.sent_plain(id, time);
        }
    }
}

fn learn(tls: &mut Tls, greeting: Greeting) {
    match greeting {
        Greeting::Client(hello) => {
            tls.server_name = hello.server_name;
            tls.offered = hello.protocols;
        }
        Greeting::Server(hello) => {
            tls.version = hello.version;
            tls.cipher = Some(hello.cipher);
            tls.protocol = hello.protocol;
        }
        Greeting::Plain => tls.plain = true,
    }
}
