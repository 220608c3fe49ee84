//! Lines that a proxy writes of what goes on: when a request or a connection begins, and at
//! intervals. Most formats do not say so, and each of these looks like the line of the end, which
//! says more of the same.

use std::{cell::Cell, collections::VecDeque, time::Duration};

use super::{
    CAPTURE_DELAY, Ledger,
    compare::fits_in_time,
    copies::Copy,
    input::{Entry, Line},
    leg::OpenExchange,
    tracked::Tracked,
};
use crate::{
    http::ConnectionId,
    record::{Fingerprint, Side, Verdict},
    timestamp::Timestamp,
};

/// Lines of a connection which are remembered because others may say less of the same request.
pub(super) const KEPT: usize = 256;

/// The same of all connections of a pod.
pub(super) const KEPT_OF_POD: usize = 4096;

/// A request that ends before this has no line at an interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Requests of one connection that follow one another do not begin at the same time if the first
/// took this long.
const APART: Duration = Duration::from_millis(2);

/// The last lines of a connection, or of a pod, that found their exchange, and that tell of so long
/// a time that there may be others.
#[derive(Debug, Default)]
pub(super) struct LongPairs {
    pairs: VecDeque<Course>,
    /// Requests of which a line before the last was read.
    written_amid: VecDeque<Course>,
}

/// How far a request, or a connection, had come when its line was written.
#[derive(Clone, Copy, Debug)]
struct Course {
    start: Timestamp,
    /// None: of a connection, or of a request that has none.
    request_id: Option<Fingerprint>,
    path: Option<Fingerprint>,
    authority: Option<Fingerprint>,
    /// 0 before it is answered.
    status: u16,
    lasted: Duration,
    received: u64,
    sent: u64,
}

/// How long after the time in its last line a connection ends.
const AT_ONCE: Duration = Duration::from_millis(10);

impl LongPairs {
    /// A line and its exchange were told. At most `kept` are remembered.
    pub(super) fn note(&mut self, entry: &Entry, kept: usize) {
        let course = Course::of(entry).filter(|course| course.lasted >= SHORTEST_INTERVAL);
        let Some(course) = course else { return };
        if self.pairs.len() == kept {
            self.pairs.pop_front();
        }
        self.pairs.push_back(course);
    }

    /// A line was read that tells of a request which goes on.
    fn note_amid(&mut self, course: Course, kept: usize) {
        let is_same = |known: &Course| known.is_of_request(&course);
        if self.written_amid.iter().rev().any(is_same) {
            return;
        }
        if self.written_amid.len() == kept {
            self.written_amid.pop_front();
        }
        self.written_amid.push_back(course);
    }

    /// Whether Envoy is known to write lines amid the request that a line is of. The last of them
    /// may be the same as the one of the end, to the millisecond.
    pub(super) fn is_written_amid(&self, entry: &Entry) -> bool {
        let Some(course) = Course::of(entry).filter(|course| course.request_id.is_some()) else {
            return false;
        };
        let is_same = |known: &Course| known.is_of_request(&course);
        self.written_amid.iter().any(is_same)
    }

    /// Whether a line is of one of these requests.
    pub(super) fn know(&self, entry: &Entry, side: Side) -> bool {
        let Some(course) = Course::of(entry) else {
            return false;
        };
        // The last line may find its exchange taken by one before it that agrees as well: where
        // sizes prove nothing, or where all was sent by then.
        let may_follow = |pair: &Course| {
            let is_as_large = (pair.received, pair.sent) == (course.received, course.sent);
            pair.is_before(&course) && (side == Side::Server || is_as_large)
        };
        let is_of_it = |pair: &Course| course.is_before(pair) || may_follow(pair);
        let is_of_connection = |pair: &Course| pair.is_before(&course);
        match course.request_id {
            Some(_) => self.pairs.iter().any(is_of_it),
            None => !entry.speaks_of_http() && self.pairs.iter().any(is_of_connection),
        }
    }
}

impl Course {
    fn of(entry: &Entry) -> Option<Self> {
        Some(Self {
            start: entry.start_time?,
            request_id: entry.request_id,
            path: entry.path.map(|path| path.raw),
            authority: entry.authority,
            status: entry.response_code.unwrap_or(0),
            lasted: Duration::from_millis(entry.duration_milliseconds?),
            received: entry.bytes_received?,
            sent: entry.bytes_sent?,
        })
    }

    /// Whether both tell of one request.
    fn is_of_request(&self, other: &Self) -> bool {
        (self.start, self.request_id, self.path) == (other.start, other.request_id, other.path)
    }

    /// Whether another tells of the same and says no less.
    fn is_before(&self, later: &Self) -> bool {
        self.start == later.start
            && self.request_id == later.request_id
            && self.path == later.path
            && self.authority == later.authority
            && (self.status == 0 || self.status == later.status)
            && self.lasted <= later.lasted
            && self.received <= later.received
            && self.sent <= later.sent
    }
}

impl Ledger {
    /// Judges the lines that waited on a connection and of which this one tells the course.
    pub(super) fn supersede(&mut self, id: ConnectionId, line: &Line) {
        let Some(Tracked::Mesh(mesh)) = self.connections.get_mut(&id) else {
            return;
        };
        let Some((entry, course)) = line.entry().and_then(|it| Some((it, Course::of(it)?))) else {
            return;
        };
        let is_before =
            |before: &Entry| Course::of(before).filter(|before| before.is_before(&course));
        let before = if let Some(request_id) = course.request_id {
            let one_by_one = !mesh.leg.is_multiplexed();
            let is_amid = Cell::new(false);
            let is_of_it = |before: &Entry| {
                let course = is_before(before);
                is_amid.set(is_amid.get() || course.is_some());
                course.is_some_and(|it| has_not_ended(before) || one_by_one && it.lasted >= APART)
            };
            let is_of_it = |line: &Line| line.entry().is_some_and(is_of_it);
            let mut lines = mesh.leg.take_lines(request_id, is_of_it);
            lines.extend(mesh.connection_lines.extract_if(.., |line| is_of_it(line)));
            if is_amid.get() {
                mesh.long_pairs.note_amid(course, KEPT);
            }
            lines
        } else if entry.speaks_of_http() {
            return;
        } else {
            let is_of_it = |line: &Line| {
                let before = line.entry().filter(|before| !before.speaks_of_http());
                before.and_then(is_before).is_some()
            };
            let lines = mesh.connection_lines.extract_if(.., |line| is_of_it(line));
            lines.collect()
        };
        for line in before {
            self.judge_interim(Some(id), line);
        }
    }

    /// Whether a line that is left is of a request whose line was told.
    pub(super) fn is_of_a_pair(&self, id: ConnectionId, line: &Line) -> bool {
        match (self.connections.get(&id), line.entry()) {
            (Some(Tracked::Mesh(mesh)), Some(entry)) => mesh.long_pairs.know(entry, mesh.side),
            _ => false,
        }
    }

    /// The same of the lines behind X-Forwarded-For, which name no connection.
    pub(super) fn supersede_forwarded(&mut self, line: &Line) {
        let (Some(entry), Some(pod)) = (line.entry(), self.pods.get_mut(&line.pod_uid)) else {
            return;
        };
        let Some(course) = Course::of(entry) else {
            return;
        };
        let is_before =
            |before: &Entry| Course::of(before).is_some_and(|before| before.is_before(&course));
        let before = pod.forwarded.take_lines_amid(entry, is_before);
        if !before.is_empty() {
            pod.forwarded.long_pairs.note_amid(course, KEPT_OF_POD);
        }
        for line in before {
            self.judge_interim(None, line);
        }
    }

    /// When the requests began that go on between the apps of a pod and its proxy, earliest first.
    pub(super) fn begins_of_open_requests(&self, uid: &str) -> Vec<Timestamp> {
        let connections = self.pods.get(uid).into_iter();
        let connections = connections.flat_map(|pod| pod.connections(Side::Client));
        let legs = connections.filter_map(|id| match self.connections.get(&id) {
            Some(Tracked::Mesh(mesh)) => Some(&mesh.leg),
            _ => None,
        });
        let open = legs.flat_map(|leg| leg.exchanges_without_line());
        let begins = open.filter_map(|open| match open {
            OpenExchange::Begun(begun) => Some(begun.time),
            _ => None,
        });
        let mut begins: Vec<Timestamp> = begins.collect();
        begins.sort_unstable();
        begins
    }

    /// A line of what goes on is as good as the one of its end.
    pub(super) fn judge_interim(&mut self, id: Option<ConnectionId>, line: Box<Line>) {
        let of = id.map(|id| (id, self.side(id)));
        self.judge_copy(&Copy { of, line }, Verdict::Matched);
    }
}

/// What is written while an exchange goes on, or beside its own line (`ACCESS_LOG_TYPE`).
pub(super) fn is_interim(entry: &Entry) -> bool {
    let kind = entry.access_log_type.as_deref().unwrap_or_default();
    [
        "Start",
        "Periodic",
        "Connected",
        "UpstreamEnd",
        "Established",
    ]
    .iter()
    .any(|end| kind.ends_with(end))
}

/// Whether a line may be of a request that began at one of these moments (in order) and goes on.
pub(super) fn may_go_on(begins: &[Timestamp], entry: &Entry) -> bool {
    let Some(start) = entry.start_time else {
        return false;
    };
    let first = begins.partition_point(|begin| *begin + CAPTURE_DELAY < start);
    let in_time = |begin: &Timestamp| fits_in_time(Side::Client, *begin, Timestamp::MAX, entry);
    begins.get(first).is_some_and(in_time)
}

/// Whether a line that names no connection tells of a request that goes on.
pub(super) fn tells_of_what_goes_on(entry: &Entry) -> bool {
    is_interim(entry) || entry.request_id.is_some() && has_not_ended(entry)
}

/// Whether a line tells of a request that neither was answered nor ended otherwise: what ends has
/// a status, a flag, or details.
pub(super) fn has_not_ended(entry: &Entry) -> bool {
    entry.method.is_some()
        && entry.response_code == Some(0)
        && entry
            .response_flags
            .as_deref()
            .is_none_or(|flags| flags == "-")
        && entry.response_code_details.is_none()
}

/// Whether a line may be the one of a connection's end, which was at `closed`.
pub(super) fn may_be_of_the_end(line: &Line, closed: Timestamp) -> bool {
    let course = line.entry().and_then(Course::of);
    course.is_none_or(|course| closed <= course.start + course.lasted + AT_ONCE)
}
