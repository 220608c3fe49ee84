//! Whether a log writes its lines twice, as a sample of them tells.

use std::time::Duration;

use super::{Scene, entry, fingerprint, get, path};
use crate::{
    ledger::{Entry, Line, copies::Copies, told::Told},
    record::Side,
    timestamp::Timestamp,
};

const MOMENT: Duration = Duration::from_nanos(1);
const GRACE: Duration = Duration::from_secs(16);

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000 + seconds)
}

/// A line that no other is alike.
fn line(number: usize, time: Timestamp) -> Line {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let exchange = super::exchange(1, 0, time, time, &get("/"));
    let mut line = scene.line(Side::Client, &leg, &exchange, &get("/"));
    line.time = time;
    line.offset = number as u64;
    entry(&mut line).whole = Some(fingerprint(&number.to_string()));
    line
}

/// A log whose lines are all stamped 0 s: so many have a copy, so many have none.
fn log(doubles: usize, singles: usize) -> Copies {
    let mut copies = Copies::default();
    for number in 0..doubles + singles {
        let line = line(number, at(0));
        copies.first(&line, GRACE, false);
        if number < doubles {
            copies.copy(line.entry().unwrap());
        }
    }
    copies
}

#[test]
fn almost_all_or_almost_none_of_the_lines_have_a_copy() {
    for (doubles, singles, usual) in [
        (0, 0, None),
        (1, 0, None),
        (2, 0, Some(true)),
        (0, 1, Some(false)),
        (7, 1, Some(false)),
        (8, 1, Some(true)),
    ] {
        let found = log(doubles, singles).are_usual(at(0), at(60), GRACE);
        assert_eq!(found, usual, "{doubles} {singles}");
    }
}

#[test]
fn a_copy_waits_while_one_of_an_earlier_line_may_come() {
    let usual = |time, read_until| log(8, 1).are_usual(time, read_until, GRACE);
    assert_eq!(usual(at(0), at(0) + GRACE), Some(true));
    assert_eq!(usual(at(0), at(0) + GRACE - MOMENT), None);
    // What was written after it tells nothing of it.
    assert_eq!(usual(at(0) - MOMENT, at(0)), Some(true));
    let single = |read_until| log(0, 1).are_usual(at(0), read_until, GRACE);
    assert_eq!(single(at(0) + GRACE), Some(false));
    assert_eq!(single(at(0) + GRACE - MOMENT), None);
}

#[test]
fn a_hole_makes_singles_prove_nothing() {
    let mut copies = log(0, 9);
    copies.hole();
    assert_eq!(copies.are_usual(at(0), at(60), GRACE), None);
}

#[test]
fn each_of_the_lines_of_shadows_has_a_copy_of_its_own() {
    let lines = [0, 1, 2].map(|number| line(number, at(0)));
    let mut copies = Copies::default();
    lines
        .iter()
        .for_each(|line| copies.first(line, GRACE, false));
    for (number, mut line) in (3..).zip(lines) {
        let shorter = entry(&mut line);
        shorter.whole = Some(fingerprint(&number.to_string()));
        shorter.bytes_sent = None;
        copies.copy(shorter);
    }
    assert_eq!(copies.are_usual(at(0), at(60), GRACE), Some(true));
}

#[test]
fn a_full_sample_takes_lines_that_are_apart() {
    // A line that was taken and is young leaves open what the log does.
    let taken = |before: usize, apart: Duration| {
        let mut copies = log(before, 0);
        let later = line(before, at(0) + apart);
        copies.first(&later, GRACE, false);
        copies.are_usual(later.time, at(0), GRACE).is_none()
    };
    let second = Duration::from_secs(1);
    assert!(taken(32, Duration::ZERO));
    assert!(!taken(33, Duration::ZERO));
    assert!(!taken(33, second - MOMENT));
    assert!(taken(33, second));
}

#[test]
fn so_many_lines_of_a_connection_are_known_again() {
    let whole = |number: usize| Entry {
        whole: Some(fingerprint(&number.to_string())),
        ..Entry::default()
    };
    for (many, most) in [(false, 256), (true, 2048)] {
        for (others, known) in [(most - 1, true), (most, false)] {
            let mut told = Told::default();
            for number in 0..=others {
                assert!(!told.is_copy(&whole(number)));
                if many && number == 100 {
                    told.expect_many();
                }
            }
            assert_eq!(told.is_copy(&whole(0)), known);
        }
    }
}

#[test]
fn a_copy_in_another_format_says_nothing_else() {
    let first = Entry {
        start_time: Some(at(0)),
        path: Some(path("/")),
        response_code: Some(200),
        bytes_sent: Some(10),
        request_id: Some(fingerprint("r1")),
        ..Entry::default()
    };
    let same = Entry {
        duration_milliseconds: Some(3),
        ..first.clone()
    };
    type Alter = fn(&mut Entry);
    let table: [(Alter, bool); 8] = [
        (|_| {}, true),
        (|entry| entry.request_id = None, true),
        (|entry| entry.bytes_sent = Some(11), false),
        (|entry| entry.request_id = Some(fingerprint("r2")), false),
        (|entry| entry.start_time = Some(at(1)), false),
        (|entry| entry.path = Some(path("/other")), false),
        (|entry| entry.response_code = Some(404), false),
        (|entry| entry.duration_milliseconds = None, false),
    ];
    let table = table.into_iter().enumerate();
    for ((at, (alter, is_copy)), many) in table.flat_map(|it| [(it, false), (it, true)]) {
        let mut told = Told::default();
        assert!(!told.is_copy(&first));
        if many {
            told.expect_many();
        }
        let mut other = same.clone();
        alter(&mut other);
        assert_eq!(told.is_copy(&other), is_copy, "{at}");
    }
}
