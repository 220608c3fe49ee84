//! Legs between the sidecars of two pods of the node.

use std::{mem, net::SocketAddr, time::Duration};

use meshwitness::{
    envoy::Content,
    http::{Closed, Connection, End, Greeting, hello::ClientHello},
    ledger::Input,
    timestamp::Timestamp,
};

use crate::{
    log::{Damage, Written},
    pod::{Kind, Part},
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
    wire::Wire,
};

/// The cluster of what goes to ports that no service names.
const PASSTHROUGH: &str = "PassthroughCluster";

/// How many percent of the legs in which something of an app is carried are in plaintext.
const PLAIN: u64 = 30;

/// Where a proxy carried what its app asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pod: usize,
    tuple: (SocketAddr, SocketAddr),
    opened: Timestamp,
    closed: Timestamp,
}

/// A leg in which a sidecar sends plaintext to another.
#[derive(Clone, Debug)]
pub(crate) struct PlainLeg {
    pub(crate) pod: usize,
    pub(crate) source: SocketAddr,
    destination: SocketAddr,
}

/// Whether a leg in plaintext is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plaintext {
    Found,
    /// It goes to a port that no service names.
    Fine,
    /// What its line said is gone, or came very late.
    Either,
}

impl PlainLeg {
    /// What its pod's log, as it can be read, makes of it.
    pub(crate) fn judge(&self, log: &[Written], damage: Damage) -> Plaintext {
        let entries = log
            .iter()
            .filter_map(|written| match &written.line.content {
                Content::Entry(entry) => Some(entry),
                _ => None,
            });
        // Requests of one connection may have gone to several hosts.
        let host = self.destination.to_string();
        let of_it = entries.filter(|entry| {
            entry.upstream_local_address == Some(self.source)
                && entry.upstream_host.as_ref() == Some(&host)
        });
        let mut clusters = of_it
            .map(|entry| entry.upstream_cluster.as_deref())
            .peekable();
        let is_named = clusters.peek().is_some();
        let is_passed = is_named && clusters.all(|cluster| cluster == Some(PASSTHROUGH));
        match damage {
            Damage::Holes if !is_named => Plaintext::Either,
            Damage::Stalled(..) if is_passed => Plaintext::Either,
            _ if is_passed => Plaintext::Fine,
            _ => Plaintext::Found,
        }
    }
}

impl Scene {
    /// Legs from a pod's sidecar to those of others, of which no line speaks: most with TLS, some
    /// without, and of some the beginning was not seen.
    pub(crate) fn among_sidecars(&mut self, pod: usize) {
        for other in 0..self.pods.len() {
            if other == pod || !self.is_meshed(other) || self.pods[other].v6 != self.pods[pod].v6 {
                continue;
            }
            for _ in 0..self.random.between(0, 3) {
                let greeting = match self.random.between(0, 4) {
                    0 => None,
                    1 => Some(Greeting::Plain),
                    _ => Some(Greeting::Client(ClientHello::default())),
                };
                let opened = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
                let destination = SocketAddr::new(self.pods[other].address(), 8080);
                let leg = Carried {
                    pod,
                    tuple: (
                        SocketAddr::new(self.pods[pod].address(), self.next_port()),
                        destination,
                    ),
                    opened,
                    closed: opened + self.random.millis(30, 5_000),
                };
                self.leg_to(other, leg, greeting);
            }
        }
    }

    /// What a proxy carries for its app goes to its peer from here.
    pub(crate) fn carry_on(&mut self, pod: usize, wire: &Wire, closed: Timestamp) {
        self.carried.push(Carried {
            pod,
            tuple: wire.network,
            opened: wire.opened,
            closed,
        });
    }

    /// Some of that goes in plaintext to another sidecar. The lines name a service, or none, or
    /// somebody has made the first of them name none.
    pub(crate) fn carried_in_plaintext(&mut self) {
        for carried in mem::take(&mut self.carried) {
            let others: Vec<usize> = (0..self.pods.len())
                .filter(|other| *other != carried.pod && self.is_meshed(*other))
                .collect();
            if others.is_empty() || !self.random.chance(PLAIN) {
                continue;
            }
            let lines = *self.random.pick(&[0, usize::MAX, usize::MAX, 1]);
            let log = &mut self.logs[carried.pod];
            log.name_cluster(carried.tuple.0, PASSTHROUGH, lines);
            let other = *self.random.pick(&others);
            let leg = Carried {
                opened: carried.opened + self.random.micros(20, 2_000),
                closed: carried.closed + self.random.micros(20, 900_000),
                ..carried
            };
            self.leg_to(other, leg, Some(Greeting::Plain));
        }
    }

    fn is_meshed(&self, pod: usize) -> bool {
        self.pods[pod].kind != Kind::Plain
    }

    fn leg_to(&mut self, other: usize, leg: Carried, greeting: Option<Greeting>) {
        let Carried {
            pod,
            tuple: (source, destination),
            opened,
            closed,
        } = leg;
        let begin = self.moment(opened);
        let sending = self.pods[pod].end(Part::Proxy, source, destination);
        let own = SocketAddr::new(destination.ip(), 15006);
        let accepting = self.pods[other].end(Part::Proxy, own, source);
        let ends = [(Some(sending), None), (None, Some(accepting))];
        if greeting == Some(Greeting::Plain) {
            self.plain_legs.push(PlainLeg {
                pod,
                source,
                destination,
            });
        }
        // Either may be told first.
        let told = [0, 1].map(|_| begin + self.random.micros(20, 20_000));
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
            let closed = closed.max(told + Duration::from_micros(10));
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
