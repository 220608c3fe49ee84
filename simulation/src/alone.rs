//! Connections that no sidecar stands in, and those of its own: each is judged by itself.

use std::net::{IpAddr, SocketAddr};

use meshwitness::{
    http::{Closed, Connection, End},
    ledger::Input,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    pod::{KUBELET_CGROUP, Part},
    scene::{BEGIN, Scene},
    traffic::SPAN_MILLISECONDS,
    truth::Statement,
};

/// What stands between the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// The app goes past its sidecar.
    BypassOut,
    /// Somebody reaches the app past its sidecar.
    BypassIn,
    /// Nobody was there, or not yet.
    Refused,
    /// Another program in the proxy's container.
    Foreign,
    /// From one app container to another.
    Internal,
    /// pilot-agent asks the app how it is.
    Probe,
    /// The kubelet asks the app how it is.
    Kubelet,
}

const COURSES: [Course; 7] = [
    Course::BypassOut,
    Course::BypassIn,
    Course::Refused,
    Course::Foreign,
    Course::Internal,
    Course::Probe,
    Course::Kubelet,
];

impl Scene {
    /// Connections of a meshed pod that its proxy does not carry.
    pub(crate) fn past_the_proxy(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 4) {
            match *self.random.pick(&COURSES) {
                Course::Kubelet if !self.has_kubelet => {}
                course => self.go(pod, course),
            }
        }
    }

    /// Connections of a pod without a sidecar.
    pub(crate) fn without_a_sidecar(&mut self, pod: usize) {
        for side in [Side::Client, Side::Server] {
            let port = self.next_port();
            let own = SocketAddr::new(self.pods[pod].address(), port);
            let other = SocketAddr::new(self.elsewhere(pod), port + 1);
            let ends = match side {
                Side::Client => (Some(self.pods[pod].end(Part::App, own, other)), None),
                _ => (None, Some(self.pods[pod].end(Part::App, own, other))),
            };
            let tuple = match side {
                Side::Client => (own, other),
                _ => (other, own),
            };
            let statement = Statement::new(Verdict::Outside, side).because(Reason::NoSidecar);
            self.alone(pod, ends, tuple, (true, 0), Some(statement));
        }
    }

    /// A connection in this course.
    fn go(&mut self, pod: usize, course: Course) {
        let port = self.next_port();
        let own = SocketAddr::new(self.pods[pod].address(), port);
        let app = SocketAddr::new(self.pods[pod].address(), 7070);
        let other = SocketAddr::new(self.elsewhere(pod), port + 1);
        let end = |part, local, remote| Some(self.pods[pod].end(part, local, remote));
        let requests = u32::from(port % 3);
        let says = |verdict, side| Statement::new(verdict, side);
        let outside = |side, reason| says(Verdict::Outside, side).because(reason);
        let bypassed = Verdict::Bypassed;
        let (ends, tuple, seen, statement) = match course {
            Course::BypassOut => (
                (end(Part::App, own, other), None),
                (own, other),
                (true, 0),
                says(bypassed, Side::Client),
            ),
            Course::BypassIn => (
                (None, end(Part::App, app, other)),
                (other, app),
                (true, 0),
                says(bypassed, Side::Server),
            ),
            Course::Refused => (
                (end(Part::App, own, other), None),
                (own, other),
                (false, 0),
                outside(Side::Client, Reason::NoRequest),
            ),
            Course::Foreign => (
                (end(Part::Foreign, own, other), None),
                (own, other),
                (true, 0),
                says(bypassed, Side::Client).because(Reason::FromProxyContainer),
            ),
            Course::Internal => (
                (end(Part::App, own, app), end(Part::OtherApp, app, own)),
                (own, app),
                (true, requests),
                outside(Side::Client, Reason::PodInternal),
            ),
            Course::Probe => (
                (end(Part::PilotAgent, own, app), end(Part::App, app, own)),
                (own, app),
                (true, requests),
                outside(Side::Server, Reason::PilotAgent),
            ),
            Course::Kubelet => {
                let kubelet = End {
                    cookie: 0,
                    cgroup: KUBELET_CGROUP,
                    process: None,
                    local: other,
                    remote: app,
                };
                let begin = self.alone(pod, (Some(kubelet), None), (other, app), (true, 0), None);
                let begin = begin + std::time::Duration::from_millis(3);
                let ends = (None, Some(self.pods[pod].end(Part::App, app, other)));
                let statement = outside(Side::Server, Reason::Kubelet);
                self.alone_at(pod, begin, ends, (other, app), (true, 0), Some(statement));
                return;
            }
        };
        self.alone(pod, ends, tuple, seen, Some(statement));
    }

    /// A connection at some time.
    fn alone(
        &mut self,
        pod: usize,
        ends: (Option<End>, Option<End>),
        tuple: (SocketAddr, SocketAddr),
        seen: (bool, u32),
        statement: Option<Statement>,
    ) -> Timestamp {
        let begin = BEGIN + self.random.millis(150, SPAN_MILLISECONDS);
        self.alone_at(pod, begin, ends, tuple, seen, statement);
        begin
    }

    /// A connection that was established or not, with so many requests that are read. The
    /// statement is what must be said of each of its units; none: it is none.
    pub(crate) fn alone_at(
        &mut self,
        pod: usize,
        begin: Timestamp,
        (client, server): (Option<End>, Option<End>),
        (source, destination): (SocketAddr, SocketAddr),
        (established, requests): (bool, u32),
        statement: Option<Statement>,
    ) {
        let id = self.next_connection;
        self.next_connection += 1;
        let opened = self.moment(begin);
        self.truth.since = begin;
        let connection = Connection {
            id,
            time: opened,
            client,
            server,
            source,
            destination,
            asked: Some(destination),
            established,
            preexisting: false,
            udp: None,
        };
        let mut now = opened + self.random.micros(20, 2_000);
        self.tell(now, Input::Opened(Box::new(connection)));
        let uid = self.pods[pod].uid.clone();
        let mut units = Vec::new();
        for number in 0..requests {
            let begun = now + self.random.micros(10, 5_000);
            let begun = self.moment(begun);
            let exchange = crate::transaction::unlogged(id, number, begun);
            now = exchange.end;
            self.tell(
                begun,
                Input::Begun {
                    connection: id,
                    exchange: number,
                    stream: None,
                    time: begun,
                },
            );
            let exchange = self.intake.exchange(exchange);
            self.tell(now, Input::Ended(Box::new(exchange)));
            units.push(begun);
        }
        if units.is_empty() {
            units.push(opened);
        }
        if let Some(statement) = statement {
            for begun in units {
                let likeness = self.truth.unlike("alone");
                self.truth.observed(&uid, begun, likeness);
                self.truth
                    .expect(vec![statement.clone().observed(likeness)]);
            }
        }
        // Both ends of the kubelet's probes go at the same time.
        let lasts = u64::from(source.port()) * 97 % 9_000;
        let closed = now.max(opened + std::time::Duration::from_millis(lasts));
        let bytes = if established { 100 } else { 0 };
        self.tell(
            closed,
            Input::Closed(Closed {
                connection: id,
                time: closed,
                client_bytes: bytes,
                server_bytes: bytes,
                both_fin: established,
                client_closed_first: true,
                established,
                no_request: false,
                unread: false,
                retransmits: 0,
            }),
        );
    }

    /// A port that no other connection of the scene has, nor the next one up.
    pub(crate) fn next_port(&self) -> u16 {
        10_000 + 2 * u16::try_from(self.next_connection).unwrap()
    }

    /// An address outside the pod.
    pub(crate) fn elsewhere(&self, pod: usize) -> IpAddr {
        let address = if self.pods[pod].v6 {
            "fd77::55"
        } else {
            "10.2.0.55"
        };
        address.parse().unwrap()
    }
}
