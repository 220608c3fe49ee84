//! The loop of the agent: the witness feeds the ledger, the ledger feeds the sinks.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing::{error, info, warn};

use super::{CommandError, desk::Desk, reload::Reload, signals::Signals};
use crate::{
    config::{Config, Mode},
    forward::{self, Forwarder, Notice, SettingsError, SinkSettings},
    ledger::{ATTACH_SPAN, Input, Reconfiguration, Settings},
    record::{Include, LossCause, SinkGap, Units},
    telemetry::ReadyTask,
    witness::{State, Witness, now},
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

/// Both together, also where the work between them has to wait for a processor.
const STOP_AT_MOST: Duration = Duration::from_millis(4300);

/// What `run` and `record` put together.
pub(super) struct Agent {
    pub(super) witness: Witness,
    pub(super) desk: Desk,
    pub(super) state: Option<State>,
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
        self.look(ATTACH_SPAN);
        // Who is told that the agent is ready finds every metric, and no line is excused any more
        // for being of before.
        self.tell();
        looking.done();
        let mut kept = Instant::now();
        while !signals.stop() {
            self.poll();
            if kept.elapsed() >= KEEP_EVERY {
                let losses = self.desk.forwarder.take_losses();
                self.tell_losses(losses);
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
        let stopped = tokio::time::Instant::now();
        self.settle();
        let losses = self.desk.forwarder.take_last_losses();
        self.tell_losses(losses);
        let desk = &mut self.desk;
        self.witness.tell_open_flows(&mut |input| desk.take(input));
        self.desk.take(Input::Stopped(now()));
        self.desk.deliver();
        self.keep();
        let deadline = (tokio::time::Instant::now() + DELIVER_AT_MOST).min(stopped + STOP_AT_MOST);
        for rest in runtime.block_on(self.desk.forwarder.shutdown(deadline)) {
            if rest.records > 0 {
                warn!(
                    "sink {}: {} records were not delivered",
                    rest.sink, rest.records
                );
            }
        }
        runtime.shutdown_timeout(Duration::from_millis(100));
    }

    /// Takes in what came since the last call. Each input is judged as it comes: what was just read
    /// is still in the processor's caches then.
    fn poll(&mut self) {
        let desk = &mut self.desk;
        self.witness.poll(&mut |input| desk.take(input));
        desk.deliver();
    }

    /// Takes in what comes for so long.
    fn look(&mut self, span: Duration) {
        let began = Instant::now();
        self.poll();
        while began.elapsed() < span {
            std::thread::sleep(REST);
            self.poll();
        }
    }

    /// Waits for the lines of what has ended, so far as the time allows.
    fn settle(&mut self) {
        let began = Instant::now();
        let at_most = SETTLE_AT_MOST.min(self.config.logs.flush + Duration::from_millis(500));
        while began.elapsed() < at_most && self.desk.ledger.pending() != Units::default() {
            self.poll();
            std::thread::sleep(REST);
        }
        self.poll();
    }

    fn keep(&mut self) {
        if let Some(state) = &self.state
            && let Err(error) = state.keep(&self.witness.positions())
        {
            error!("{error}");
        }
        self.desk.keep();
    }

    /// Tells the numbers that nobody counts on the way.
    fn tell(&mut self) {
        self.witness.tell();
        self.desk.tell();
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
        self.desk.forwarder.reload(sinks(&config))?;
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
        self.desk.take(Input::Reconfigured {
            time: now(),
            settings: Box::new(settings),
        });
        self.desk.deliver();
        Ok(())
    }

    /// Losses of sinks as inputs. They are told once a second: a `gap` record takes room in the
    /// queues, too.
    fn tell_losses(&mut self, losses: Vec<SinkGap>) {
        let time = now();
        for gap in losses {
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
            self.desk.take(Input::Overflow { time, gap });
        }
    }
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
        mesh_admin: config.mesh.admin.clone(),
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
