//! Connections that carry many requests at once (HTTP/2), and the lines about them.

use std::time::Duration;

use meshwitness::{
    ledger::Input,
    record::{Reason, Side},
    timestamp::Timestamp,
};

use crate::{
    case::Case,
    log::Damage,
    losses::{Loss, Losses},
    manner::Manner,
    random::Random,
    scene::Scene,
    tampering::Tampering,
    transaction::{Head, Transaction},
};

/// What becomes of a stream.
const AT_THE_CLIENT: [Case; 7] = [
    Case::PathNormalized,
    Case::HostReplaced,
    Case::ClientLeft,
    Case::EarlyAnswer,
    Case::LocalReply,
    Case::HeadRefused,
    Case::UpstreamReset,
];

const AT_THE_SERVER: [Case; 6] = [
    Case::PathRewritten,
    Case::Compressed,
    Case::ClientLeft,
    Case::EarlyAnswer,
    Case::TimedOut,
    Case::UpstreamReset,
];

/// How the streams of a connection are.
struct Kind {
    at_once: bool,
    count: u32,
    grpc: bool,
    /// The head of one was refused.
    refused: bool,
    /// So many percent have fields that cannot be decoded.
    undecoded: u64,
    /// All faults of a connection are of one kind: a line that is missing beside one that is
    /// invented is one that was edited.
    tampering: Option<Tampering>,
}

impl Kind {
    fn any(manner: &Manner, random: &mut Random) -> Self {
        let tampering = Tampering::any(!manner.odd, random);
        // Without a path only its id tells one from another.
        let may_be_undecoded = !manner.forwarded && (manner.same_path || manner.gives_ids);
        let undecoded = match may_be_undecoded && random.chance(30) {
            true => *random.pick(&[10, 50, 100]),
            false => 0,
        };
        let at_once = random.chance(80);
        Self {
            at_once,
            count: match at_once {
                true => *random.pick(&[3, 10, 30, 100]),
                false => *random.pick(&[1, 3, 12]),
            },
            grpc: random.chance(30),
            refused: false,
            undecoded,
            tampering: (manner.tampered > 0 && undecoded == 0).then_some(tampering),
        }
    }
}

impl Scene {
    /// A connection in this manner.
    pub(crate) fn streams(&mut self, pod: usize, side: Side, begin: Timestamp, manner: &Manner) {
        let mut kind = Kind::any(manner, &mut self.random);
        let wire = self.wire(pod, side, begin);
        let opened = Input::Opened(Box::new(wire.connection(&self.pods[pod])));
        let mut now = begin + self.random.micros(20, 2_000);
        self.tell(now, opened);
        let (mut bytes, mut last) = ((0, 0), now);
        let (mut losses, mut seen, mut tampered) = (Losses::new(manner, self.cause), 0, false);
        for number in 0..kind.count {
            let mut stream = self.transaction(number, side, manner, now);
            let case = self.stream(pod, &mut stream, side, manner, &mut kind);
            last = last.max(stream.ended);
            now = match kind.at_once {
                true => stream.begun + self.random.micros(1, 400),
                false => stream.ended + manner.pause(&mut self.random),
            };
            bytes.0 += stream.request_bytes + 100;
            bytes.1 += stream.reply.as_ref().map_or(0, |reply| reply.bytes) + 100;
            let is_tampered = self.random.chance(manner.tampered);
            let mut tampering = kind.tampering.filter(|_| is_tampered);
            if let Some(Tampering::Edited(_) | Tampering::Repeated) = tampering {
                // Which of two that were edited is which, nothing tells, and a log in which most
                // lines are repeated has two sinks.
                tampering = tampering.filter(|_| !tampered && case == Case::Plain);
                tampered |= tampering.is_some();
            }
            match losses.next(case == Case::Plain, &mut self.random) {
                Some(Loss::Head(cause) | Loss::Rest(cause)) => {
                    self.lose(pod, &wire, &stream, (1, cause));
                    continue;
                }
                Some(Loss::Part(cause)) => {
                    (stream.gap, stream.request_ended) = (Some(cause), None);
                }
                None => self.hand_on(pod, side, case, &mut stream),
            }
            stream.carry(seen);
            seen += 1;
            self.exchange(&wire, &stream);
            self.log(pod, &wire, &stream, tampering);
        }
        let told = last + self.random.micros(1, 3_000);
        self.tell(told, Input::Closed(wire.closed(last, bytes)));
    }

    /// What becomes of a stream that began as a plain one.
    fn stream(
        &mut self,
        pod: usize,
        stream: &mut Transaction,
        side: Side,
        manner: &Manner,
        kind: &mut Kind,
    ) -> Case {
        let is_doubled = self.logs[pod].beside.is_doubled();
        let is_torn = self.logs[pod].damage == Damage::Holes;
        let random = &mut self.random;
        let cases = match side {
            Side::Client => AT_THE_CLIENT.as_slice(),
            _ => &AT_THE_SERVER,
        };
        let is_odd = manner.odd && !manner.same_path && random.chance(25);
        let case = match is_odd {
            true => *random.pick(cases),
            false => Case::Plain,
        };
        // Two lines without a request may be alike in all they say, as a line and its copy are.
        let case = match case {
            Case::HeadRefused if is_doubled || is_torn || kind.refused => Case::Plain,
            case => case,
        };
        if kind.grpc {
            let status = match manner.same_path {
                true => 0,
                false => *random.pick(&[0, 0, 5, 14]),
            };
            stream.call_grpc(status);
        }
        kind.refused |= case == Case::HeadRefused;
        case.apply(side, stream, random);
        stream.logged.protocol = "HTTP/2";
        stream.undecoded = case == Case::Plain && random.chance(kind.undecoded);
        case
    }
}

impl Transaction {
    /// The next stream of its connection carries it.
    pub(crate) fn carry(&mut self, number: u32) {
        self.number = number;
        self.stream = Some(2 * number + 1);
        let logged = &mut self.logged;
        match (logged.flags, logged.details) {
            (Some("DC"), _) => {
                (logged.flags, logged.details) = (Some("DR"), "http2.remote_reset");
            }
            (Some("DPE"), _) => {
                logged.flags = Some("DR");
                logged.details = "http2.header_list_size_too_large";
                (logged.status, logged.response_bytes, self.reply) = (0, 0, None);
                self.reasons.push(Reason::Aborted);
            }
            _ => {}
        }
    }

    fn call_grpc(&mut self, status: u32) {
        self.logged.method = Some("POST");
        self.logged.grpc_status = Some(status);
        if let Some(Head { method, .. }) = &mut self.head {
            *method = "POST";
        }
        if let Some(reply) = &mut self.reply {
            (reply.grpc_status, reply.status) = (Some(status), 200);
        }
        self.logged.status = 200;
    }

    /// Its app resets it, in the middle of its answer.
    pub(crate) fn reset_by_upstream(&mut self, random: &mut Random) {
        let logged = &mut self.logged;
        logged.flags = Some("UR");
        logged.details = "upstream_reset_after_response_started{remote_reset}";
        logged.grpc_status = logged.grpc_status.map(|_| 2);
        if let Some(reply) = &mut self.reply {
            (reply.ended, reply.grpc_status) = (None, None);
            reply.bytes = random.between(0, reply.bytes);
        }
        self.ended = self.ended + Duration::from_micros(random.between(0, 100));
    }
}
