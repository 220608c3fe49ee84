//! Requests that a client's sidecar tries several times: the server's has a line for each.

use meshwitness::{
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    leg::Leg,
    scene::Scene,
    sinks::Beside,
    transaction::Transaction,
    truth::{Likeness, Statement},
};

/// So far from each other, no line covers a neighbour.
const APART_MICROSECONDS: (u64, u64) = (10_000, 250_000);

impl Scene {
    pub(crate) fn requests_tried_again(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 2) {
            self.request_tried_again(pod);
        }
    }

    fn request_tried_again(&mut self, pod: usize) {
        let (mut now, request) = self.request_to_try();
        let (multiplexed, mut legs) = (self.random.chance(50), Vec::new());
        // A line without DURATION may cover all that was tried before it was written.
        let has_durations = self.logs[pod].beside != Beside::Shorter;
        let may_be_removed = has_durations && self.random.chance(30);
        let pauses = match may_be_removed {
            true => APART_MICROSECONDS,
            false => *self
                .random
                .pick(&[(1, 500), (1, 2_500), (1, 25_000), (1, 250_000)]),
        };
        let count = self.random.between(2, 5);
        for number in 1..=count {
            let is_answered = number == count && self.random.chance(50);
            let status = if is_answered { 200 } else { 503 };
            let attempt = self.tried_once(&request, now, status, 2_000);
            let done = attempt.ended.max(attempt.logged.made);
            now = done + self.random.micros(pauses.0, pauses.1);
            let is_removed = may_be_removed && self.random.chance(20);
            self.carried_once(pod, attempt, (&mut legs, multiplexed), is_removed);
        }
        for leg in &legs {
            self.close_leg(leg);
        }
    }

    /// The request as it was sent once: answered within so many microseconds.
    pub(crate) fn tried_once(
        &mut self,
        request: &Transaction,
        begun: Timestamp,
        status: u16,
        slowest: u64,
    ) -> Transaction {
        let mut attempt = request.clone();
        attempt.begun = self.moment(begun);
        let sent = attempt.begun + request.request_ended.unwrap().since(request.begun);
        attempt.request_ended = Some(sent);
        attempt.ended = sent + self.random.micros(30, slowest);
        let reply = attempt.reply.as_mut().unwrap();
        (reply.status, attempt.logged.status) = (status, status);
        (reply.answered, reply.ended) = (attempt.ended, Some(attempt.ended));
        attempt.logged.started = attempt.begun - self.random.micros(20, 1_500);
        attempt.logged.made = attempt.ended + self.random.micros(1, 1_500);
        attempt
    }

    /// It comes to the app: over which of the connections, and what it is like.
    pub(crate) fn received_once(
        &mut self,
        pod: usize,
        attempt: &mut Transaction,
        (legs, multiplexed): (&mut Vec<Leg>, bool),
    ) -> (usize, Likeness) {
        self.truth.since = attempt.logged.started;
        let leg = self.leg_for(pod, legs, multiplexed, attempt.begun);
        self.carry(&mut legs[leg], attempt);
        let likeness = self.likeness(pod, &legs[leg].wire, attempt);
        let uid = self.pods[pod].uid.clone();
        self.truth.observed(&uid, attempt.begun, likeness);
        (leg, likeness)
    }

    fn carried_once(
        &mut self,
        pod: usize,
        mut attempt: Transaction,
        (legs, multiplexed): (&mut Vec<Leg>, bool),
        is_removed: bool,
    ) {
        let (leg, likeness) = self.received_once(pod, &mut attempt, (legs, multiplexed));
        let wire = &legs[leg].wire;
        if is_removed {
            let unlogged = Statement::new(Verdict::Unlogged, Side::Server);
            self.truth.expect(vec![unlogged.observed(likeness)]);
            return;
        }
        let matched = Statement::new(Verdict::Matched, Side::Server);
        let matched = matched.observed(likeness).logged(likeness);
        let mut ways = vec![vec![matched.clone()]];
        if self.logs[pod].beside.is_doubled() {
            // Two that began in one millisecond have lines that are alike, as a line and its copy.
            let alone = Statement::new(Verdict::Matched, Side::Server);
            let retried = alone.clone().because(Reason::Retried).observed(likeness);
            let repeated = alone.because(Reason::Repeated).logged(likeness);
            ways.push(vec![matched.because(Reason::Retried)]);
            ways.push(vec![retried, repeated]);
        }
        self.truth.expect_one_of(ways);
        let (made, entry) = (attempt.logged.made, attempt.logged.entry(wire));
        self.write(pod, made, entry, likeness, Some(Side::Server));
    }
}
