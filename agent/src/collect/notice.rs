//! What an operator wants to read.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where notices go; called from the collector's tasks, must not block.
pub type Report = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Something that happened. Displays without control characters.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A client was not let in.
    HandshakeFailed {
        /// Where it came from.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A connection was one too many.
    TurnedAway {
        /// Where it came from.
        peer: SocketAddr,
    },
    /// No connection can be accepted for now.
    AcceptFailed {
        /// What the system said.
        reason: String,
    },
    /// A sender's session ended in an error.
    SessionFailed {
        /// The sender's name.
        sender: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A crash had left something behind.
    Recovered {
        /// The sender's name.
        sender: Arc<str>,
        /// Bytes of a begun line, cut off.
        cut_bytes: u64,
        /// Lines that are no records, left there.
        unreadable: u64,
    },
    /// Changed certificate files are in use.
    CertificatesRenewed,
    /// Changed certificate files cannot be used; what was in use stays.
    CertificatesUnusable {
        /// Why.
        reason: String,
    },
    /// Others were not told, there were too many.
    Suppressed {
        /// How many.
        notices: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandshakeFailed { peer, reason } => {
                write!(f, "{peer}: not let in: {}", plain(reason))
            }
            Self::TurnedAway { peer } => {
                write!(f, "{peer}: turned away, too many connections")
            }
            Self::AcceptFailed { reason } => {
                write!(f, "no connection can be accepted: {}", plain(reason))
            }
            Self::SessionFailed { sender, reason } => {
                write!(f, "{}: {}", plain(sender), plain(reason))
            }
            Self::Recovered {
                sender,
                cut_bytes,
                unreadable,
            } => write!(
                f,
                "{}: recovered after a crash: a begun line of {cut_bytes} bytes cut off, {unreadable} unreadable lines left in place",
                plain(sender)
            ),
            Self::CertificatesRenewed => f.write_str("changed certificates are in use"),
            Self::CertificatesUnusable { reason } => {
                write!(f, "changed certificates cannot be used: {}", plain(reason))
            }
            Self::Suppressed { notices } => {
                write!(
                    f,
                    "{notices} notices were not shown; the counters have them"
                )
            }
        }
    }
}

/// Tells notices, but no more than a few a second: whoever makes them may not want to be read.
pub(super) struct Reporter {
    report: Report,
    rate: Mutex<Rate>,
}

struct Rate {
    since: Instant,
    told: u32,
    suppressed: u64,
}

impl Reporter {
    pub(super) fn new(report: Report) -> Self {
        Self {
            report,
            rate: Mutex::new(Rate {
                since: Instant::now(),
                told: 0,
                suppressed: 0,
            }),
        }
    }

    pub(super) fn tell(&self, notice: &Notice) {
        let Some(suppressed) = self.admit(Instant::now()) else {
            return;
        };
        if suppressed > 0 {
            (self.report)(&Notice::Suppressed {
                notices: suppressed,
            });
        }
        (self.report)(notice);
    }

    /// Some: tell it, and how many were not told before.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(rate.since) >= PERIOD {
            rate.since = now;
            rate.told = 0;
        }
        if rate.told >= MOST_PER_PERIOD {
            rate.suppressed += 1;
            return None;
        }
        rate.told += 1;
        Some(std::mem::take(&mut rate.suppressed))
    }
}

/// Names and messages may hold a peer's bytes.
fn plain(text: &str) -> impl fmt::Display + '_ {
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            let itself = (!character.is_control()).then_some(character);
            escaped.into_iter().flatten().chain(itself)
        })
        .collect::<String>()
}

const PERIOD: Duration = Duration::from_secs(1);
const MOST_PER_PERIOD: u32 = 20;

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::{MOST_PER_PERIOD, Notice, Reporter};

    #[test]
    fn tells_few_and_then_how_many_it_did_not() {
        let reporter = Reporter::new(Arc::new(|_: &Notice| {}));
        let begun = Instant::now();
        for _ in 0..MOST_PER_PERIOD {
            assert_eq!(reporter.admit(begun), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(reporter.admit(begun), None);
        }
        assert_eq!(reporter.admit(begun + Duration::from_secs(2)), Some(1000));
    }

    #[test]
    fn a_peers_bytes_do_not_reach_the_terminal() {
        let notice = Notice::SessionFailed {
            sender: Arc::from("n1\u{1b}[2J"),
            reason: "line\nbreak, `é`".to_owned(),
        };
        assert_eq!(notice.to_string(), r"n1\u{1b}[2J: line\nbreak, `é`");
    }
}
