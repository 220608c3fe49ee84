//! One sink: its state, and the task that keeps it connected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant, sleep, sleep_until},
};

use super::{
    Notice, Report,
    age::Ages,
    backoff::Backoff,
    connect::{Credentials, Link, connect},
    error::ConnectionError,
    overflow::Overflow,
    queue::{Outbox, Receiver},
    settings::{SinkSettings, Timing},
    status::{Remainder, SinkStatus},
};
use crate::{record::Envelope, timestamp::Timestamp, tls::provider};

/// What all sinks are told while they run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// Grows with each reload: connect anew, with the settings and files as they now are.
    pub(super) reloads: u64,
    /// Settle until then, and end.
    pub(super) stop: Option<Instant>,
}

/// A sink, shared by the producer and its task.
pub(super) struct Sink {
    pub(super) name: Arc<str>,
    pub(super) timing: Timing,
    pub(super) report: Report,
    /// There is something to send.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) settings: SinkSettings,
    pub(super) outbox: Outbox,
    filtered: u64,
    connected: Option<Receiver>,
    connections: u64,
    attempts: u64,
    failures: u64,
    newest: Option<u64>,
    ages: Ages,
    last_error: Option<String>,
    certificate_not_after: Option<Timestamp>,
}

/// How a connection ended, or an attempt at one.
pub(super) enum End {
    /// We were told to stop, and the connection is closed.
    Stopped,
    /// We were told to connect anew.
    Reloaded,
    /// It failed.
    Failed(ConnectionError),
}

impl Sink {
    pub(super) fn new(settings: SinkSettings, timing: Timing, report: Report) -> Self {
        let name: Arc<str> = Arc::from(settings.endpoint.as_str());
        Self {
            timing,
            report,
            wake: Notify::new(),
            state: Mutex::new(State {
                outbox: Outbox::new(Arc::clone(&name), settings.bounds()),
                settings,
                filtered: 0,
                connected: None,
                connections: 0,
                attempts: 0,
                failures: 0,
                newest: None,
                ages: Ages::default(),
                last_error: None,
                certificate_not_after: None,
            }),
            name,
        }
    }

    /// Takes the records that the filter lets pass. Never waits for the network.
    pub(super) fn push(&self, envelopes: &[Envelope]) {
        let mut state = self.state();
        for envelope in envelopes {
            let include = &state.settings.include;
            if include.passes(envelope.kind, envelope.verdict) {
                state.newest = Some(envelope.sequence);
                state.outbox.push(envelope.clone());
            } else {
                state.filtered += 1;
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn set(&self, settings: SinkSettings) {
        let mut state = self.state();
        state.outbox.set_bounds(settings.bounds());
        state.settings = settings;
    }

    pub(super) fn take_overflows(&self) -> Vec<Overflow> {
        self.state().outbox.take_overflows()
    }

    pub(super) fn status(&self) -> SinkStatus {
        let mut state = self.state();
        let counts = state.outbox.counts();
        let (queued, oldest) = {
            let mut queued = state.outbox.queued();
            (queued.len(), queued.next().map(|oldest| oldest.sequence))
        };
        let newest = state.newest;
        let oldest_queued = state.ages.sample(Instant::now(), newest, oldest);
        SinkStatus {
            sink: Arc::clone(&self.name),
            connected: state.connected,
            queued,
            queued_bytes: state.outbox.queue_bytes(),
            oldest_queued,
            window_bytes: state.outbox.window_bytes(),
            filtered: state.filtered,
            sent: counts.sent,
            resent: counts.resent,
            acknowledged: counts.acknowledged,
            dropped: counts.dropped,
            reconnects: state.connections.saturating_sub(1),
            attempts: state.attempts,
            failures: state.failures,
            last_error: state.last_error.clone(),
            certificate_not_after: state.certificate_not_after,
        }
    }

    pub(super) fn remainder(&self) -> Remainder {
        let state = self.state();
        let mut queued = state.outbox.queued();
        let records = queued.len() as u64;
        let first = queued.next().map(|envelope| Arc::clone(&envelope.id));
        let last = queued.last().map(|envelope| Arc::clone(&envelope.id));
        Remainder {
            sink: Arc::clone(&self.name),
            records,
            bytes: state.outbox.queue_bytes(),
            unconfirmed: state.outbox.kept(),
            last: last.or_else(|| first.clone()),
            first,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No holder panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the sink connected until it is told to stop, or the other end of `orders` is gone.
    pub(super) async fn run(self: Arc<Self>, mut orders: watch::Receiver<Orders>) {
        let mut backoff = Backoff::new(self.timing.backoff_first, self.timing.backoff_limit);
        loop {
            let Orders { reloads, stop } = *orders.borrow_and_update();
            if stop.is_some() && self.state().outbox.is_settled() {
                return;
            }
            let attempt = tokio::select! {
                attempt = self.attempt() => attempt,
                changed = orders.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = until(stop) => return,
            };
            let end = match attempt {
                Ok(link) => self.carry(link, &mut orders, reloads, &mut backoff).await,
                Err(error) => End::Failed(error),
            };
            let error = match end {
                End::Stopped => return,
                End::Reloaded => {
                    backoff.reset();
                    continue;
                }
                End::Failed(error) => error,
            };
            let delay = backoff.delay(chance());
            self.failed(&error, delay);
            tokio::select! {
                () = sleep(delay) => {}
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if orders.borrow().reloads != reloads {
                        backoff.reset();
                    }
                }
                () = until(stop) => return,
            }
        }
    }

    async fn attempt(&self) -> Result<Link, ConnectionError> {
        let tls = {
            let mut state = self.state();
            state.attempts += 1;
            state.settings.tls.clone()
        };
        let credentials = Credentials::read(tls.clone()).await?;
        self.state().certificate_not_after = Some(credentials.not_after);
        connect(&self.name, &tls, credentials, &self.timing).await
    }

    /// The peer has accepted us: only now is the sink connected.
    pub(super) fn accepted(&self, receiver: Receiver) {
        let mut state = self.state();
        state.outbox.proven();
        state.connected = Some(receiver);
        state.connections += 1;
        state.last_error = None;
        drop(state);
        (self.report)(&Notice::Connected {
            sink: Arc::clone(&self.name),
            receiver,
        });
    }

    pub(super) fn ended(&self, orderly: bool) {
        let mut state = self.state();
        state.outbox.ended(orderly);
        state.connected = None;
    }

    fn failed(&self, error: &ConnectionError, retry_in: Duration) {
        let reason = error.to_string();
        {
            let mut state = self.state();
            state.failures += 1;
            state.last_error = Some(reason.clone());
        }
        (self.report)(&Notice::Failed {
            sink: Arc::clone(&self.name),
            reason,
            retry_in,
        });
    }
}

/// Completes at the deadline; without one, never.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn chance() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness the delay is the shortest of its step; that is no reason to fail.
    let _ = provider().secure_random.fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}
