//! What the kernel side refused to report of a container.

use std::time::Duration;

use super::{APP_CGROUP, Scene, get};
use crate::{
    http::Gap,
    ledger::Input,
    record::{Kind, Reason, Side, Verdict},
    timestamp::Timestamp,
    workload::{Owner, WorkloadFact},
};

/// Something of the app's container was refused from a moment until now.
fn refuse(scene: &mut Scene, from: Timestamp) {
    scene.feed(Input::Refused {
        cgroup: Some(APP_CGROUP),
        from,
        to: scene.now,
        cause: Gap::RingLost,
    });
}

/// A scene whose port is known to speak HTTP, a minute later.
fn after_clean_traffic() -> Scene {
    let mut scene = Scene::new();
    scene.clean("/first");
    scene.pass(Duration::from_secs(60));
    scene
}

#[test]
fn a_line_of_a_connection_that_was_refused_is_not_forged() {
    for refused in [true, false] {
        let mut scene = after_clean_traffic();
        let mut unknown = scene.client_leg();
        scene.close(&unknown, 1, 1);
        scene.pass(Duration::from_secs(60));
        unknown.source.set_port(1);
        let time = scene.now;
        let gone = super::exchange(unknown.id, 0, time, time, &get("/gone"));
        scene.pass(Duration::from_millis(50));
        if refused {
            refuse(&mut scene, time);
        }
        let line = scene.line(Side::Client, &unknown, &gone, &get("/gone"));
        scene.read(line);
        scene.settle();
        let expected = match refused {
            true => (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]),
            false => (Verdict::Unseen, (0, 1), vec![]),
        };
        assert!(
            scene.verdicts().contains(&expected),
            "{:?}",
            scene.verdicts()
        );
        scene.stop();
    }
}

#[test]
fn around_a_refusal_order_accuses_nobody() {
    for refused in [true, false] {
        let mut scene = after_clean_traffic();
        let leg = scene.client_leg();
        let time = scene.now;
        let seen = scene.exchange(&leg, 0, &get("/seen"));
        if refused {
            refuse(&mut scene, time);
        }
        let line = scene.line(Side::Client, &leg, &seen, &get("/other"));
        scene.read(line);
        scene.close(&leg, 1, 1);
        scene.settle();
        let expected = match refused {
            true => (Verdict::Unverifiable, (1, 1), vec![Reason::RingLost]),
            false => (Verdict::Mismatched, (1, 1), vec![]),
        };
        assert!(
            scene.verdicts().contains(&expected),
            "{:?}",
            scene.verdicts()
        );
        scene.stop();
    }
}

/// Its exchange was refused: the connection's own record says no worse of it than the line's.
#[test]
fn a_connection_is_not_accused_for_a_line_that_is_excused() {
    for refused in [true, false] {
        let mut scene = after_clean_traffic();
        let leg = scene.client_leg();
        let seen = scene.exchange(&leg, 0, &get("/seen"));
        let line = scene.line(Side::Client, &leg, &seen, &get("/seen"));
        scene.read(line);
        let time = scene.now;
        scene.pass(Duration::from_millis(3));
        let gone = super::exchange(leg.id, 1, time, scene.now, &get("/gone"));
        if refused {
            refuse(&mut scene, time);
        }
        let line = scene.line(Side::Client, &leg, &gone, &get("/gone"));
        scene.read(line);
        scene.settle();
        scene.close(&leg, 1, 1);
        scene.settle();
        let found = scene.records.iter();
        let of_connections = found.filter(|record| record.kind == Kind::Connection);
        let accused = of_connections.filter(|record| record.verdict == Some(Verdict::Unseen));
        assert_eq!(accused.count(), usize::from(!refused));
        scene.stop();
    }
}

#[test]
fn an_equal_request_id_proves_what_order_does_not() {
    let mut scene = after_clean_traffic();
    let leg = scene.client_leg();
    let (time, mut sent) = (scene.now, get("/seen"));
    sent.request_id = Some("r1".into());
    let seen = scene.exchange(&leg, 0, &sent);
    refuse(&mut scene, time);
    let line = scene.line(Side::Client, &leg, &seen, &get("/other"));
    scene.read(line);
    scene.close(&leg, 1, 1);
    scene.settle();
    let edited = (Verdict::Mismatched, (1, 1), vec![]);
    assert_eq!(scene.verdicts()[1..], [edited]);
    scene.stop();
}

#[test]
fn what_was_refused_in_a_connections_life_may_be_what_its_line_counts() {
    for refused in [true, false] {
        let mut scene = after_clean_traffic();
        let leg = scene.client_leg();
        let nothing = super::exchange(leg.id, 0, scene.now, scene.now, &get("/"));
        scene.pass(Duration::from_secs(60));
        if refused {
            let now = scene.now;
            refuse(&mut scene, now);
        }
        scene.pass(Duration::from_secs(60));
        let line = scene.line_of_the_whole(&leg, &nothing, 71, 90);
        scene.close(&leg, 70, 90);
        scene.read(line);
        scene.settle();
        let expected = match refused {
            true => (Verdict::Unverifiable, (1, 1), vec![Reason::RingLost]),
            false => (Verdict::Mismatched, (1, 1), vec![]),
        };
        assert_eq!(scene.verdicts()[1..], [expected]);
        scene.stop();
    }
}

/// Nothing of the connection was seen but that it opened, and it stays open.
#[test]
fn lines_of_heads_that_were_all_refused_wait_for_no_close() {
    for refused in [true, false] {
        let mut scene = after_clean_traffic();
        let leg = scene.server_leg();
        let time = scene.now;
        scene.pass(Duration::from_millis(3));
        if refused {
            refuse(&mut scene, time);
        }
        let request = super::exchange(leg.id, 0, time, scene.now, &get("/gone"));
        let line = scene.line(Side::Server, &leg, &request, &get("/gone"));
        scene.read(line);
        scene.settle();
        let excused = (Verdict::Unverifiable, (0, 1), vec![Reason::RingLost]);
        assert_eq!(scene.verdicts().contains(&excused), refused);
        scene.close(&leg, 1, 1);
        scene.settle();
        scene.stop();
    }
}

/// A line of a connection whose capture lags: what it speaks of may still be told.
#[test]
fn a_line_is_excused_only_once_its_head_should_have_been_told() {
    let mut scene = after_clean_traffic();
    let leg = scene.client_leg();
    let time = scene.now;
    scene.pass(Duration::from_millis(3));
    refuse(&mut scene, time);
    let request = super::exchange(leg.id, 0, time, scene.now, &get("/seen"));
    let line = scene.line(Side::Client, &leg, &request, &get("/seen"));
    let lagging = line.time + Duration::from_millis(1_999);
    scene.read(line);
    scene.capture_until(lagging);
    scene.read_log_until(lagging + Duration::from_secs(60));
    scene.feed(Input::Tick(lagging + Duration::from_secs(60)));
    assert_eq!(scene.verdicts().len(), 1, "{:?}", scene.verdicts());
    scene.begin(&leg, 0);
    scene.tell_ended(&[request]);
    scene.settle();
    assert_eq!(scene.verdicts()[1..], [(Verdict::Matched, (1, 1), vec![])]);
    scene.stop();
}

#[test]
fn a_line_of_the_whole_connection_waits_for_its_close() {
    let mut scene = after_clean_traffic();
    let leg = scene.client_leg();
    let time = scene.now;
    refuse(&mut scene, time);
    let nothing = super::exchange(leg.id, 0, time, time, &get("/"));
    let line = scene.line_of_the_whole(&leg, &nothing, 70, 90);
    scene.read(line);
    scene.settle();
    scene.close(&leg, 70, 90);
    scene.settle();
    assert_eq!(scene.verdicts()[1..], [(Verdict::Matched, (1, 1), vec![])]);
    scene.stop();
}

#[test]
fn a_refusal_of_another_pod_excuses_nothing() {
    let mut scene = Scene::new();
    let owner = Owner::Pod {
        pod_uid: "22222222-2222-2222-2222-222222222222".into(),
    };
    scene.feed(Input::Workload(WorkloadFact::Cgroup { id: 77, owner }));
    scene.clean("/first");
    scene.pass(Duration::from_secs(60));
    let leg = scene.client_leg();
    let (from, sent) = (scene.now, get("/seen"));
    let seen = scene.exchange(&leg, 0, &sent);
    scene.feed(Input::Refused {
        cgroup: Some(77),
        from,
        to: scene.now,
        cause: Gap::RingLost,
    });
    let line = scene.line(Side::Client, &leg, &seen, &get("/other"));
    scene.read(line);
    scene.close(&leg, 1, 1);
    scene.settle();
    let edited = (Verdict::Mismatched, (1, 1), vec![]);
    assert_eq!(scene.verdicts()[1..], [edited]);
    scene.stop();
}
