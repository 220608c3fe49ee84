//! Exchanges of one connection that are alike and end in another order than their lines say.

use std::time::Duration;

use super::{
    Scene, entry, get,
    multiplexed::{Streams, count, same},
};
use crate::{
    ledger::{Exchange, Input, Line},
    record::Verdict,
    timestamp::Timestamp,
};

/// One that begins first and ends behind many others, then those, then one that begins late: of each
/// its line.
fn slow_and_quick(scene: &mut Scene, streams: &mut Streams, others: u32) -> Vec<Line> {
    let milliseconds = |count| Duration::from_millis(count);
    let pass_to = |scene: &mut Scene, moment: Timestamp| scene.now = scene.now.max(moment);
    let begin = scene.now;
    let slow = streams.begin(scene);
    pass_to(scene, begin + milliseconds(10));
    let many: Vec<u32> = (0..others).map(|_| streams.begin(scene)).collect();
    pass_to(scene, begin + milliseconds(100));
    let many: Vec<Exchange> = many
        .into_iter()
        .map(|number| streams.end(scene, number, &get("/same")))
        .collect();
    let quick = streams.begin(scene);
    pass_to(scene, begin + milliseconds(120));
    let slow = streams.end(scene, slow, &get("/same"));
    pass_to(scene, begin + milliseconds(130));
    let quick = streams.end(scene, quick, &get("/same"));
    let ends = [60]
        .into_iter()
        .chain(std::iter::repeat_n(90, others as usize));
    let all = std::iter::once(&slow).chain(&many).chain([&quick]);
    let lines = all.zip(ends.chain([125])).map(|(exchange, end)| {
        let mut line = streams.line(scene, exchange, &get("/same"));
        line.time = begin + milliseconds(end);
        let end = line.time;
        let entry = entry(&mut line);
        let lasted = end.since(entry.start_time.unwrap());
        entry.duration_milliseconds = Some(u64::try_from(lasted.as_millis()).unwrap());
        line
    });
    lines.collect()
}

#[test]
fn a_line_finds_its_exchange_behind_many_that_are_alike() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let lines = slow_and_quick(&mut scene, &mut streams, 300);
    let count_of_all = lines.len();
    let (quick, others) = lines.split_last().unwrap();
    for line in others {
        scene.read(line.clone());
    }
    // What is left is the quick one's: it began too late for the slow one's line.
    let log = quick.time;
    scene.capture_until(log + Duration::from_secs(4));
    assert_eq!(scene.verdicts().len(), count_of_all - 1);
    scene.read(quick.clone());
    scene.settle();
    assert_eq!(count(&scene, Verdict::Matched), count_of_all);
    scene.stop();
}

#[test]
fn a_line_whose_exchange_another_took_waits_for_that_of_the_other() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let mut lines = slow_and_quick(&mut scene, &mut streams, 1);
    let count_of_all = lines.len() + 1100;
    // The quick one's line comes first, and takes the slow exchange.
    lines.reverse();
    // So many pairs come after that nobody remembers these.
    lines.extend(streams.at_once(&mut scene, 1100, same));
    for line in lines {
        scene.read(line);
    }
    for _ in 0..20 {
        scene.pass(Duration::from_secs(1));
        let now = scene.now;
        scene.capture_until(now);
        scene.read_log_until(now);
        scene.feed(Input::Tick(now));
    }
    assert_eq!(count(&scene, Verdict::Matched), count_of_all);
    scene.stop();
}
