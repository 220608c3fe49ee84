//! Lines behind X-Forwarded-For, and the exchanges that they may be of.

use std::time::Duration;

use super::{Scene, entry, get};
use crate::{
    ledger::{Exchange, Line, forwarded::Forwarded},
    record::Side,
    timestamp::Timestamp,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000 + seconds)
}

fn exchange(number: u32, from: u64, to: u64) -> Exchange {
    super::exchange(1, number, at(from), at(to), &get("/"))
}

/// A line of a request that began at this moment.
fn line(start: Timestamp) -> Box<Line> {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let mut line = scene.line(Side::Client, &leg, &exchange(0, 0, 1), &get("/"));
    line.time = start;
    let fields = entry(&mut line);
    fields.start_time = Some(start);
    fields.start_time_precision_nanoseconds = 0;
    Box::new(line)
}

#[test]
fn what_is_alike_is_interchangeable_for_a_second_after_its_end() {
    let second = at(1) + Duration::from_secs(1);
    for (start, expected) in [(second, 0), (second + Duration::from_nanos(1), 1)] {
        let mut forwarded = Forwarded::default();
        let asked = Some("10.0.0.9:8080".parse().unwrap());
        for exchange in [exchange(0, 0, 1), exchange(1, 0, 60)] {
            forwarded.add_exchange(asked, &exchange);
        }
        forwarded.add_line(line(start));
        let taken = forwarded.take_due(start, |_| true, |_, _| true);
        let [(_, Some(partner))] = &taken[..] else {
            panic!("one pair: {taken:?}")
        };
        assert_eq!(partner.exchange, expected);
        assert_eq!(forwarded.lines(), 0);
    }
}

#[test]
fn the_only_line_in_the_time_of_an_exchange_is_taken() {
    let mut forwarded = Forwarded::default();
    for start in [at(0), at(100)] {
        forwarded.add_line(line(start));
    }
    let exchange = exchange(0, 0, 1);
    assert!(forwarded.take_only(&exchange, |_| false).is_none());
    let taken = forwarded.take_only(&exchange, |_| true).unwrap();
    assert_eq!((taken.time, forwarded.lines()), (at(0), 1));
    for _ in 0..2 {
        forwarded.add_line(line(at(0)));
    }
    assert!(forwarded.take_only(&exchange, |_| true).is_none(), "two");
    assert_eq!(forwarded.lines(), 3);
}
