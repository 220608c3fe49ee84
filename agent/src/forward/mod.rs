//! Records to their sinks, over mutual TLS.
//!
//! Each sink has a task, a bounded queue and a connection of its own, so that a slow one holds
//! back neither another nor the producer. The heart, `queue`, knows no I/O and no clock; the
//! shell around it connects, writes and reads.
//!
//! - `settings`: what a sink is told
//! - `queue`, `losses`: what waits, what is kept, what was lost
//! - `age`: how long the oldest has waited
//! - `ack`: what a receiver answers
//! - `backoff`: when to try again
//! - `connect`, `error`: one attempt, and why it failed
//! - `sink`, `carry`: the task of a sink; one connection
//! - `renewal`: certificate files that change
//! - `probe`: one connection that delivers nothing

mod ack;
mod age;
mod backoff;
mod carry;
mod connect;
mod error;
mod losses;
mod probe;
mod queue;
mod renewal;
mod settings;
mod sink;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::record::{Envelope, LossCause, SinkGap};
pub use error::ConnectionError;
pub use probe::{Probe, probe};
pub use queue::Receiver;
use settings::Timing;
pub use settings::{ClientTls, SettingsError, SinkSettings, check};
use sink::Sink;
pub use status::{Remainder, SinkStatus};

/// All sinks.
pub struct Forwarder {
    running: Vec<Running>,
    /// Sinks that a reload took away and that may still be delivering.
    retired: Vec<Running>,
    timing: Timing,
    report: Report,
    /// Where the tasks run; a reload comes from a thread outside.
    runtime: Handle,
}

/// Where notices go; called from the sinks' tasks, must not block.
pub type Report = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Something that an operator wants to read of a sink. Bounded in rate by the backoff.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The receiver has accepted us.
    Connected {
        /// The sink's endpoint.
        sink: Arc<str>,
        /// What the receiver promises.
        receiver: Receiver,
    },
    /// An attempt or a connection failed.
    Failed {
        /// The sink's endpoint.
        sink: Arc<str>,
        /// Why, and what to check.
        reason: String,
        /// The delay before the next attempt.
        retry_in: Duration,
    },
    /// Certificate files were changed, or are to be read anew, and cannot be used as they are.
    Unusable {
        /// The sink's endpoint.
        sink: Arc<str>,
        /// What is wrong with them.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { sink, receiver } => {
                let promise = match receiver {
                    Receiver::Acknowledging => "it acknowledges what it stores",
                    Receiver::Silent => "it does not acknowledge; the resend window protects",
                };
                write!(f, "sink {sink}: connected; {promise}")
            }
            Self::Failed {
                sink,
                reason,
                retry_in,
            } => {
                let seconds = retry_in.as_secs_f32();
                write!(f, "sink {sink}: {reason} (next attempt in {seconds:.1} s)")
            }
            Self::Unusable { sink, reason } => write!(
                f,
                "sink {sink}: {reason}; a connection that stands goes on with what it began with"
            ),
        }
    }
}

struct Running {
    sink: Arc<Sink>,
    /// Settle until then, and end.
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Starts a task for each sink; must be called within a tokio runtime.
    ///
    /// Credentials are read at each connect, so that a missing file delays only its sink.
    ///
    /// # Errors
    /// Settings that can never work.
    pub fn start(settings: Vec<SinkSettings>, report: Report) -> Result<Self, SettingsError> {
        Self::start_with(settings, report, Timing::default())
    }

    fn start_with(
        settings: Vec<SinkSettings>,
        report: Report,
        timing: Timing,
    ) -> Result<Self, SettingsError> {
        let mut forwarder = Self {
            running: Vec::new(),
            retired: Vec::new(),
            timing,
            report,
            runtime: Handle::current(),
        };
        forwarder.reload(settings)?;
        Ok(forwarder)
    }

    /// Gives a record to every sink whose filter lets it pass. Never blocks. Records come in the
    /// order of their sequence numbers.
    pub fn send(&self, envelope: &Envelope) {
        self.send_all(std::slice::from_ref(envelope));
    }

    /// The same with many: the sinks' tasks are woken once.
    pub fn send_all(&self, envelopes: &[Envelope]) {
        for running in &self.running {
            running.sink.push(envelopes);
        }
    }

    /// What connected and retired sinks lost to their bounds since the last call; each range is owed
    /// a `gap` record. What a sink that is not connected lost is told once it is.
    #[must_use]
    pub fn take_losses(&mut self) -> Vec<SinkGap> {
        let running = self.running.iter();
        let mut losses: Vec<_> = running
            .flat_map(|running| running.sink.take_losses(false))
            .collect();
        self.retired.retain(|running| {
            losses.extend(running.sink.take_losses(true));
            if !running.task.is_finished() {
                return true;
            }
            let rest = running.sink.remainder();
            if let (Some(first), Some(last)) = (rest.first, rest.last) {
                losses.push(SinkGap {
                    sink: rest.sink.to_string(),
                    ids: (first.to_string(), last.to_string()),
                    records: rest.records,
                    cause: LossCause::Queue,
                });
            }
            false
        });
        losses
    }

    /// The same at the end of the agent: what sinks lost that are not connected, too.
    #[must_use]
    pub fn take_last_losses(&mut self) -> Vec<SinkGap> {
        let mut losses = self.take_losses();
        let running = self.running.iter();
        losses.extend(running.flat_map(|running| running.sink.take_losses(true)));
        losses
    }

    /// Every sink as it stands.
    #[must_use]
    pub fn statuses(&self) -> Vec<SinkStatus> {
        self.running
            .iter()
            .map(|running| running.sink.status())
            .collect()
    }

    /// Takes other settings. A sink whose endpoint stays keeps its queue, and connects anew if
    /// names or certificates have changed into something that can be used; one that goes away delivers what it can within five seconds,
    /// and the rest comes out of [`Self::take_losses`].
    ///
    /// # Errors
    /// Settings that can never work. Nothing has changed then.
    pub fn reload(&mut self, settings: Vec<SinkSettings>) -> Result<(), SettingsError> {
        check(&settings)?;
        let endpoints: HashSet<_> = settings.iter().map(|sink| sink.endpoint.clone()).collect();
        let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| endpoints.contains(&*running.sink.name));
        self.running = stay;
        for running in gone {
            running.halt(Instant::now() + self.timing.retirement);
            self.retired.push(running);
        }
        for settings in settings {
            let known = self
                .running
                .iter()
                .find(|running| *running.sink.name == *settings.endpoint);
            match known {
                Some(running) => {
                    running.sink.reload(settings);
                }
                None => self.running.push(self.spawn(settings)),
            }
        }
        Ok(())
    }

    /// Delivers what can be delivered until the deadline, waits for acknowledgements, closes the
    /// connections in order, and tells what each sink has left.
    pub async fn shutdown(self, deadline: Instant) -> Vec<Remainder> {
        let all = || self.running.iter().chain(&self.retired);
        for running in all() {
            running.halt(deadline);
        }
        let mut remainders = Vec::new();
        for running in self.running.into_iter().chain(self.retired) {
            let mut task = running.task;
            // The tasks mind the deadline; this is for one that cannot.
            if timeout_at(deadline + OVERTIME, &mut task).await.is_err() {
                task.abort();
            }
            remainders.push(running.sink.remainder());
        }
        remainders
    }

    fn spawn(&self, settings: SinkSettings) -> Running {
        let sink = Arc::new(Sink::new(
            settings,
            self.timing.clone(),
            Arc::clone(&self.report),
        ));
        let (stop, stopped) = watch::channel(None);
        let task = self.runtime.spawn(Arc::clone(&sink).run(stopped));
        Running { sink, stop, task }
    }
}

impl Running {
    fn halt(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
    }
}

const OVERTIME: Duration = Duration::from_millis(100);
