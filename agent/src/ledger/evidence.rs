//! What a verdict rests on, beside the record: for `explain`.
//!
//! Everything in it is redacted as records are, and bounded.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{capture::Process, http::Gap, timestamp::Timestamp};

/// Why a record that is not `matched` got its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The record's sequence number.
    pub sequence: u64,
    /// The connection; none for a line that names none that is known.
    pub connection: Option<ConnectionEvidence>,
    /// What of the proxy's log was looked at; none where no line is expected.
    pub log: Option<LogWindow>,
    /// Everything that was sent before this moment had been told by the kernel side.
    #[serde(with = "moment")]
    pub captured_until: Timestamp,
    /// What the kernel side could not tell of the connection.
    pub losses: Vec<LossEvidence>,
    /// What might have been the other half, nearest first, and why it is not.
    pub candidates: Vec<Candidate>,
    /// Further candidates, which are not listed.
    pub further_candidates: usize,
}

impl Evidence {
    /// Applies `change` to every time in it.
    pub(super) fn each_time(&mut self, change: &impl Fn(Timestamp) -> Timestamp) {
        let apply = |time: &mut Timestamp| *time = change(*time);
        apply(&mut self.captured_until);
        if let Some(connection) = &mut self.connection {
            apply(&mut connection.opened);
            connection.closed.iter_mut().for_each(apply);
        }
        if let Some(log) = &mut self.log {
            apply(&mut log.from);
            apply(&mut log.to);
            let places = [&mut log.begin, &mut log.end];
            places
                .into_iter()
                .flatten()
                .for_each(|place| apply(&mut place.time));
            log.read_until.iter_mut().for_each(apply);
            log.holes.iter_mut().for_each(|hole| apply(&mut hole.time));
        }
        self.losses
            .iter_mut()
            .for_each(|loss| apply(&mut loss.time));
        for candidate in &mut self.candidates {
            match &mut candidate.subject {
                Subject::Line {
                    place, start_time, ..
                } => {
                    apply(&mut place.time);
                    start_time.iter_mut().for_each(apply);
                }
                Subject::Exchange { time, end, .. } => {
                    apply(time);
                    end.iter_mut().for_each(apply);
                }
                Subject::Pair { time, stamp, .. } => {
                    apply(time);
                    apply(stamp);
                }
                Subject::Connection { opened, closed, .. } => {
                    apply(opened);
                    closed.iter_mut().for_each(apply);
                }
            }
        }
    }
}

/// A connection, as both its tuples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionEvidence {
    /// When it was opened.
    #[serde(with = "moment")]
    pub opened: Timestamp,
    /// When it closed.
    #[serde(with = "optional_moment")]
    pub closed: Option<Timestamp>,
    /// As asked: the opener's own address and the destination that it named, before NAT.
    pub asked: Option<(SocketAddr, SocketAddr)>,
    /// As sent: source and destination of the opener's segments, after NAT.
    pub sent: (SocketAddr, SocketAddr),
    /// The end that opened it, if it is on this node's watched cgroups.
    pub client: Option<EndEvidence>,
    /// The end that accepted it, if the kernel found it in this pod.
    pub server: Option<EndEvidence>,
    /// The handshake was completed.
    pub established: bool,
    /// It is older than the agent.
    pub preexisting: bool,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndEvidence {
    /// The part that it plays: `app`, `proxy`, `pilot_agent`, `foreign` (another program in the
    /// proxy's container), `mesh_init`, `kubelet`, `outside` (of pods), `unknown`.
    pub role: String,
    /// Its container's name.
    pub container: Option<String>,
    /// Who called `connect`, or who bound the listener.
    pub process: Option<Process>,
}

/// What of a pod's log was looked at for the line of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogWindow {
    /// Lines are looked for that are stamped from here …
    #[serde(with = "moment")]
    pub from: Timestamp,
    /// … to here.
    #[serde(with = "moment")]
    pub to: Timestamp,
    /// The last line known before the window, or the first known at all; none: not one was read.
    pub begin: Option<LogPlace>,
    /// The end of what was read.
    pub end: Option<LogPlace>,
    /// Every line stamped before this was read; none: nothing was heard of the log.
    #[serde(with = "optional_moment")]
    pub read_until: Option<Timestamp>,
    /// Known holes in the window.
    pub holes: Vec<HoleEvidence>,
    /// At least one access-log line of this pod was ever read.
    pub lines_ever: bool,
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// The file, beneath the log root.
    pub file: String,
    /// In bytes.
    pub offset: u64,
    /// The stamp of the line there.
    #[serde(with = "moment")]
    pub time: Timestamp,
}

/// A known hole in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleEvidence {
    /// When it was noticed.
    #[serde(with = "moment")]
    pub time: Timestamp,
}

/// Something that the kernel side could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossEvidence {
    /// When that became known.
    #[serde(with = "moment")]
    pub time: Timestamp,
    /// Why.
    pub cause: Gap,
    /// Request heads known by number only; none: a part of one exchange.
    pub heads: Option<u64>,
}

/// What might have been the other half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What it is.
    #[serde(flatten)]
    pub subject: Subject,
    /// Why it does not fit; nothing: it agrees, and was needed elsewhere.
    pub misfits: Vec<Misfit>,
}

/// A line, an exchange or a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A line of the proxy's log.
    Line {
        /// Where it begins.
        place: LogPlace,
        /// `START_TIME`.
        #[serde(with = "optional_moment")]
        start_time: Option<Timestamp>,
        /// What it speaks of, redacted; none where it is known by its place only.
        what: Option<String>,
    },
    /// An exchange that the kernel saw.
    Exchange {
        /// The source of its connection, after NAT.
        source: SocketAddr,
        /// Counted from 0 on its connection.
        number: u32,
        /// The HTTP/2 stream that carries it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<u32>,
        /// Its first byte.
        #[serde(with = "moment")]
        time: Timestamp,
        /// Its end.
        #[serde(with = "optional_moment")]
        end: Option<Timestamp>,
        /// The request and its status, redacted; none where it has not ended.
        what: Option<String>,
    },
    /// An exchange and a line on the same connection that belong together.
    Pair {
        /// The exchange, counted from 0 on its connection.
        number: u32,
        /// The HTTP/2 stream that carried it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<u32>,
        /// Its first byte.
        #[serde(with = "moment")]
        time: Timestamp,
        /// Where the line begins, in bytes.
        offset: u64,
        /// The line's stamp.
        #[serde(with = "moment")]
        stamp: Timestamp,
    },
    /// A connection with the address that the line names.
    Connection {
        /// After NAT.
        source: SocketAddr,
        /// After NAT.
        destination: SocketAddr,
        /// When it was opened.
        #[serde(with = "moment")]
        opened: Timestamp,
        /// When it closed.
        #[serde(with = "optional_moment")]
        closed: Option<Timestamp>,
    },
}

/// Why a candidate does not fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Misfit {
    /// The accounts differ in a field; values are redacted.
    Differs {
        /// The attribute's OpenTelemetry name.
        field: String,
        /// The kernel's value.
        kernel: Value,
        /// The line's value.
        log: Value,
    },
    /// The line's `START_TIME` lies outside of the time of the other half.
    Time {
        /// Seconds from the begin of the other half to `START_TIME`.
        seconds_after_begin: f64,
    },
    /// Both have an `x-request-id`, and another one.
    RequestId,
    /// The line names another connection.
    AnotherConnection {
        /// The address that it names.
        source: Option<SocketAddr>,
    },
    /// It has its other half already.
    Paired {
        /// The record of both.
        record: String,
    },
    /// It was judged without another half.
    Judged {
        /// Its record.
        record: String,
    },
    /// The same line stands in the log before, and is paired.
    Repeated {
        /// The record of that pair.
        record: String,
    },
    /// It has not ended, so its line is not written yet.
    NotEnded,
    /// The line cannot be read, or not for sure.
    Unreadable,
}

/// Times as in records.
mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::timestamp::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| D::Error::custom("expected a time in UTC"))
    }

    pub(super) fn parse(text: &str) -> Option<Timestamp> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
    }
}

/// The same where there may be none.
mod optional_moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::moment::parse;
    use crate::timestamp::Timestamp;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse(&text).ok_or_else(|| D::Error::custom("expected a time in UTC")))
            .transpose()
    }
}
