//! Requests that a client's sidecar sends several times at once, as shadows or hedges: the server's
//! has a line for each, written in any order.

use meshwitness::record::{Reason, Side, Verdict};

use crate::{scene::Scene, truth::Statement};

const FAILED: u16 = 503;

impl Scene {
    pub(crate) fn shadowed_requests(&mut self, pod: usize) {
        for _ in 0..self.random.between(0, 2) {
            self.shadowed_request(pod);
        }
    }

    fn shadowed_request(&mut self, pod: usize) {
        let (mut began, request) = self.request_to_try();
        // Where each is written twice, two that are alike on one connection may pass for copies.
        let is_doubled = self.logs[pod].beside.is_doubled();
        let multiplexed = self.random.chance(50) && !is_doubled;
        let mut legs = Vec::new();
        let apart = *self.random.pick(&[50, 500, 20_000]);
        let slowest = *self.random.pick(&[300, 2_000, 100_000]);
        let mut any_failed = false;
        for _ in 0..self.random.between(2, 4) {
            let status = *self.random.pick(&[200, 200, 200, FAILED]);
            began = began + self.random.micros(1, apart);
            let mut sent = self.tried_once(&request, began, status, slowest);
            if is_doubled {
                legs.drain(..).for_each(|leg| self.close_leg(&leg));
            }
            let (leg, likeness) = self.received_once(pod, &mut sent, (&mut legs, multiplexed));
            any_failed |= status == FAILED;
            let matched = Statement::new(Verdict::Matched, Side::Server);
            let matched = matched.observed(likeness).logged(likeness);
            let mut ways = vec![vec![matched.clone()]];
            if any_failed {
                // For all that is seen, it was sent again once another had failed.
                ways.push(vec![matched.because(Reason::Retried)]);
            }
            self.truth.expect_one_of(ways);
            let (made, entry) = (sent.logged.made, sent.logged.entry(&legs[leg].wire));
            // An HTTP/1 connection is used again once the line is made.
            legs[leg].free = legs[leg].free.max(made);
            self.write(pod, made, entry, likeness, Some(Side::Server));
        }
        for leg in &legs {
            self.close_leg(leg);
        }
    }
}
