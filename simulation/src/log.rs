//! A proxy's log: when its lines are written, flushed, stamped and readable.

use std::{net::SocketAddr, time::Duration};

use meshwitness::{
    envoy::{Content, LogEntry, LogLine},
    timestamp::Timestamp,
};

use crate::{
    pod::Pod,
    random::Random,
    scene::BEGIN,
    sinks::Beside,
    truth::{Likeness, Truth},
};

/// The length of a line: their places are multiples of it.
const LENGTH: u64 = 100;

/// What a proxy container wrote.
#[derive(Debug)]
pub(crate) struct Log {
    pod_uid: String,
    file: String,
    /// Lines as they were made.
    made: Vec<Made>,
    pub(crate) damage: Damage,
    pub(crate) beside: Beside,
}

/// Where a line goes: each sink has a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    First,
    Second,
    /// What is not buffered.
    Direct,
}

/// What befalls a log on the node, nobody's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// Files were rotated away before they were read.
    Holes,
    /// The runtime takes nothing from the proxy in this time.
    Stalled(Timestamp, Timestamp),
}

#[derive(Debug)]
struct Made {
    time: Timestamp,
    sink: Sink,
    content: Content,
    likeness: Option<Likeness>,
}

/// A line in the file.
#[derive(Debug)]
pub(crate) struct Written {
    /// When it can be read there; its stamp is a little earlier.
    pub(crate) readable: Timestamp,
    /// Since when a reader knows that there is something to read.
    pub(crate) announced: Timestamp,
    pub(crate) line: LogLine,
}

impl Log {
    pub(crate) fn new(pod: &Pod, random: &mut Random) -> Self {
        let from = BEGIN + random.millis(3_000, 9_000);
        let stalled = Damage::Stalled(from, from + random.millis(1_000, 15_000));
        let none = Damage::None;
        let damage = *random.pick(&[none, none, none, none, none, Damage::Holes, stalled]);
        Self {
            damage,
            beside: match damage {
                Damage::None => Beside::any(random),
                _ => Beside::Nothing,
            },
            pod_uid: pod.uid.clone(),
            file: format!("pods/shop_{}_{}/istio-proxy/0.log", pod.name, pod.uid),
            made: Vec::new(),
        }
    }

    /// Nothing befalls it, and it has one format.
    pub(crate) fn plain(self) -> Self {
        Self {
            damage: Damage::None,
            beside: match self.beside {
                Beside::Shorter => Beside::Nothing,
                beside => beside,
            },
            ..self
        }
    }

    /// The proxy makes a line at this moment.
    pub(crate) fn make(
        &mut self,
        sink: Sink,
        time: Timestamp,
        entry: LogEntry,
        likeness: Likeness,
    ) {
        self.made.push(Made {
            time,
            sink,
            content: Content::Entry(Box::new(entry)),
            likeness: Some(likeness),
        });
    }

    /// As many of the first lines about what went out from here name this cluster.
    pub(crate) fn name_cluster(&mut self, source: SocketAddr, cluster: &str, lines: usize) {
        let entries = self
            .made
            .iter_mut()
            .filter_map(|made| match &mut made.content {
                Content::Entry(entry) => Some(entry),
                _ => None,
            });
        let of_it = entries.filter(|entry| entry.upstream_local_address == Some(source));
        for entry in of_it.take(lines) {
            entry.upstream_cluster = Some(cluster.to_owned());
        }
    }

    /// pilot-agent writes something, to the same stream.
    pub(crate) fn other_output(&mut self, time: Timestamp) {
        self.made.push(Made {
            time,
            sink: Sink::Direct,
            content: Content::Other,
            likeness: None,
        });
    }

    /// The file: the proxy holds lines back until the next flush, at most for `flush`.
    pub(crate) fn write(
        mut self,
        begin: Timestamp,
        flush: Duration,
        random: &mut Random,
        truth: &mut Truth,
    ) -> Vec<Written> {
        self.made.sort_by_key(|made| made.time);
        let flushed = flush_times(&self.made, begin, flush, random);
        let mut order: Vec<usize> = (0..self.made.len()).collect();
        order.sort_by_key(|at| flushed[*at]);
        let mut last_stamp = begin;
        let mut written: Vec<Written> = Vec::new();
        let mut made: Vec<Option<Made>> = self.made.into_iter().map(Some).collect();
        for (place, at) in order.into_iter().enumerate() {
            let made = made[at].take().unwrap();
            let mut taken = flushed[at];
            if let Damage::Stalled(from, to) = self.damage
                && from <= taken
            {
                taken = taken.max(to);
            }
            let stamp = last_stamp.max(taken + random.micros(10, 3_000));
            last_stamp = stamp;
            let delay = match random.chance(2) {
                true => random.millis(1, 900),
                false => random.micros(1, 500),
            };
            let before = written.last().map_or(stamp, |written| written.readable);
            let readable = before.max(stamp + delay);
            let offset = place as u64 * LENGTH;
            if let Some(likeness) = made.likeness {
                truth.logged(&self.pod_uid, offset, likeness);
            }
            written.push(Written {
                readable,
                announced: readable,
                line: LogLine {
                    pod_uid: self.pod_uid.as_str().into(),
                    file: self.file.as_str().into(),
                    offset,
                    length: LENGTH,
                    time: stamp,
                    content: made.content,
                    sensitive: Vec::new(),
                },
            });
        }
        if self.damage == Damage::Holes {
            tear(&mut written, random, truth);
        }
        written
    }
}

/// Some lines in a row are gone before anybody read them; in their place stands a hole.
fn tear(written: &mut Vec<Written>, random: &mut Random, truth: &mut Truth) {
    // The first entry stays: of a log without any nothing is concluded.
    let is_entry = |written: &Written| matches!(written.line.content, Content::Entry(_));
    let first = written.iter().position(is_entry).map_or(0, |at| at as u64);
    let count = written.len() as u64;
    if count < first + 3 {
        return;
    }
    let from = usize::try_from(random.between(first + 1, count - 2)).unwrap();
    let to = usize::try_from(random.between(from as u64 + 1, (from as u64 + 6).min(count - 1)));
    let to = to.unwrap();
    let readable = written[to - 1].readable;
    let announced = written[from].readable;
    for lost in written.drain(from..to) {
        truth.lose_line(&lost.line.pod_uid, lost.line.offset);
    }
    let before = &written[from - 1].line;
    let hole = LogLine {
        pod_uid: before.pod_uid.clone(),
        file: before.file.clone(),
        offset: before.offset + LENGTH,
        length: 0,
        // It has the time at which it is noticed.
        time: readable,
        content: Content::Hole,
        sensitive: Vec::new(),
    };
    let noticed = Written {
        readable,
        announced,
        line: hole,
    };
    written.insert(from, noticed);
}

/// When each line leaves the proxy: at the timer of its sink, or with a buffer that is full.
fn flush_times(
    made: &[Made],
    begin: Timestamp,
    flush: Duration,
    random: &mut Random,
) -> Vec<Timestamp> {
    let mut flushed: Vec<Timestamp> = made.iter().map(|made| made.time).collect();
    for sink in [Sink::First, Sink::Second] {
        let percent = u32::try_from(random.between(0, 99)).unwrap();
        let mut timer = begin + flush * percent / 100;
        let buffered = |at: &usize| made[*at].sink == sink;
        for at in (0..made.len()).filter(buffered) {
            while timer < made[at].time {
                timer = timer + flush;
            }
            if !random.chance(5) {
                flushed[at] = timer;
            }
        }
        let mut next = Timestamp::MAX;
        for at in (0..made.len()).rev().filter(buffered) {
            next = next.min(flushed[at]);
            flushed[at] = next;
        }
    }
    flushed
}
