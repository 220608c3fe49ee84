//! Many exchanges at once on one connection, as HTTP/2 carries them.

use std::time::Duration;

use super::{Scene, Sent, entry, fingerprint, get};
use crate::{
    http::Connection,
    ledger::{Exchange, Input, Line},
    record::{Body, Reason, Side, Verdict},
    timestamp::Timestamp,
};

const MICROSECOND: Duration = Duration::from_micros(1);

/// Streams of one connection.
pub(super) struct Streams {
    pub(super) connection: Connection,
    side: Side,
    begun: Vec<Timestamp>,
}

impl Streams {
    pub(super) fn of_a_client(scene: &mut Scene) -> Self {
        Self::new(scene.client_leg(), Side::Client)
    }

    pub(super) fn of_a_server(scene: &mut Scene) -> Self {
        Self::new(scene.server_leg(), Side::Server)
    }

    pub(super) fn new(connection: Connection, side: Side) -> Self {
        Self {
            connection,
            side,
            begun: Vec::new(),
        }
    }

    /// A stream begins now; its exchange's number.
    pub(super) fn begin(&mut self, scene: &mut Scene) -> u32 {
        let number = u32::try_from(self.begun.len()).unwrap();
        scene.feed(Input::Begun {
            connection: self.connection.id,
            exchange: number,
            stream: Some(2 * number + 1),
            time: scene.now,
        });
        self.begun.push(scene.now);
        scene.pass(10 * MICROSECOND);
        number
    }

    /// As it is if it ends now.
    pub(super) fn exchange(&self, scene: &Scene, number: u32, sent: &Sent) -> Exchange {
        let began = self.begun[number as usize];
        Exchange {
            stream: Some(2 * number + 1),
            version: Some("2".into()),
            ..super::exchange(self.connection.id, number, began, scene.now, sent)
        }
    }

    /// It ends now.
    pub(super) fn end(&self, scene: &mut Scene, number: u32, sent: &Sent) -> Exchange {
        let exchange = self.exchange(scene, number, sent);
        scene.feed(Input::Ended(Box::new(exchange.clone())));
        scene.pass(10 * MICROSECOND);
        exchange
    }

    /// One that begins and ends in three milliseconds.
    pub(super) fn whole(&mut self, scene: &mut Scene, sent: &Sent) -> Exchange {
        let number = self.begin(scene);
        scene.pass(Duration::from_millis(3));
        self.end(scene, number, sent)
    }

    /// Its line, whose place tells its number.
    pub(super) fn line(&self, scene: &Scene, exchange: &Exchange, sent: &Sent) -> Line {
        let mut line = scene.line(self.side, &self.connection, exchange, sent);
        line.offset = u64::from(exchange.exchange);
        entry(&mut line).protocol = Some("HTTP/2".into());
        line
    }

    /// So many at once, which end in another order than they began.
    pub(super) fn at_once(
        &mut self,
        scene: &mut Scene,
        count: u32,
        sent: impl Fn(u32) -> Sent,
    ) -> Vec<Line> {
        let numbers: Vec<u32> = (0..count).map(|_| self.begin(scene)).collect();
        scene.pass(Duration::from_millis(2));
        let order = (0..count).map(|at| numbers[(at * 37 % count) as usize]);
        let end = |number| {
            let exchange = self.end(scene, number, &sent(number));
            self.line(scene, &exchange, &sent(number))
        };
        order.map(end).collect()
    }
}

fn path(number: u32) -> Sent {
    get(&format!("/{number}"))
}

pub(super) fn same(_: u32) -> Sent {
    get("/same")
}

pub(super) fn count(scene: &Scene, verdict: Verdict) -> usize {
    let verdicts = scene.verdicts();
    let of_it = verdicts.iter().filter(|(of, ..)| *of == verdict);
    of_it.count()
}

/// Of each record of an exchange and its line, the exchange's path and the line's place.
fn pairs(scene: &Scene) -> Vec<(String, u64)> {
    let pair = |body: &Body| {
        let Body::Traffic(traffic) = body else {
            return None;
        };
        let path = traffic.attributes.shown.path.clone()?;
        Some((path, traffic.envoy.as_ref()?.offset))
    };
    let records = scene.records.iter();
    records.filter_map(|record| pair(&record.body)).collect()
}

#[test]
fn a_hundred_at_once_with_distinct_paths_come_out_right_in_person() {
    for side in [Side::Client, Side::Server] {
        let mut scene = Scene::new();
        let mut streams = match side {
            Side::Client => Streams::of_a_client(&mut scene),
            _ => Streams::of_a_server(&mut scene),
        };
        for line in streams.at_once(&mut scene, 100, path) {
            scene.read(line);
        }
        let pairs = pairs(&scene);
        assert_eq!(pairs.len(), 100);
        for (path, offset) in pairs {
            assert_eq!(path, format!("/{offset}"));
        }
        scene.settle();
        scene.close(&streams.connection, 100, 200);
        scene.settle();
        assert_eq!(count(&scene, Verdict::Matched), scene.verdicts().len());
        scene.stop();
    }
}

#[test]
fn lines_that_come_before_their_exchanges_wait_for_them() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let numbers: Vec<u32> = (0..9).map(|_| streams.begin(&mut scene)).collect();
    scene.pass(Duration::from_millis(3));
    for number in numbers.iter().rev() {
        let exchange = streams.exchange(&scene, *number, &path(*number));
        let line = streams.line(&scene, &exchange, &path(*number));
        scene.read(line);
    }
    for number in numbers {
        streams.end(&mut scene, number, &path(number));
    }
    assert_eq!(count(&scene, Verdict::Matched), 9);
    scene.stop();
}

#[test]
fn of_a_hundred_that_are_alike_the_number_comes_out_right() {
    for (removed, invented) in [(0, 0), (3, 0), (0, 3)] {
        let mut scene = Scene::new();
        let mut streams = Streams::of_a_client(&mut scene);
        let mut lines = streams.at_once(&mut scene, 100, same);
        for at in 0..invented {
            let mut line = lines[at * 10].clone();
            line.offset = 1_000 + at as u64;
            entry(&mut line).whole = Some(fingerprint(&format!("invented {at}")));
            lines.push(line);
        }
        for (at, line) in lines.into_iter().enumerate() {
            if at % 30 != 7 || at / 30 >= removed {
                scene.read(line);
            }
        }
        scene.settle();
        let counts = [Verdict::Matched, Verdict::Unlogged, Verdict::Unseen]
            .map(|verdict| count(&scene, verdict));
        assert_eq!(counts, [100 - removed, removed, invented]);
        assert_eq!(scene.verdicts().len(), 100 + invented);
        scene.stop();
    }
}

#[test]
fn one_fault_among_many_at_once_is_one_record() {
    type Edit = fn(&mut Line);
    let edits: [(&str, Edit); 3] = [
        ("http.response.status_code", |line| {
            entry(line).response_code = Some(418);
        }),
        ("url.path", |line| {
            entry(line).path = Some(super::path("/edited"));
        }),
        ("http.request.method", |line| {
            entry(line).method = Some("PURGE".into());
        }),
    ];
    for (field, edit) in edits {
        for sent in [path, same] {
            let mut scene = Scene::new();
            let mut streams = Streams::of_a_client(&mut scene);
            let mut lines = streams.at_once(&mut scene, 100, sent);
            edit(&mut lines[50]);
            for line in lines {
                scene.read(line);
            }
            scene.settle();
            let differing = scene.records.iter().filter_map(|record| {
                let Body::Traffic(traffic) = &record.body else {
                    return None;
                };
                let differing = record.verdict == Some(Verdict::Mismatched);
                differing.then(|| traffic.differences[0].field.as_str())
            });
            assert_eq!(differing.collect::<Vec<_>>(), [field]);
            assert_eq!(count(&scene, Verdict::Matched), 99);
            assert_eq!(scene.verdicts().len(), 100);
            scene.stop();
        }
    }
}

#[test]
fn the_requests_id_proves_it_whatever_differs_and_whenever_it_was() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let with_id = |number: u32| Sent {
        request_id: Some(number.to_string()),
        ..get("/same")
    };
    let mut lines = streams.at_once(&mut scene, 10, with_id);
    // One says that it began an hour before, another has a status that none has.
    let early = entry(&mut lines[3]);
    early.start_time = early
        .start_time
        .map(|start| start - Duration::from_secs(3600));
    entry(&mut lines[6]).response_code = Some(418);
    let edited = lines[6].offset;
    for line in lines {
        scene.read(line);
    }
    assert_eq!(count(&scene, Verdict::Matched), 9);
    scene.settle();
    let found = scene.records.iter().find_map(|record| match &record.body {
        Body::Traffic(traffic) if record.verdict == Some(Verdict::Mismatched) => {
            Some((record.time, traffic.envoy.as_ref()?.offset))
        }
        _ => None,
    });
    let began = streams.begun[usize::try_from(edited).unwrap()];
    assert_eq!(found, Some((began, edited)));
    scene.stop();
}

#[test]
fn what_was_invented_is_found_although_a_stream_goes_on() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let long = streams.begin(&mut scene);
    scene.pass(Duration::from_secs(5));
    let exchange = streams.whole(&mut scene, &get("/a"));
    let line = streams.line(&scene, &exchange, &get("/a"));
    let mut invented = streams.line(&scene, &exchange, &get("/invented"));
    entry(&mut invented).whole = Some(fingerprint("invented"));
    scene.read(invented);
    scene.read(line);
    scene.settle();
    assert_eq!(
        (
            count(&scene, Verdict::Matched),
            count(&scene, Verdict::Unseen)
        ),
        (1, 1)
    );
    // A line may be of one that began with it, whose last bytes lie in the proxy's socket.
    let mut line = streams.line(&scene, &exchange, &get("/long"));
    let fields = entry(&mut line);
    fields.start_time = Some(streams.begun[long as usize]);
    fields.whole = Some(fingerprint("long"));
    scene.read(line);
    scene.settle();
    assert_eq!(scene.verdicts().len(), 2);
    streams.end(&mut scene, long, &get("/long"));
    assert_eq!(count(&scene, Verdict::Matched), 2);
    scene.stop();
}

#[test]
fn a_line_takes_of_those_that_are_alike_the_one_that_ended_first() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let (early, late) = (streams.begin(&mut scene), streams.begin(&mut scene));
    scene.pass(Duration::from_millis(1));
    let first = streams.end(&mut scene, late, &get("/same"));
    scene.pass(Duration::from_secs(2));
    streams.end(&mut scene, early, &get("/same"));
    let line = streams.line(&scene, &first, &get("/same"));
    scene.read(line);
    // The line of the one that is left may still be on its way.
    let log = first.end + Duration::from_secs(4);
    scene.capture_until(log);
    scene.read_log_until(log);
    assert_eq!(scene.verdicts().len(), 1);
    scene.settle();
    assert_eq!(
        (
            count(&scene, Verdict::Matched),
            count(&scene, Verdict::Unlogged)
        ),
        (1, 1)
    );
    scene.stop();
}

#[test]
fn a_late_line_acquits_its_exchange() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let mut lines = streams.at_once(&mut scene, 10, path);
    let late = lines.remove(4);
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    assert_eq!(count(&scene, Verdict::Unlogged), 1);
    scene.read(late);
    let last = scene.verdicts().pop().unwrap();
    assert_eq!(last, (Verdict::Matched, (1, 1), vec![Reason::LateLine]));
    scene.stop();
}

#[test]
fn lines_and_exchanges_of_before_the_first_stream_stay_what_they_are() {
    let mut scene = Scene::new();
    let leg = scene.client_leg();
    let upgraded = scene.exchange(&leg, 0, &get("/upgraded"));
    let mut edited = scene.line(Side::Client, &leg, &upgraded, &get("/upgraded"));
    entry(&mut edited).response_code = Some(418);
    scene.read(edited);
    let mut streams = Streams {
        begun: vec![upgraded.time],
        ..Streams::new(leg, Side::Client)
    };
    let exchange = streams.whole(&mut scene, &get("/stream"));
    let line = streams.line(&scene, &exchange, &get("/stream"));
    scene.read(line);
    scene.settle();
    assert_eq!(
        (
            count(&scene, Verdict::Matched),
            count(&scene, Verdict::Mismatched)
        ),
        (1, 1)
    );
    scene.stop();
}

#[test]
fn a_surplus_line_and_a_missing_one_far_from_each_other_are_two_faults() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let removed = streams.whole(&mut scene, &get("/removed"));
    scene.pass(Duration::from_millis(1_500));
    let exchange = streams.whole(&mut scene, &get("/a"));
    let line = streams.line(&scene, &exchange, &get("/a"));
    let mut invented = streams.line(&scene, &exchange, &get("/invented"));
    entry(&mut invented).whole = Some(fingerprint("invented"));
    scene.read(line);
    scene.read(invented);
    scene.settle();
    let counts = [Verdict::Matched, Verdict::Unlogged, Verdict::Unseen].map(|it| count(&scene, it));
    assert_eq!((counts, removed.exchange), ([1, 1, 1], 0));
    scene.stop();
}

#[test]
fn evidence_names_the_stream() {
    use crate::ledger::evidence::Subject;
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_client(&mut scene);
    let mut lines = streams.at_once(&mut scene, 3, path);
    let mut invented = lines[0].clone();
    let fields = entry(&mut invented);
    (fields.path, fields.whole) = (Some(super::path("/invented")), None);
    lines.push(invented);
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    let evidence = scene.evidence.values().next().unwrap();
    let streams = evidence.candidates.iter().map(|it| match it.subject {
        Subject::Pair { stream, .. } | Subject::Exchange { stream, .. } => stream,
        _ => None,
    });
    let mut streams: Vec<_> = streams.collect();
    streams.sort_unstable();
    assert_eq!(streams, [Some(1), Some(3), Some(5)]);
    scene.stop();
}

#[test]
fn a_line_that_is_older_than_the_agent_takes_no_younger_ones_place() {
    let mut scene = Scene::bare(Vec::new());
    scene.tell_pod();
    let started = scene.now;
    scene.feed(Input::Started { time: started });
    scene.tell_listeners();
    let mut connection = scene.client_leg();
    connection.id = 99;
    connection.source.set_port(777);
    connection.preexisting = true;
    scene.feed(Input::Opened(Box::new(connection.clone())));
    let mut streams = Streams::new(connection, Side::Client);
    scene.pass(Duration::from_micros(99_500));
    let exchange = streams.whole(&mut scene, &get("/same"));
    let line = streams.line(&scene, &exchange, &get("/same"));
    let mut older = line.clone();
    let fields = entry(&mut older);
    fields.start_time = Some(started + Duration::from_millis(97));
    fields.whole = None;
    scene.read(older);
    scene.read(line);
    assert_eq!(count(&scene, Verdict::Matched), 1);
    scene.settle();
    let older = (Verdict::Unverifiable, (0, 1), vec![Reason::BeforeStart]);
    assert_eq!(scene.verdicts()[1..], [older]);
    scene.stop();
}

#[test]
fn attempts_of_a_client_that_hedges_have_a_line_each() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_server(&mut scene);
    let sent = Sent {
        request_id: Some("one-id".to_owned()),
        ..get("/hedged")
    };
    for _ in 0..3 {
        streams.begin(&mut scene);
        scene.pass(Duration::from_millis(400));
    }
    let mut lines = Vec::new();
    for number in 0..3 {
        let mut exchange = streams.exchange(&scene, number, &sent);
        let is_reset = number > 0;
        if is_reset {
            exchange.response = None;
        }
        scene.feed(Input::Ended(Box::new(exchange.clone())));
        let leg = &streams.connection;
        let mut line = scene.line(Side::Server, leg, &exchange, &sent);
        let lasted = exchange.end.since(exchange.time).as_millis();
        let fields = entry(&mut line);
        fields.duration_milliseconds = Some(u64::try_from(lasted).unwrap());
        fields.whole = Some(fingerprint(&number.to_string()));
        if is_reset {
            fields.response_code = Some(0);
            fields.response_flags = Some("DR".into());
            fields.response_code_details = Some("http2.remote_reset".into());
            fields.bytes_sent = Some(0);
        }
        lines.push(line);
    }
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    let units: Vec<_> = scene
        .verdicts()
        .into_iter()
        .map(|(v, u, _)| (v, u))
        .collect();
    assert_eq!(units, [(Verdict::Matched, (1, 1)); 3]);
    scene.stop();
}

#[test]
fn attempts_of_a_client_that_tries_again_have_a_line_each() {
    let mut scene = Scene::new();
    let mut streams = Streams::of_a_server(&mut scene);
    let sent = Sent {
        request_id: Some("one-id".to_owned()),
        status: 500,
        ..get("/in-vain")
    };
    let mut lines = Vec::new();
    for number in 0..3 {
        // The sidecar takes its time with each before the app has it.
        let start = scene.now;
        scene.pass(Duration::from_millis(8));
        let exchange = streams.whole(&mut scene, &sent);
        let leg = &streams.connection;
        let mut line = scene.line(Side::Server, leg, &exchange, &sent);
        let fields = entry(&mut line);
        fields.start_time = Some(Timestamp(start.0 / 1_000_000 * 1_000_000));
        fields.duration_milliseconds = Some(11);
        fields.whole = Some(fingerprint(&number.to_string()));
        lines.push(line);
    }
    for line in lines {
        scene.read(line);
    }
    scene.settle();
    let verdicts = scene.verdicts().into_iter();
    let units: Vec<_> = verdicts
        .map(|(verdict, units, _)| (verdict, units))
        .collect();
    assert_eq!(units, [(Verdict::Matched, (1, 1)); 3]);
    scene.stop();
}
