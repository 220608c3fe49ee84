//! Legs between the sidecars of two pods of the node.

use std::{net::SocketAddr, time::Duration};

use super::{
    pod::{Kind, Part},
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
};
use crate::{
    http::{Closed, Connection, End, Greeting, hello::ClientHello},
    ledger::Input,
    timestamp::Timestamp,
};

impl Scene {
    /// Legs from a pod's sidecar to those of others: most with TLS, some without, and of some the
    /// beginning was not seen.
    pub(super) fn among_sidecars(&mut self, pod: usize) {
        for other in 0..self.pods.len() {
            let is_meshed = self.pods[other].kind != Kind::Plain;
            if other == pod || !is_meshed || self.pods[other].v6 != self.pods[pod].v6 {
                continue;
            }
            for _ in 0..self.random.between(0, 3) {
                let greeting = match self.random.between(0, 4) {
                    0 => None,
                    1 => Some(Greeting::Plain),
                    _ => Some(Greeting::Client(ClientHello::default())),
                };
                self.leg_between((pod, other), greeting);
            }
        }
    }

    fn leg_between(&mut self, (pod, other): (usize, usize), greeting: Option<Greeting>) {
        let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
        let begin = self.moment(begin);
        let port = self.next_port();
        let source = SocketAddr::new(self.pods[pod].address(), port);
        let destination = SocketAddr::new(self.pods[other].address(), 8080);
        let sending = self.pods[pod].end(Part::Proxy, source, destination);
        let own = SocketAddr::new(destination.ip(), 15006);
        let accepting = self.pods[other].end(Part::Proxy, own, source);
        let ends = [(Some(sending), None), (None, Some(accepting))];
        // Either may be told first.
        let told = [0, 1].map(|_| begin + self.random.micros(20, 20_000));
        let closed = begin + self.random.millis(30, 5_000);
        for (number, (ends, told)) in ends.into_iter().zip(told).enumerate() {
            let id = self.end_of_leg(begin, ends, (source, destination), told);
            if let (0, Some(greeting)) = (number, greeting.clone()) {
                let time = told + Duration::from_micros(5);
                self.tell(
                    time,
                    Input::Greeted {
                        connection: id,
                        time,
                        greeting,
                    },
                );
            }
            self.tell(
                closed,
                Input::Closed(Closed {
                    connection: id,
                    time: closed,
                    client_bytes: 100,
                    server_bytes: 100,
                    both_fin: true,
                    client_closed_first: true,
                    established: true,
                    no_request: false,
                    unread: false,
                    retransmits: 0,
                }),
            );
        }
    }

    fn end_of_leg(
        &mut self,
        time: Timestamp,
        (client, server): (Option<End>, Option<End>),
        (source, destination): (SocketAddr, SocketAddr),
        told: Timestamp,
    ) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        let asked = client.as_ref().map(|_| destination);
        let connection = Connection {
            id,
            time,
            client,
            server,
            source,
            destination,
            asked,
            established: true,
            preexisting: false,
            udp: None,
        };
        self.tell(told, Input::Opened(Box::new(connection)));
        id
    }
}
