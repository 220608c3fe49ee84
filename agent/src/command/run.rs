//! `run`: the agent.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tracing::{error, info, warn};

use super::{CommandError, signals::Signals, usage};
use crate::{
    config::Config,
    forward::{self, Forwarder, Notice, SinkSettings},
    ledger::{Input, Ledger, Settings},
    record::Units,
    witness::{Recorder, State, Witness},
};

/// How long the loop rests between two looks at the rings.
const REST: Duration = Duration::from_millis(2);

/// How often positions are kept.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// After SIGTERM lines are waited for at most this long; the contract gives 5 s in all.
const SETTLE_AT_MOST: Duration = Duration::from_millis(2500);

/// And this long is left to deliver.
const DELIVER_AT_MOST: Duration = Duration::from_millis(1800);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If its configuration is wrong or it cannot start. Once it runs, it goes on.
pub fn run(config_file: &Path, recording: Option<&Path>) -> Result<(), CommandError> {
    let config = Config::load(config_file).map_err(usage)?;
    config.require_sinks(config_file).map_err(usage)?;
    let state = State::open(&config.state.dir)?;
    let positions = state.positions().unwrap_or_else(|error| {
        warn!("{error}; the logs are read from their ends");
        None
    });
    let settings = settings(&config, state.start_id.clone(), state.earlier_run)?;
    let recorder = recording.map(|file| Recorder::create(file, &settings)).transpose()?;
    let mut inputs = Vec::new();
    let witness = Witness::start(&config, positions, &mut inputs)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("forward")
        .enable_all()
        .build()?;
    let (signals, forwarder) = {
        let _within = runtime.enter();
        let report = Arc::new(|notice: &Notice| match notice {
            Notice::Connected { .. } => info!("{notice}"),
            Notice::Failed { .. } => warn!("{notice}"),
        });
        (Signals::listen()?, Forwarder::start(sinks(&config), report)?)
    };
    for cgroup in witness.attached() {
        info!("attached at {}", cgroup.display());
    }
    let ledger = Ledger::new(settings);
    let mut agent = Agent { witness, ledger, forwarder, recorder };
    agent.take(&mut inputs);
    agent.watch(&state, &signals, config_file);
    agent.settle(config.logs.flush);
    agent.take(&mut vec![Input::Stopped(agent.witness.now())]);
    agent.keep(&state);
    let Agent { forwarder, .. } = agent;
    let deadline = tokio::time::Instant::now() + DELIVER_AT_MOST;
    for rest in runtime.block_on(forwarder.shutdown(deadline)) {
        if rest.records > 0 {
            warn!("sink {}: {} records were not delivered", rest.sink, rest.records);
        }
    }
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

struct Agent {
    witness: Witness,
    ledger: Ledger,
    forwarder: Forwarder,
    recorder: Option<Recorder>,
}

impl Agent {
    fn watch(&mut self, state: &State, signals: &Signals, config_file: &Path) {
        let mut inputs = Vec::new();
        let mut kept = Instant::now();
        while !signals.stop() {
            self.witness.poll(&mut inputs);
            self.take(&mut inputs);
            if kept.elapsed() >= KEEP_EVERY {
                self.keep(state);
                kept = Instant::now();
            }
            if signals.take_reload() {
                self.reload(config_file);
            }
            std::thread::sleep(REST);
        }
    }

    /// Waits for the lines of what has ended, so far as the time allows.
    fn settle(&mut self, flush: Duration) {
        let began = Instant::now();
        let at_most = SETTLE_AT_MOST.min(flush + Duration::from_millis(500));
        let mut inputs = Vec::new();
        while began.elapsed() < at_most && self.ledger.pending() != Units::default() {
            self.witness.poll(&mut inputs);
            self.take(&mut inputs);
            std::thread::sleep(REST);
        }
        self.witness.poll(&mut inputs);
        self.take(&mut inputs);
    }

    fn take(&mut self, inputs: &mut Vec<Input>) {
        let now = self.witness.now();
        inputs.extend(self.forwarder.take_overflows().into_iter().map(|overflow| Input::Overflow {
            time: now,
            sink: overflow.sink.to_string(),
            first: overflow.first,
            last: overflow.last,
            records: overflow.records,
        }));
        for input in inputs.drain(..) {
            if let Some(recorder) = &mut self.recorder
                && let Err(error) = recorder.add(&input)
            {
                error!("{error}; the recording ends here");
                self.recorder = None;
            }
            for record in self.ledger.handle(input) {
                match record.seal() {
                    Ok(envelope) => self.forwarder.send(&envelope),
                    Err(error) => error!("record {}: {error}", record.id),
                }
            }
        }
    }

    fn keep(&mut self, state: &State) {
        if let Err(error) = state.keep(&self.witness.positions()) {
            error!("{error}");
        }
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.flush()
        {
            error!("{error}");
        }
    }

    fn reload(&mut self, config_file: &Path) {
        let reloaded = Config::load(config_file)
            .context("the configuration stays as it was")
            .and_then(|config| Ok(self.forwarder.reload(sinks(&config))?));
        match reloaded {
            Ok(()) => {
                info!("sinks and certificates were read anew");
                let now = self.witness.now();
                self.take(&mut vec![Input::Reconfigured(now)]);
            }
            Err(error) => error!("{error:#}"),
        }
    }
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
        policy: config.mesh.policy.clone(),
        sinks: config
            .forward
            .iter()
            .map(|sink| (sink.endpoint.to_string(), sink.include.clone()))
            .collect(),
    })
}

fn sinks(config: &Config) -> Vec<SinkSettings> {
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
