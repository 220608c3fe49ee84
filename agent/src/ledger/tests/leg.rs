//! Which line goes to which exchange of one connection at once, without waiting for the rest.

use std::time::Duration;

use super::{Scene, entry, fingerprint, get};
use crate::{
    http::Connection,
    ledger::{
        Exchange, Line,
        leg::{Begun, Horizon, Leg, Settled},
    },
    record::Side,
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);

/// A leg whose exchanges begin every ten milliseconds and last three.
struct Traffic {
    scene: Scene,
    connection: Connection,
    side: Side,
    leg: Leg,
    number: u32,
}

impl Traffic {
    fn new(side: Side) -> Self {
        let mut scene = Scene::new();
        let connection = match side {
            Side::Server => scene.server_leg(),
            _ => scene.client_leg(),
        };
        Self {
            scene,
            connection,
            side,
            leg: Leg::new(side),
            number: 0,
        }
    }

    fn begin(&mut self, path: &str) -> Exchange {
        let time = self.scene.now;
        let end = time + Duration::from_millis(3);
        let exchange = super::exchange(1, self.number, time, end, &get(path));
        self.leg.begin(Begun {
            number: self.number,
            stream: None,
            time,
        });
        self.number += 1;
        self.scene.pass(Duration::from_millis(10));
        exchange
    }

    fn exchange(&mut self, path: &str) -> Exchange {
        let exchange = self.begin(path);
        assert!(self.leg.end(Box::new(exchange.clone())));
        exchange
    }

    fn line(&self, exchange: &Exchange, path: &str) -> Box<Line> {
        let line = self
            .scene
            .line(self.side, &self.connection, exchange, &get(path));
        Box::new(line)
    }

    /// A line that nothing on this connection agrees with.
    fn invented(&self, exchange: &Exchange) -> Box<Line> {
        self.line(exchange, "/invented")
    }

    /// The numbers of the exchanges that find their lines now.
    fn pair(&mut self) -> Vec<u32> {
        self.pair_known(Timestamp::MAX)
    }

    fn pair_known(&mut self, captured: Timestamp) -> Vec<u32> {
        let mut settled = Vec::new();
        self.leg.pair(captured, &mut settled);
        let numbers = settled.iter().map(|item| match item {
            Settled::Pair { exchange, .. } | Settled::Late { exchange, .. } => exchange.exchange,
            other => panic!("expected a pair, got {other:?}"),
        });
        numbers.collect()
    }

    /// Accuses an exchange, as if no line had come for it.
    fn accuse(&mut self, exchange: &Exchange) {
        self.leg.take(exchange.exchange).unwrap();
        self.leg.accuse(Box::new(exchange.clone()), "r".into());
    }
}

#[test]
fn an_exchange_is_known_by_its_number() {
    let mut traffic = Traffic::new(Side::Client);
    let first = traffic.begin("/0");
    let second = traffic.begin("/1");
    assert_eq!(traffic.leg.began(1), Some(second.time));
    assert_eq!(traffic.leg.began(2), None);
    for exchange in [&first, &second] {
        traffic.leg.end(Box::new(exchange.clone()));
    }
    assert!(!traffic.leg.end(Box::new(first.clone())), "it ended before");
    assert_eq!(traffic.leg.began(1), None);
    let ended = |by| traffic.leg.ended_by(by).count();
    assert_eq!((ended(second.end - MOMENT), ended(second.end)), (1, 2));
    traffic.accuse(&first);
    traffic.accuse(&second);
    assert_eq!(traffic.leg.accused(1), Some(&second));
    assert_eq!(traffic.leg.accused(2), None);
    assert_eq!(traffic.leg.acquit(1).unwrap().0.exchange, 1);
    assert!(traffic.leg.has_accused());
    assert_eq!(traffic.leg.acquit(0).unwrap().0.exchange, 0);
    assert!(!traffic.leg.has_accused());
}

#[test]
fn a_leg_is_settled_when_nothing_waits() {
    let mut traffic = Traffic::new(Side::Client);
    assert!(traffic.leg.is_settled());
    let exchange = traffic.begin("/0");
    let goes_on = |leg: &Leg, at| leg.has_open(|from, to| from <= at && at <= to);
    let later = exchange.end + Duration::from_secs(60);
    assert!(!traffic.leg.is_settled() && goes_on(&traffic.leg, later));
    traffic.leg.end(Box::new(exchange.clone()));
    assert!(!traffic.leg.is_settled() && !goes_on(&traffic.leg, later));
    assert!(goes_on(&traffic.leg, exchange.end));
    traffic.accuse(&exchange);
    assert!(traffic.leg.is_settled() && !goes_on(&traffic.leg, exchange.end));
    let line = traffic.invented(&exchange);
    traffic.leg.place(line);
    assert!(!traffic.leg.is_settled());
}

#[test]
fn late_lines_go_to_the_accused_in_their_order() {
    // Whichever was accused first.
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut traffic = Traffic::new(Side::Client);
        let exchanges: Vec<_> = (0..4).map(|_| traffic.exchange("/same")).collect();
        for at in order {
            traffic.accuse(&exchanges[at]);
        }
        // A proxy writes the lines of a connection in order: that of the second, then none of
        // the first.
        for (line, expected) in [(1, vec![1]), (0, vec![])] {
            let line = traffic.line(&exchanges[line], "/same");
            traffic.leg.place(line);
            assert_eq!(traffic.pair(), expected, "{order:?}");
        }
    }
    let mut traffic = Traffic::new(Side::Client);
    let exchanges = [traffic.exchange("/0"), traffic.exchange("/1")];
    traffic.accuse(&exchanges[0]);
    for (number, expected) in [(1, vec![1]), (0, vec![])] {
        let line = traffic.line(&exchanges[number], &format!("/{number}"));
        traffic.leg.place(line);
        assert_eq!(traffic.pair(), expected);
    }
}

#[test]
fn a_line_that_was_passed_over_stays_behind() {
    let mut traffic = Traffic::new(Side::Client);
    let first = traffic.exchange("/0");
    let second = traffic.begin("/1");
    let early = traffic.line(&second, "/1");
    let line = traffic.line(&first, "/0");
    traffic.leg.place(early);
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [0]);
    traffic.leg.end(Box::new(second));
    assert_eq!(traffic.pair(), [] as [u32; 0]);
}

#[test]
fn behind_a_line_that_fits_nothing_only_what_is_certain_is_paired() {
    let same = |alike: usize| {
        let mut traffic = Traffic::new(Side::Client);
        let odd = traffic.exchange("/odd");
        let exchanges: Vec<_> = (0..alike).map(|_| traffic.exchange("/same")).collect();
        let edited = traffic.invented(&odd);
        traffic.leg.place(edited);
        (traffic, exchanges)
    };
    // Everything that was sent before the line must be known.
    let (mut traffic, exchanges) = same(1);
    let line = traffic.line(&exchanges[0], "/same");
    let stamp = line.time;
    traffic.leg.place(line);
    assert_eq!(traffic.pair_known(stamp), [] as [u32; 0]);
    assert_eq!(traffic.pair_known(stamp + MOMENT), [1]);
    // Of two that it agrees with, the one that lies in its time.
    let (mut traffic, exchanges) = same(2);
    let line = traffic.line(&exchanges[0], "/same");
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [1]);
    // Of two that lie in its time, either may be it.
    let (mut traffic, exchanges) = same(2);
    let mut line = traffic.line(&exchanges[0], "/same");
    entry(&mut line).start_time = Some(exchanges[0].end + Duration::from_millis(1));
    entry(&mut line).start_time_precision_nanoseconds = 10_000_000;
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [] as [u32; 0]);
    // And the only one must lie in its time.
    let (mut traffic, exchanges) = same(1);
    let mut line = traffic.line(&exchanges[0], "/same");
    entry(&mut line).start_time = Some(exchanges[0].end + Duration::from_secs(1));
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [] as [u32; 0]);
}

#[test]
fn the_first_in_time_is_taken_where_nothing_was_passed_over() {
    let mut traffic = Traffic::new(Side::Client);
    let exchanges = [traffic.exchange("/same"), traffic.exchange("/same")];
    let line = traffic.line(&exchanges[1], "/same");
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [1]);
}

#[test]
fn the_requests_id_proves_it_out_of_time_and_behind_others() {
    for passed in [false, true] {
        let mut traffic = Traffic::new(Side::Client);
        let odd = traffic.exchange("/odd");
        if passed {
            let edited = traffic.invented(&odd);
            traffic.leg.place(edited);
        }
        for _ in 0..2 {
            let mut exchange = traffic.begin("/same");
            exchange.request_id = Some(fingerprint(&exchange.exchange.to_string()));
            traffic.leg.end(Box::new(exchange));
        }
        let mut line = traffic.line(&odd, "/same");
        entry(&mut line).request_id = Some(fingerprint("2"));
        traffic.leg.place(line);
        assert_eq!(traffic.pair(), [2]);
    }
}

#[test]
fn what_the_proxy_may_have_rewritten_is_not_paired_at_once() {
    let mut traffic = Traffic::new(Side::Server);
    let exchange = traffic.exchange("/a");
    let line = traffic.line(&exchange, "/rewritten");
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [] as [u32; 0]);
}

#[test]
fn many_lines_that_fit_nothing_leave_an_exchange_to_each() {
    const EDITED: u32 = 64;
    let mut traffic = Traffic::new(Side::Client);
    let first = traffic.exchange("/first");
    let line = traffic.line(&first, "/first");
    traffic.leg.place(line);
    let exchanges: Vec<_> = (0..=EDITED).map(|_| traffic.exchange("/same")).collect();
    for exchange in &exchanges[..EDITED as usize] {
        let edited = traffic.invented(exchange);
        traffic.leg.place(edited);
    }
    let mut line = traffic.line(&exchanges[EDITED as usize], "/same");
    // Its time would fit all of them.
    entry(&mut line).start_time = None;
    traffic.leg.place(line);
    assert_eq!(traffic.pair(), [0, EDITED + 1]);
}

#[test]
fn a_line_that_may_be_older_holds_up_none_behind_it() {
    let mut traffic = Traffic::new(Side::Client);
    let older = traffic.exchange("/same");
    let mut older = traffic.line(&older, "/same");
    entry(&mut older).start_time = Some(Timestamp::default());
    traffic.leg.place_older(older);
    let exchanges: Vec<_> = (1..4).map(|_| traffic.exchange("/same")).collect();
    for exchange in &exchanges {
        let line = traffic.line(exchange, "/same");
        traffic.leg.place(line);
    }
    assert_eq!(traffic.pair().len(), 3);
}

/// What nothing agrees with is not compared again for each that comes: it would never catch up.
#[test]
fn where_nothing_agrees_pairing_waits_for_its_settlement() {
    let mut traffic = Traffic::new(Side::Client);
    for _ in 0..300 {
        let lost = traffic.begin("/lost");
        traffic.leg.place(traffic.invented(&lost));
        traffic.exchange("/without-line");
        assert!(traffic.pair().is_empty());
    }
    let id = Some(fingerprint("r1"));
    let last = Exchange {
        request_id: id,
        ..traffic.begin("/last")
    };
    traffic.leg.end(Box::new(last.clone()));
    let mut line = traffic.line(&last, "/last");
    entry(&mut line).request_id = id;
    traffic.leg.place(line);
    assert!(traffic.pair().is_empty());
    let mut settled = Vec::new();
    let before = Timestamp::default();
    let horizon = Horizon {
        exchanges: before,
        lines: before,
        captured: Timestamp::MAX,
        grace: Duration::ZERO,
    };
    traffic.leg.settle(horizon, &|_| true, &mut settled);
    let [Settled::Pair { exchange, .. }] = &settled[..] else {
        panic!("expected a pair, got {settled:?}");
    };
    assert_eq!(exchange.exchange, last.exchange);
}
