//! What was lost on either side accuses nobody.

use std::time::Duration;

use super::{Scene, UID, entry, get};
use crate::{
    http::Gap,
    ledger::{Input, LineContent},
    record::{Reason, Side, Verdict},
};

#[test]
fn heads_known_by_number_excuse_as_many_lines() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let kept = scene.exchange(&leg, 0, &get("/kept"));
    let time = scene.now;
    let lost = Input::Lost {
        connection: leg.id,
        exchanges: 2,
        time,
        cause: Gap::RingLost,
    };
    scene.feed(lost);
    let mut lines = vec![scene.line(Side::Client, &leg, &kept, &get("/kept"))];
    for number in 1..4 {
        let gone = super::exchange(leg.id, number, time, time, &get("/gone"));
        lines.push(scene.line(Side::Client, &leg, &gone, &get("/gone")));
    }
    for line in lines {
        scene.read(line);
    }
    scene.close(&leg, 1, 1);
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    assert_eq!(
        found,
        [
            (Verdict::Unseen, (0, 1), vec![]),
            (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]),
            (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]),
            (Verdict::Unverifiable, (2, 0), vec![Reason::RingLost]),
        ]
    );
    scene.stop();
}

#[test]
fn a_line_of_before_the_start_takes_the_excuse_of_no_other() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    let gone = super::exchange(leg.id, 1, time, time, &get("/gone"));
    scene.feed(Input::Lost {
        connection: leg.id,
        exchanges: 1,
        time,
        cause: Gap::RingLost,
    });
    let mut before = scene.line(Side::Client, &leg, &gone, &get("/before"));
    let fields = entry(&mut before);
    fields.start_time = Some(time - Duration::from_secs(9));
    fields.whole = Some(super::fingerprint("before"));
    let gone = scene.line(Side::Client, &leg, &gone, &get("/gone"));
    scene.read(before);
    scene.read(gone);
    scene.close(&leg, 1, 1);
    scene.settle();
    let mut found = scene.verdicts();
    found.retain(|(verdict, ..)| *verdict != Verdict::Matched);
    found.sort();
    let unverifiable = |units, reason| (Verdict::Unverifiable, units, vec![reason]);
    assert_eq!(
        found,
        [
            unverifiable((0, 1), Reason::RingLost),
            unverifiable((0, 1), Reason::BeforeStart),
            unverifiable((1, 0), Reason::RingLost),
        ]
    );
    scene.stop();
}

#[test]
fn heads_missed_on_an_older_connection_may_be_older_than_what_was_seen_of_it() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let forwarded = super::Sent {
        forwarded: true,
        ..get("/gone")
    };
    let mut older = scene.client_leg();
    let missed = super::exchange(older.id, 0, scene.now, scene.now, &forwarded);
    let line = scene.line(Side::Client, &older, &missed, &forwarded);
    scene.pass(Duration::from_secs(1));
    let seen = scene.now;
    older.id += 1_000;
    older.source.set_port(39_999);
    (older.time, older.preexisting) = (seen, true);
    scene.feed(Input::Opened(Box::new(older.clone())));
    scene.feed(Input::Lost {
        connection: older.id,
        exchanges: 1,
        time: seen,
        cause: Gap::RingLost,
    });
    scene.read(line);
    scene.settle();
    let verdicts = scene.verdicts();
    let excused = (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]);
    assert!(verdicts.contains(&excused), "{verdicts:?}");
    scene.stop();
}

#[test]
fn what_is_left_over_behind_a_hole_may_have_been_in_it() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let mut lines = Vec::new();
    for number in 0..4 {
        let exchange = scene.exchange(&leg, number, &get("/same"));
        lines.push(scene.line(Side::Client, &leg, &exchange, &get("/same")));
        scene.now = exchange.time + Duration::from_micros(100);
    }
    let mut hole = lines.remove(0);
    let first = leg.time + Duration::from_micros(50);
    scene.feed(Input::LogProgress {
        pod_uid: UID.into(),
        read_until: first,
    });
    (hole.time, hole.content) = (first, LineContent::Hole);
    scene.read(hole);
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    let lost = (Verdict::Unverifiable, (1, 0), vec![Reason::LineLost]);
    assert!(scene.verdicts().contains(&lost), "{:?}", scene.verdicts());
    scene.stop();
}

#[test]
fn a_line_made_before_its_exchange_ended_may_have_been_in_a_hole() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.server_leg();
    let begun = scene.now;
    scene.feed(Input::Begun {
        connection: leg.id,
        exchange: 0,
        stream: None,
        time: begun,
    });
    scene.pass(Duration::from_secs(1));
    // The proxy gave up and wrote its line; the app goes on.
    let noticed = scene.now;
    let sample = super::exchange(leg.id, 0, begun, begun, &get("/slow"));
    let mut hole = scene.line(Side::Server, &leg, &sample, &get("/slow"));
    scene.feed(Input::LogProgress {
        pod_uid: UID.into(),
        read_until: begun,
    });
    (hole.time, hole.content) = (noticed, LineContent::Hole);
    scene.read(hole);
    scene.pass(Duration::from_secs(5));
    let now = scene.now;
    let exchange = super::exchange(leg.id, 0, begun, now, &get("/slow"));
    scene.feed(Input::Ended(Box::new(exchange)));
    scene.close(&leg, 1, 1);
    scene.settle();
    let lost = (Verdict::Unverifiable, (1, 0), vec![Reason::LineLost]);
    assert!(scene.verdicts().contains(&lost), "{:?}", scene.verdicts());
    scene.stop();
}

#[test]
fn lost_heads_excuse_lines_behind_x_forwarded_for() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let sent = super::Sent {
        forwarded: true,
        ..get("/x")
    };
    let leg = scene.client_leg();
    let time = scene.now;
    scene.feed(Input::Lost {
        connection: leg.id,
        exchanges: 1,
        time: time + Duration::from_millis(5),
        cause: Gap::RingLost,
    });
    let exchange = super::exchange(leg.id, 0, time, time, &sent);
    let line = scene.line(Side::Client, &leg, &exchange, &sent);
    let mut forged = line.clone();
    entry(&mut forged).whole = None;
    scene.read(line);
    scene.read(forged);
    scene.pass(Duration::from_secs(1));
    scene.close(&leg, 1, 1);
    scene.settle();
    let mut found = scene.verdicts()[1..].to_vec();
    found.sort();
    let lost = |units| (Verdict::Unverifiable, units, vec![Reason::RingLost]);
    assert_eq!(
        found,
        [
            (Verdict::Unseen, (0, 1), vec![]),
            lost((0, 1)),
            lost((1, 0))
        ]
    );
    scene.stop();
}

/// One of two requests is known by number only; the lines of both come after they were missed.
#[test]
fn late_lines_of_what_the_loss_excused_are_not_forged() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let leg = scene.client_leg();
    let time = scene.now;
    scene.feed(Input::Lost {
        connection: leg.id,
        exchanges: 1,
        time,
        cause: Gap::RingLost,
    });
    let seen = scene.exchange(&leg, 1, &get("/seen"));
    let gone = super::exchange(leg.id, 0, time, scene.now, &get("/gone"));
    scene.settle();
    let missing = (Verdict::Unverifiable, (1, 0), vec![Reason::RingLost]);
    assert_eq!(scene.verdicts()[1..], [missing.clone(), missing]);
    for exchange in [&gone, &seen] {
        let line = scene.line(Side::Client, &leg, exchange, &get("/rewritten"));
        scene.read(line);
    }
    scene.settle();
    let late = (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]);
    assert_eq!(scene.verdicts()[3..], [late.clone(), late]);
    scene.close(&leg, 1, 1);
    scene.settle();
    scene.stop();
}

/// What several paths carry together nobody can count: neither what was under way when the second
/// joined, nor the lines of what came after.
#[test]
fn what_several_paths_carry_is_unverifiable_as_such() {
    let mut scene = Scene::new();
    scene.clean("/first");
    let (leg, joined) = (scene.client_leg(), scene.client_leg());
    let whole = scene.exchange(&leg, 0, &get("/whole"));
    let time = scene.now;
    let mut torn = super::exchange(leg.id, 1, time, time, &get("/torn"));
    scene.begin(&leg, 1);
    torn.gap = Some(Gap::Mptcp);
    torn.response = None;
    scene.tell_ended(&[torn.clone()]);
    for id in [leg.id, joined.id] {
        scene.feed(Input::Lost {
            connection: id,
            exchanges: 0,
            time,
            cause: Gap::Mptcp,
        });
    }
    let unread = super::exchange(leg.id, 2, time, time, &get("/unread"));
    for (exchange, path) in [(&whole, "/whole"), (&torn, "/torn"), (&unread, "/unread")] {
        let line = scene.line(Side::Client, &leg, exchange, &get(path));
        scene.read(line);
    }
    scene.close(&leg, 10, 10);
    scene.close(&joined, 1000, 1000);
    scene.settle();
    let mut found = scene.verdicts()[1..].to_vec();
    found.sort();
    let unverifiable = |units| (Verdict::Unverifiable, units, vec![Reason::Mptcp]);
    assert_eq!(
        found,
        [
            (Verdict::Matched, (1, 1), vec![]),
            unverifiable((0, 1)),
            unverifiable((1, 1)),
        ]
    );
    scene.stop();
}
