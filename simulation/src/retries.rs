//! Requests that a proxy tries several times at its app, and writes one line about.

use std::time::Duration;

use meshwitness::{
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    leg::Leg,
    manner::Manner,
    scene::{BEGIN, Scene},
    sinks::Beside,
    traffic::SPAN_MILLISECONDS,
    transaction::{Reply, Transaction},
    truth::{Likeness, Statement},
};

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered(u16),
    /// The app closes its connection.
    Reset,
    /// The proxy gives up; the app may go on.
    TimedOut,
}

const FAILURES: [Fate; 5] = [
    Fate::Answered(503),
    Fate::Answered(503),
    Fate::Answered(429),
    Fate::Reset,
    Fate::TimedOut,
];

/// How the request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Failed,
    TimedOut,
    Reset,
    /// After these attempts the app could not be reached any more.
    Unreachable,
}

const OUTCOMES: [Outcome; 7] = [
    Outcome::Answered,
    Outcome::Answered,
    Outcome::Answered,
    Outcome::Failed,
    Outcome::TimedOut,
    Outcome::Reset,
    Outcome::Unreachable,
];

/// An exchange that shares the request's x-request-id, which its client chose, and is no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Impostor {
    /// Nobody tries again what was answered well.
    Answered,
    OtherPath,
    OtherMethod,
    /// It began before the line's request.
    TooEarly,
    /// It began after the last attempt.
    TooLate,
    /// The line counts its attempts, and this is one more.
    OneTooMany,
}

const IMPOSTORS: [Impostor; 6] = [
    Impostor::Answered,
    Impostor::OtherPath,
    Impostor::OtherMethod,
    Impostor::TooEarly,
    Impostor::TooLate,
    Impostor::OneTooMany,
];

/// The attempts at one request.
struct Attempts {
    /// Each with its connection, in their order.
    made: Vec<(usize, Transaction)>,
    legs: Vec<Leg>,
    /// Over HTTP/2.
    multiplexed: bool,
    /// START_TIME.
    started: Timestamp,
    /// When the proxy was done with the last.
    done: Timestamp,
    /// Each had ended when the next began.
    in_order: bool,
}

impl Scene {
    pub(crate) fn retried_requests(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 3) {
            let outcome = *self.random.pick(&OUTCOMES);
            let least = if outcome == Outcome::Answered { 1 } else { 2 };
            let count = self.random.between(least, 4);
            self.retried_request(pod, outcome, u32::try_from(count).unwrap());
        }
    }

    fn retried_request(&mut self, pod: usize, outcome: Outcome, count: u32) {
        let attempts = self.attempts(pod, outcome, count);
        let impostor = *self.random.pick(&IMPOSTORS);
        let mut impostor = self.random.chance(40).then_some(impostor);
        // It would take the place of an attempt that ends after the line.
        let takes_a_place = impostor == Some(Impostor::OneTooMany) && !attempts.in_order;
        let no_duration = self.logs[pod].beside == Beside::Shorter;
        if takes_a_place || no_duration || matches!(outcome, Outcome::TimedOut | Outcome::Reset) {
            impostor = None;
        }
        // Where no connection came about, that counts as well.
        let exactly = count + u32::from(outcome == Outcome::Unreachable);
        let counted = match impostor {
            Some(Impostor::OneTooMany) => Some(exactly),
            _ if self.random.chance(70) => None,
            _ => Some(exactly + u32::from(self.random.chance(30))),
        };
        if let Some(impostor) = impostor {
            self.impostor(pod, impostor, &attempts);
        }
        self.truth.since = attempts.started;
        let uid = self.pods[pod].uid.clone();
        let mut likenesses = Vec::new();
        for (leg, attempt) in &attempts.made {
            // The line of one that was cut off fits whatever was answered before.
            let status = match outcome {
                Outcome::TimedOut | Outcome::Reset => 0,
                _ => attempt.logged.status,
            };
            let id = attempts.legs[*leg].wire.id;
            let name = format!("#{id} attempt {:?} {status}", attempt.logged.request_id);
            let likeness = self.truth.likeness(name);
            self.truth.observed(&uid, attempt.begun, likeness);
            likenesses.push(likeness);
        }
        let copied = self.line_of_attempts(pod, outcome, &attempts, (counted, &mut likenesses));
        for likeness in likenesses {
            let matched = Statement::new(Verdict::Matched, Side::Server).observed(likeness);
            let retried = matched.clone().because(Reason::Retried);
            let mut ways = vec![vec![retried.clone()]];
            if let Some(copy) = copied {
                ways.extend([retried, matched].map(|it| vec![it.logged(copy)]));
            }
            self.truth.expect_one_of(ways);
        }
        for leg in &attempts.legs {
            self.close_leg(leg);
        }
    }

    /// The attempts happen, and are seen.
    fn attempts(&mut self, pod: usize, outcome: Outcome, count: u32) -> Attempts {
        let (begin, request) = self.request_to_try();
        let mut attempts = Attempts {
            made: Vec::new(),
            legs: Vec::new(),
            multiplexed: self.random.chance(40),
            started: begin - self.random.micros(20, 1_500),
            done: begin,
            in_order: true,
        };
        for number in 1..=count {
            let fate = match outcome {
                Outcome::Answered if number == count => Fate::Answered(200),
                Outcome::Failed if number == count => Fate::Answered(503),
                Outcome::TimedOut if number == count => Fate::TimedOut,
                Outcome::Reset if number == count => Fate::Reset,
                _ => *self.random.pick(&FAILURES),
            };
            let longest = *self.random.pick(&[2_000, 250_000]);
            let pause = self.random.micros(1, longest);
            let begin = if number == 1 {
                begin
            } else {
                attempts.done + pause
            };
            let leg = self.leg_for(pod, &mut attempts.legs, attempts.multiplexed, begin);
            self.attempt(&mut attempts, leg, &request, begin, fate);
            attempts.in_order &= attempts.legs[leg].free <= attempts.done;
        }
        if outcome == Outcome::Unreachable {
            attempts.done = attempts.done + self.random.micros(50, 300_000);
        }
        attempts
    }

    /// A request to an app that is sent more than once, and about when it is for the first time.
    pub(crate) fn request_to_try(&mut self) -> (Timestamp, Transaction) {
        let begin = BEGIN + self.random.millis(200, SPAN_MILLISECONDS);
        let manner = Manner {
            same_path: false,
            ..Manner::first()
        };
        (begin, self.transaction(0, Side::Server, &manner, begin))
    }

    /// A connection that may take one more at this moment.
    pub(crate) fn leg_for(
        &mut self,
        pod: usize,
        legs: &mut Vec<Leg>,
        multiplexed: bool,
        begin: Timestamp,
    ) -> usize {
        let free = |leg: &Leg| !leg.spent && (multiplexed || leg.free <= begin);
        if self.random.chance(50)
            && let Some(at) = legs.iter().position(free)
        {
            return at;
        }
        let opened = begin - self.random.micros(30, 400);
        let mut leg = self.open_leg(pod, Side::Server, opened);
        leg.multiplexed = multiplexed;
        legs.push(leg);
        legs.len() - 1
    }

    fn attempt(
        &mut self,
        attempts: &mut Attempts,
        leg: usize,
        request: &Transaction,
        begin: Timestamp,
        fate: Fate,
    ) {
        let mut attempt = request.clone();
        attempt.begun = self.moment(begin);
        let sent = attempt.begun + request.request_ended.unwrap().since(request.begun);
        attempt.request_ended = Some(sent);
        let reply = attempt.reply.as_mut().unwrap();
        let slowest = *self.random.pick(&[300, 30_000, 900_000]);
        reply.answered = sent + self.random.micros(30, slowest);
        attempt.ended = reply.answered + self.random.micros(0, 2_000);
        attempts.done = attempt.ended;
        match fate {
            Fate::Answered(status) => {
                (reply.status, attempt.logged.status) = (status, status);
                reply.ended = Some(attempt.ended);
            }
            Fate::Reset => {
                (attempt.reply, attempt.logged.status) = (None, 0);
                attempts.legs[leg].spent = !attempts.multiplexed;
            }
            Fate::TimedOut => {
                attempts.done = sent + self.random.millis(2, 500);
                attempt.logged.status = 504;
                attempt.ended = attempts.done;
                // It resets a stream.
                if !attempts.multiplexed && self.random.chance(60) {
                    // Answered before the next attempt it would be no failure.
                    attempt.ended = attempts.done + self.random.millis(310, 20_000);
                    (reply.answered, reply.status) = (attempt.ended, 200);
                    reply.ended = Some(attempt.ended);
                }
                if attempt.ended == attempts.done || self.random.chance(50) {
                    attempt.reply = None;
                }
                attempts.legs[leg].spent = !attempts.multiplexed;
            }
        }
        self.carry(&mut attempts.legs[leg], &mut attempt);
        attempts.made.push((leg, attempt));
    }

    /// The line about all of the attempts; takes out the one that it names. Returns its copy, if
    /// another attempt may have that for its own line.
    fn line_of_attempts(
        &mut self,
        pod: usize,
        outcome: Outcome,
        attempts: &Attempts,
        (counted, likenesses): (Option<u32>, &mut Vec<Likeness>),
    ) -> Option<Likeness> {
        let (leg, named) = attempts.made.last().unwrap();
        let wire = &attempts.legs[*leg].wire;
        let mut logged = named.logged.clone();
        logged.started = attempts.started;
        logged.made = attempts.done + self.random.micros(1, 1_500);
        let reset = "upstream_reset_before_response_started";
        (logged.flags, logged.details) = match outcome {
            Outcome::Answered => (None, "via_upstream"),
            Outcome::Failed => (Some("URX"), "via_upstream"),
            Outcome::TimedOut => (Some("UT"), "response_timeout"),
            Outcome::Reset => (Some("UC"), reset),
            Outcome::Unreachable => (Some("UF,URX"), reset),
        };
        if !matches!(outcome, Outcome::Answered | Outcome::Failed) {
            (logged.status, logged.response_bytes) = (503, 24);
        }
        logged.upstream = outcome != Outcome::Unreachable;
        let mut entry = logged.entry(wire);
        entry.attempts = counted;
        if outcome == Outcome::Unreachable {
            let peer = self.network_connection(pod, attempts.started);
            self.truth.since = attempts.started;
            entry.downstream_remote_address = Some(peer);
            let says = Statement::new(Verdict::ProxyAnswered, Side::Server);
            self.line_alone(pod, logged.made, entry, says);
            return None;
        }
        let others = &attempts.made[..attempts.made.len() - 1];
        // The line of one that was cut off may go to an earlier one of the same connection.
        let is_sure = named.ended <= attempts.done;
        let has_ended = |(_, other): &(usize, Transaction)| other.ended <= attempts.done;
        // Of one that was answered late it is known once the next has ended, too.
        let is_sure = is_sure && attempts.in_order;
        // One among many may have a line of its own in the same flush.
        let is_cut_off = matches!(outcome, Outcome::TimedOut | Outcome::Reset);
        let is_sure = is_sure && !(is_cut_off && attempts.multiplexed);
        let is_known =
            is_sure && others.iter().any(has_ended) || counted.is_some_and(|count| count > 1);
        let likeness = likenesses.pop().unwrap();
        let matched = Statement::new(Verdict::Matched, Side::Server);
        let matched = matched.observed(likeness).logged(likeness);
        let retried = matched.clone().because(Reason::Retried);
        let ways = match (others.is_empty(), is_known) {
            (_, true) => vec![vec![retried]],
            (true, false) => vec![vec![matched]],
            // The others may end when the line has been judged.
            (false, false) => vec![vec![retried], vec![matched]],
        };
        self.truth.expect_one_of(ways);
        self.write(pod, logged.made, entry, likeness, Some(Side::Server));
        if others.is_empty() || !self.logs[pod].beside.is_doubled() {
            return None;
        }
        // While it is open whether the log doubles its lines, the copy need not be told as one.
        self.truth.expected.last_mut()?.ways.push(Vec::new());
        Some(likeness)
    }

    /// An exchange without a line, which nothing may excuse.
    fn impostor(&mut self, pod: usize, impostor: Impostor, attempts: &Attempts) {
        let (first, named) = (&attempts.made[0].1, &attempts.made.last().unwrap().1);
        let mut exchange = first.clone();
        let head = exchange.head.as_mut().unwrap();
        let window = named.begun.since(first.begun);
        let mut lasts = self.random.micros(20, 5_000);
        let begin = match impostor {
            Impostor::Answered => {
                let second = attempts.made.get(1).map_or(named, |(_, second)| second);
                lasts = second.begun.since(first.begun) * 4 / 5;
                first.begun + Duration::from_micros(1)
            }
            Impostor::OtherPath => {
                head.path = "/other".into();
                first.begun + window / 2
            }
            Impostor::OtherMethod => {
                head.method = "DELETE";
                first.begun + window / 2
            }
            Impostor::TooEarly => attempts.started - self.random.micros(4_000, 50_000),
            Impostor::TooLate => attempts.done + self.random.micros(2_000, 500_000),
            Impostor::OneTooMany => first.begun - Duration::from_micros(10),
        };
        exchange.begun = self.moment(begin);
        exchange.ended = exchange.begun + lasts;
        exchange.request_ended = Some(exchange.begun);
        exchange.reply = Some(Reply {
            answered: exchange.ended,
            status: if impostor == Impostor::Answered {
                200
            } else {
                503
            },
            ended: Some(exchange.ended),
            bytes: 10,
            upgraded: false,
            grpc_status: None,
        });
        let mut leg = self.open_leg(pod, Side::Server, begin - Duration::from_micros(100));
        self.carry(&mut leg, &mut exchange);
        self.close_leg(&leg);
        let likeness = self.truth.unlike(&format!("{impostor:?}"));
        let uid = self.pods[pod].uid.clone();
        self.truth.observed(&uid, exchange.begun, likeness);
        let unlogged = Statement::new(Verdict::Unlogged, Side::Server);
        self.truth.expect(vec![unlogged.observed(likeness)]);
    }
}
