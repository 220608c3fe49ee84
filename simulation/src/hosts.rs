//! The hosts of requests that an app of the node receives: there it is seen with which they were sent.

use meshwitness::{ledger::Input, record::Side};

use crate::{
    case::Case,
    log::Damage,
    pod::Kind,
    scene::Scene,
    transaction::{Logged, Transaction},
};

impl Scene {
    /// A client's request goes to an app of another pod, perhaps, whose sidecar may replace its
    /// host, too.
    pub(crate) fn hand_on(&mut self, pod: usize, side: Side, case: Case, sent: &mut Transaction) {
        let is_whole = matches!(case, Case::Plain | Case::HostReplaced);
        let may_be = side == Side::Client && is_whole && !sent.undecoded;
        let to = (0..self.pods.len()).find(|other| self.may_receive(pod, *other));
        let Some(to) = to.filter(|_| may_be && self.random.chance(50)) else {
            return;
        };
        let since = self.truth.since;
        let wire = self.wire(to, Side::Server, sent.begun);
        sent.logged.upstream_host = Some(wire.destination);
        let begun = sent.begun + self.random.micros(1, 20);
        let mut received = Transaction {
            number: 0,
            stream: None,
            begun: self.moment(begun),
            reasons: Vec::new(),
            differences: Vec::new(),
            logged: Logged {
                protocol: "HTTP/1.1",
                upstream_host: None,
                started: sent.begun,
                ..sent.logged.clone()
            },
            ..sent.clone()
        };
        let began = received.begun;
        received.request_ended = received.request_ended.map(|ended| ended.max(began));
        let is_replaced = self.random.chance(25);
        if is_replaced {
            received.logged.authority = Some("inner".into());
        }
        if let (Some(head), Some(host)) = (&mut received.head, &received.logged.authority) {
            head.authority.clone_from(host);
            head.path = received.logged.path.clone().unwrap_or_default();
            head.request_id.clone_from(&received.logged.request_id);
        }
        sent.host_is_seen = !is_replaced;
        let opened = Input::Opened(Box::new(wire.connection(&self.pods[to])));
        self.tell(wire.opened, opened);
        self.exchange(&wire, &received);
        self.log(to, &wire, &received, None);
        let bytes = received.reply.as_ref().map_or(0, |reply| reply.bytes);
        let closed = wire.closed(received.ended, (received.request_bytes + 100, bytes + 100));
        let told = received.ended + self.random.micros(1, 3_000);
        self.tell(told, Input::Closed(closed));
        self.truth.since = since;
    }

    fn may_receive(&self, pod: usize, other: usize) -> bool {
        let is_meshed = self.pods[other].kind == Kind::Meshed;
        let same_family = self.pods[other].v6 == self.pods[pod].v6;
        other != pod && is_meshed && same_family && self.logs[other].damage == Damage::None
    }
}
