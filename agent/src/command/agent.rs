//! The loop of the agent: the witness feeds the ledger, the ledger feeds the sinks.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing::{error, info, warn};

use super::{CommandError, reload::Reload, signals::Signals};
use crate::{
    config::{Config, Mode},
    explain::{Kept, Store},
    forward::{self, Forwarder, Notice, SettingsError, SinkSettings, SinkStatus},
    ledger::{Input, Ledger, Reconfiguration, Settings},
    record::{Body, Include, LossCause, Record, SinkGap, Units, Verdict},
    telemetry::{Metrics, ReadyTask, Side, SinkNumbers},
    witness::{HttpPorts, Recorder, State, Witness, now},
    workload::WorkloadFact,
};

/// How long the loop rests between two looks at the rings. A cgroup may fill a fourth of one: of the
/// default ring that holds what comes meanwhile at 400 MB/s.
const REST: Duration = Duration::from_millis(10);

/// How often positions are kept and numbers told.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// After SIGTERM lines are waited for at most this long; the contract gives 5 s in all.
const SETTLE_AT_MOST: Duration = Duration::from_millis(2500);

/// And this long is left to deliver.
const DELIVER_AT_MOST: Duration = Duration::from_millis(1800);

/// What `run` and `record` put together.
pub(super) struct Agent {
    pub(super) witness: Witness,
    pub(super) ledger: Ledger,
    pub(super) forwarder: Forwarder,
    pub(super) recorder: Option<Recorder>,
    pub(super) state: Option<State>,
    /// For those who ask why; none where nobody can.
    pub(super) http_ports: Option<HttpPorts>,
    pub(super) explanations: Option<Arc<Store>>,
    pub(super) metrics: Arc<Metrics>,
    /// What is in force.
    pub(super) config: Config,
}

impl Agent {
    /// Works until a signal says to stop, then settles and delivers what can be. `looking` is done
    /// once everything was looked at.
    pub(super) fn work(
        mut self,
        runtime: tokio::runtime::Runtime,
        signals: &Signals,
        config_file: Option<&Path>,
        looking: ReadyTask,
    ) {
        let mut inputs = Vec::new();
        self.witness.poll(&mut inputs);
        self.take(&mut inputs);
        // Who is told that the agent is ready finds every metric.
        self.tell();
        looking.done();
        let mut kept = Instant::now();
        while !signals.stop() {
            self.witness.poll(&mut inputs);
            self.take(&mut inputs);
            if kept.elapsed() >= KEEP_EVERY {
                let losses = self.forwarder.take_losses();
                take_losses(losses, &mut inputs);
                self.keep();
                self.tell();
                kept = Instant::now();
            }
            if signals.take_reload()
                && let Some(config_file) = config_file
            {
                self.reload(config_file);
            }
            std::thread::sleep(REST);
        }
        self.settle();
        take_losses(self.forwarder.take_last_losses(), &mut inputs);
        inputs.push(Input::Stopped(now()));
        self.take(&mut inputs);
        self.keep();
        let deadline = tokio::time::Instant::now() + DELIVER_AT_MOST;
        for rest in runtime.block_on(self.forwarder.shutdown(deadline)) {
            if rest.records > 0 {
                warn!(
                    "sink {}: {} records were not delivered",
                    rest.sink, rest.records
                );
            }
        }
        runtime.shutdown_timeout(Duration::from_millis(100));
    }

    /// What the next run shall know.
    fn remember(&mut self, input: &Input) {
        if let (Some(ports), Input::Workload(WorkloadFact::PodGone { uid })) =
            (&mut self.http_ports, input)
        {
            ports.forget(uid);
        }
    }

    /// Hands inputs to the ledger and its records to the sinks.
    pub(super) fn take(&mut self, inputs: &mut Vec<Input>) {
        let (mut envelopes, mut explained) = (Vec::new(), Vec::new());
        let (mut records, mut line) = (Vec::new(), Vec::new());
        for input in inputs.drain(..) {
            if let Some(recorder) = &mut self.recorder
                && let Err(error) = recorder.add(&input)
            {
                error!("{error}; the recording ends here");
                self.recorder = None;
            }
            self.remember(&input);
            self.ledger.handle(input, &mut records);
            let mut evidence = self.ledger.take_evidence().into_iter().peekable();
            for record in records.drain(..) {
                let evidence = evidence.next_if(|of| of.sequence == record.sequence);
                count(&self.metrics, &record);
                match record.seal(&mut line) {
                    Ok(envelope) => {
                        let kept = evidence.zip(record.verdict);
                        explained.extend(kept.map(|(evidence, verdict)| Kept {
                            record: Arc::clone(&envelope.line),
                            verdict,
                            evidence,
                        }));
                        envelopes.push(envelope);
                    }
                    Err(error) => error!("record {}: {error}", record.id),
                }
            }
        }
        self.forwarder.send_all(&envelopes);
        if let (Some(store), Some(newest)) = (&self.explanations, envelopes.last()) {
            store.keep(newest.sequence, explained);
        }
    }

    /// Waits for the lines of what has ended, so far as the time allows.
    fn settle(&mut self) {
        let began = Instant::now();
        let at_most = SETTLE_AT_MOST.min(self.config.logs.flush + Duration::from_millis(500));
        let mut inputs = Vec::new();
        while began.elapsed() < at_most && self.ledger.pending() != Units::default() {
            self.witness.poll(&mut inputs);
            self.take(&mut inputs);
            std::thread::sleep(REST);
        }
        self.witness.poll(&mut inputs);
        self.take(&mut inputs);
    }

    fn keep(&mut self) {
        if let Some(state) = &self.state
            && let Err(error) = state.keep(&self.witness.positions())
        {
            error!("{error}");
        }
        let learnt = self.ledger.take_http_ports();
        if let Some(ports) = &mut self.http_ports {
            ports.learn(learnt);
            if let Err(error) = ports.keep() {
                error!("the ports that speak HTTP cannot be kept: {error}");
            }
        }
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.flush()
        {
            error!("{error}");
        }
    }

    /// Tells the numbers that nobody counts on the way.
    fn tell(&mut self) {
        let pending = self.ledger.pending();
        self.metrics
            .pending_units
            .set(Side::Observed, pending.observed);
        self.metrics.pending_units.set(Side::Logged, pending.logged);
        self.witness.tell();
        self.metrics.set_pods(self.ledger.pods());
        let sinks = self.forwarder.statuses().into_iter().map(numbers);
        self.metrics.set_sinks(sinks.collect());
    }

    fn reload(&mut self, config_file: &Path) {
        if let Err(error) = self.try_reload(config_file) {
            error!("{error:#}; the configuration stays as it was");
        }
    }

    fn try_reload(&mut self, config_file: &Path) -> anyhow::Result<()> {
        let read = Config::load(config_file)?;
        read.require_sinks(config_file)?;
        let Reload {
            config,
            changed,
            at_next_start,
        } = Reload::new(&self.config, read);
        self.forwarder.reload(sinks(&config))?;
        self.witness.redact(&config);
        let words = match changed.is_empty() {
            true => "nothing changed".to_owned(),
            false => format!("in force now: {}", changed.join(", ")),
        };
        info!("the configuration was read anew, and certificates are; {words}");
        for key in &at_next_start {
            warn!("`{key}` changed in the configuration; it is in force from the next start on");
        }
        let settings = Reconfiguration {
            flush: config.logs.flush,
            interval: config.ledger.interval,
            policy: config.mesh.policy.clone(),
            sinks: filters(&config),
            changed,
            at_next_start,
        };
        self.config = config;
        self.take(&mut vec![Input::Reconfigured {
            time: now(),
            settings: Box::new(settings),
        }]);
        Ok(())
    }
}

/// Losses of sinks as inputs. They are told once a second: a `gap` record takes room in the queues,
/// too.
fn take_losses(losses: Vec<SinkGap>, inputs: &mut Vec<Input>) {
    let time = now();
    inputs.extend(losses.into_iter().map(|gap| {
        let SinkGap {
            sink, ids, records, ..
        } = &gap;
        let bound = match gap.cause {
            LossCause::Queue => "its `queue` was full",
            LossCause::Window => "its connection broke and they were no longer in `window`",
        };
        warn!(
            "sink {sink}: {records} records may be lost, {} to {}: {bound}",
            ids.0, ids.1
        );
        Input::Overflow { time, gap }
    }));
}

/// Starts the sinks; must be called within a tokio runtime.
pub(super) fn start_forwarder(config: &Config) -> Result<Forwarder, SettingsError> {
    let report = Arc::new(|notice: &Notice| match notice {
        Notice::Connected { .. } => info!("{notice}"),
        Notice::Failed { .. } | Notice::Unusable { .. } => warn!("{notice}"),
    });
    Forwarder::start(sinks(config), report)
}

/// The ledger's settings.
pub(super) fn settings(
    config: &Config,
    start_id: String,
    earlier_run: bool,
) -> Result<Settings, CommandError> {
    Ok(Settings {
        start_id,
        node: config.node.name_or_host().context("the host name")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        proxy_containers: config.logs.proxy_containers.clone(),
        mesh_listeners: config.mesh.listeners.clone(),
        flush: config.logs.flush,
        interval: config.ledger.interval,
        earlier_run,
        observe: config.mode == Mode::Observe,
        policy: config.mesh.policy.clone(),
        sinks: filters(config),
    })
}

/// The sinks and what each takes.
fn filters(config: &Config) -> Vec<(String, Include)> {
    let sinks = config.forward.iter();
    sinks
        .map(|sink| (sink.endpoint.to_string(), sink.include.clone()))
        .collect()
}

/// What the sinks are told.
pub(super) fn sinks(config: &Config) -> Vec<SinkSettings> {
    let sink = |sink: &crate::config::Sink| SinkSettings {
        endpoint: sink.endpoint.to_string(),
        tls: forward::ClientTls {
            ca: sink.tls.ca.clone(),
            cert: sink.tls.cert.clone(),
            key: sink.tls.key.clone(),
            server_name: sink.tls.server_name.clone(),
        },
        include: sink.include.clone(),
        queue_bytes: usize::try_from(sink.queue_bytes).unwrap_or(usize::MAX),
        window_bytes: usize::try_from(sink.window_bytes).unwrap_or(usize::MAX),
    };
    config.forward.iter().map(sink).collect()
}

fn numbers(status: SinkStatus) -> SinkNumbers {
    SinkNumbers {
        name: status.sink.to_string(),
        connected: status.connected.is_some(),
        queued_records: status.queued as u64,
        queued_bytes: status.queued_bytes as u64,
        oldest_queued_seconds: status.oldest_queued.as_secs_f64(),
        window_bytes: status.window_bytes as u64,
        sent: status.sent,
        resent: status.resent,
        acknowledged: status.acknowledged,
        dropped: status.dropped,
        unconfirmed: status.unconfirmed,
        filtered: status.filtered,
        attempts: status.attempts,
        failures: status.failures,
        certificate_expiry_seconds: status
            .certificate_not_after
            .map(|end| end.0 / 1_000_000_000),
    }
}

fn count(metrics: &Metrics, record: &Record) {
    metrics.records.add((record.kind, record.verdict), 1);
    let (Some(verdict), Some(units), Body::Traffic(traffic)) =
        (record.verdict, record.units, &record.body)
    else {
        return;
    };
    if !traffic.revises.is_empty() {
        metrics.revisions.add(1);
    }
    let reason = record.reasons.iter().flatten().next();
    let lost = reason.filter(|_| verdict == Verdict::Unverifiable);
    for side in [Side::Observed, Side::Logged] {
        let count = side.of(units);
        if count > 0 {
            metrics.units.add((verdict, side), count);
            if let Some(reason) = lost {
                metrics.lost_units.add((*reason, side), count);
            }
        }
    }
}
