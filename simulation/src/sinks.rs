//! Logs that have more than one line of a request.

use meshwitness::{
    envoy::LogEntry,
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

use crate::{
    log::Sink,
    random::Random,
    scene::Scene,
    truth::{Likeness, Statement},
};

/// What a log has beside the line that is written when a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A second sink writes the same format.
    Same,
    /// A second sink writes a shorter format.
    Shorter,
    /// A line of its own for each request that has begun, or for each attempt.
    Interim,
}

impl Beside {
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.chance(70) {
            true => Self::Nothing,
            false => *random.pick(&[Self::Same, Self::Shorter, Self::Interim]),
        }
    }

    /// Every line is written twice.
    pub(crate) fn is_doubled(self) -> bool {
        matches!(self, Self::Same | Self::Shorter)
    }
}

impl Scene {
    /// The proxy writes a line, and whatever its log has beside. `side`: of the connection that
    /// the line names; none if it names none.
    pub(crate) fn write(
        &mut self,
        pod: usize,
        made: Timestamp,
        mut entry: LogEntry,
        likeness: Likeness,
        side: Option<Side>,
    ) {
        let mut other = entry.clone();
        let beside = self.logs[pod].beside;
        let started = match beside {
            Beside::Nothing => None,
            Beside::Same => Some(made),
            Beside::Shorter => {
                other.duration_milliseconds = None;
                Some(made)
            }
            Beside::Interim => {
                entry.access_log_type = Some("DownstreamEnd".to_owned());
                let kind = match side {
                    // At the start of a request to the app no tuple is known yet.
                    Some(Side::Server) => "UpstreamEnd",
                    _ => "DownstreamStart",
                };
                other.access_log_type = Some(kind.to_owned());
                (other.response_code, other.bytes_sent) = (Some(0), Some(0));
                let of_request = entry.method.is_some() && side.is_some();
                let time = if kind == "UpstreamEnd" {
                    Some(made)
                } else {
                    entry.start_time
                };
                time.filter(|_| of_request)
            }
        };
        if let Some(time) = started {
            let side = side.or_else(|| side_of(&entry));
            let mut copy = Statement::new(Verdict::Matched, Side::Client);
            copy = copy.because(Reason::Repeated).logged(likeness);
            self.truth.expect(vec![Statement { side, ..copy }]);
            self.logs[pod].make(Sink::Second, time, other, likeness);
        }
        self.logs[pod].make(Sink::First, made, entry, likeness);
    }
}

/// Which side a line tells that names no connection.
fn side_of(entry: &LogEntry) -> Option<Side> {
    let cluster = entry.upstream_cluster.as_deref()?;
    Some(match cluster.starts_with("inbound|") {
        true => Side::Server,
        false => Side::Client,
    })
}
