//! Whether the agent is ready, and whether it is alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What the agent waits for before it is ready, and what has failed. Names are the program's own.
///
/// Ready is said once: an agent whose collector is away is still the one that captures, and must
/// not be replaced for it.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<&'static str>,
    failures: BTreeMap<&'static str, String>,
    beats: BTreeMap<&'static str, Beat>,
}

#[derive(Debug)]
struct Beat {
    limit: Duration,
    /// None while the loop rests.
    last: Option<Instant>,
}

impl Health {
    /// Nothing to wait for, nothing failed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Holds readiness back until the task is [done](ReadyTask::done). One that is dropped
    /// without that has failed, and the agent never becomes ready.
    pub fn wait_for(self: &Arc<Self>, name: &'static str) -> ReadyTask {
        self.state().waiting.insert(name);
        ReadyTask {
            health: Arc::clone(self),
            name,
        }
    }

    /// A loop that must turn at least every `limit` once it has begun.
    pub fn heartbeat(self: &Arc<Self>, name: &'static str, limit: Duration) -> Heartbeat {
        let beat = Beat { limit, last: None };
        self.state().beats.insert(name, beat);
        Heartbeat {
            health: Arc::clone(self),
            name,
        }
    }

    /// Says that something has failed, until [`Self::mended`].
    pub fn failed(&self, name: &'static str, message: impl Into<String>) {
        self.state().failures.insert(name, message.into());
    }

    /// Says that it works again.
    pub fn mended(&self, name: &'static str) {
        self.state().failures.remove(name);
    }

    /// What readiness waits for; empty: ready.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.state().waiting.iter().copied().collect()
    }

    /// What is wrong; empty: alive.
    #[must_use]
    pub fn failures(&self, now: Instant) -> Vec<String> {
        let state = self.state();
        let failures = state
            .failures
            .iter()
            .map(|(name, message)| format!("{name}: {message}"));
        let stalled = state.beats.iter().filter_map(|(name, beat)| {
            let silence = now.saturating_duration_since(beat.last?);
            (silence > beat.limit)
                .then(|| format!("{name}: has not moved for {} s", silence.as_secs()))
        });
        failures.chain(stalled).collect()
    }

    /// No update leaves the state half done, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that readiness waits for.
#[derive(Debug)]
#[must_use = "the agent is not ready before the task is done"]
pub struct ReadyTask {
    health: Arc<Health>,
    name: &'static str,
}

impl ReadyTask {
    /// Readiness no longer waits for it.
    pub fn done(self) {
        self.health.state().waiting.remove(self.name);
    }
}

/// The sign of life of a loop.
#[derive(Debug)]
pub struct Heartbeat {
    health: Arc<Health>,
    name: &'static str,
}

impl Heartbeat {
    /// The loop turned.
    pub fn beat(&self, now: Instant) {
        self.set(Some(now));
    }

    /// The loop has nothing to do and may stand still for any time.
    pub fn rest(&self) {
        self.set(None);
    }

    fn set(&self, last: Option<Instant>) {
        if let Some(beat) = self.health.state().beats.get_mut(self.name) {
            beat.last = last;
        }
    }
}

/// A loop that ended is not expected to turn; if it must not end, its owner says so by
/// [`Health::failed`].
impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.health.state().beats.remove(self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Health;

    #[test]
    fn ready_once_every_task_is_done() {
        let health = Health::new();
        let (capture, logs) = (health.wait_for("capture"), health.wait_for("logs"));
        assert_eq!(health.waiting_for(), ["capture", "logs"]);
        capture.done();
        assert_eq!(health.waiting_for(), ["logs"]);
        drop(logs);
        assert_eq!(health.waiting_for(), ["logs"]);
        health.wait_for("logs").done();
        assert!(health.waiting_for().is_empty());
    }

    #[test]
    fn alive_while_loops_turn_and_nothing_failed() {
        let health = Health::new();
        let now = Instant::now();
        let later = now + Duration::from_secs(11);
        let beat = health.heartbeat("capture", Duration::from_secs(10));
        assert!(health.failures(later).is_empty());
        beat.beat(now);
        assert!(health.failures(now + Duration::from_secs(10)).is_empty());
        assert_eq!(health.failures(later), ["capture: has not moved for 11 s"]);
        beat.rest();
        assert!(health.failures(later).is_empty());
        beat.beat(now);
        health.failed("state", "disk full");
        assert_eq!(health.failures(later).len(), 2);
        health.mended("state");
        drop(beat);
        assert!(health.failures(later).is_empty());
    }
}
