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
    queue::{Outbox, Receiver},
    renewal::Basis,
    settings::{SinkSettings, Timing},
    status::{Remainder, SinkStatus},
};
use crate::{
    record::{Envelope, SinkGap},
    timestamp::Timestamp,
    tls::provider,
};

/// A sink, shared by the producer and its task.
pub(super) struct Sink {
    pub(super) name: Arc<str>,
    pub(super) timing: Timing,
    pub(super) report: Report,
    /// There is something to send.
    pub(super) wake: Notify,
    /// The settings were told anew.
    pub(super) reloaded: Notify,
    /// What a connection can be made with, where files or settings changed.
    pub(super) renewals: watch::Sender<Option<Basis>>,
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
    /// With what the last attempt was made; none before the first.
    pub(super) basis: Option<Basis>,
}

/// How a connection ended, or an attempt at one.
pub(super) enum End {
    /// We were told to stop, and the connection is closed.
    Stopped,
    /// There are renewed certificates, or other settings.
    Renewed,
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
            reloaded: Notify::new(),
            renewals: watch::channel(None).0,
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
                basis: None,
            }),
            name,
        }
    }

    /// Takes the records that the filter lets pass. Never waits for the network.
    pub(super) fn push(&self, envelopes: &[Envelope]) {
        if envelopes.is_empty() {
            return;
        }
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

    pub(super) fn reload(&self, settings: SinkSettings) {
        let mut state = self.state();
        state.outbox.set_bounds(settings.bounds());
        state.settings = settings;
        drop(state);
        self.reloaded.notify_one();
    }

    /// What was lost since the last call. Not before the sink is connected, unless `at_once`: while
    /// nothing leaves, a record that tells it would be lost next.
    pub(super) fn take_losses(&self, at_once: bool) -> Vec<SinkGap> {
        let mut state = self.state();
        match at_once || state.connected.is_some() {
            true => state.outbox.take_losses(),
            false => Vec::new(),
        }
    }

    pub(super) fn status(&self) -> SinkStatus {
        let mut state = self.state();
        let counts = state.outbox.counts();
        let queued = state.outbox.queued_records();
        let oldest = state.outbox.queued().next().map(|oldest| oldest.sequence);
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
            unconfirmed: counts.unconfirmed,
            reconnects: state.connections.saturating_sub(1),
            attempts: state.attempts,
            failures: state.failures,
            last_error: state.last_error.clone(),
            certificate_not_after: state.certificate_not_after,
        }
    }

    pub(super) fn remainder(&self) -> Remainder {
        let state = self.state();
        let id = |envelope: &Envelope| Arc::clone(&envelope.id);
        Remainder {
            sink: Arc::clone(&self.name),
            records: state.outbox.queued_records() as u64,
            bytes: state.outbox.queue_bytes(),
            unconfirmed: state.outbox.kept(),
            first: state.outbox.queued().next().map(id),
            last: state.outbox.queued().next_back().map(id),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No holder panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the sink connected until it is told to stop, or the other end of `stop` is gone.
    pub(super) async fn run(self: Arc<Self>, stop: watch::Receiver<Option<Instant>>) {
        tokio::select! {
            () = self.keep_connected(stop) => {}
            () = self.watch_files() => {}
        }
    }

    async fn keep_connected(&self, mut stop: watch::Receiver<Option<Instant>>) {
        let mut backoff = Backoff::new(self.timing.backoff_first, self.timing.backoff_limit);
        let mut renewals = self.renewals.subscribe();
        loop {
            let deadline = *stop.borrow_and_update();
            if deadline.is_some() && self.state().outbox.is_settled() {
                return;
            }
            renewals.mark_unchanged();
            let attempt = tokio::select! {
                attempt = self.attempt() => attempt,
                changed = stop.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = until(deadline) => return,
            };
            let end = match attempt {
                Ok(link) => {
                    self.carry(link, &mut stop, &mut renewals, &mut backoff)
                        .await
                }
                Err(error) => End::Failed(error),
            };
            let error = match end {
                End::Stopped => return,
                End::Renewed => {
                    backoff.reset();
                    continue;
                }
                End::Failed(error) => error,
            };
            let delay = backoff.delay(chance());
            self.failed(&error, delay);
            tokio::select! {
                () = sleep(delay) => {}
                changed = stop.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Ok(()) = renewals.changed() => backoff.reset(),
                () = until(deadline) => return,
            }
        }
    }

    async fn attempt(&self) -> Result<Link, ConnectionError> {
        let tls = {
            let mut state = self.state();
            state.attempts += 1;
            state.settings.tls.clone()
        };
        let basis = Basis::of(tls.clone()).await;
        self.state().basis = Some(basis);
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
