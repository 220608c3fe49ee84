//! `run` and `record`: the agent.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};
use tracing::{info, warn};

use super::{
    CommandError,
    agent::{Agent, settings, start_forwarder},
    config_or_default,
    desk::Desk,
    signals::Signals,
    usage,
};
use crate::{
    config::Config,
    envoy::Positions,
    explain::{self, Store},
    ledger::{Input, Ledger, Settings},
    telemetry::{Health, Metrics, ReadyTask, serve},
    witness::{HttpPorts, Recorder, StartError, State, Witness, start_id},
};

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If its configuration is wrong or it cannot start. Once it runs, it goes on.
pub fn run(config_file: &Path) -> Result<(), CommandError> {
    // A SIGHUP that comes while it starts must not end it.
    let signals = Signals::listen()?;
    let config = Config::load(config_file).map_err(usage)?;
    config.require_sinks(config_file).map_err(usage)?;
    let state = State::open(&config.state.dir)?;
    let positions = state.positions().unwrap_or_else(|error| {
        warn!("{error}; the logs are read from their ends");
        None
    });
    let settings = settings(&config, state.start_id.clone(), state.earlier_run())?;
    let telemetry = Telemetry::new();
    let mut inputs = Vec::new();
    let witness = telemetry.start(&config, positions, &mut inputs)?;
    let mut http_ports = HttpPorts::load(&state.dir).unwrap_or_else(|error| {
        warn!(
            "{}: {error}; which ports speak HTTP is learnt anew",
            state.dir.display()
        );
        HttpPorts::empty(&state.dir)
    });
    http_ports.tell(&mut inputs);
    // From here on other threads may start: the capabilities are gone.
    let runtime = runtime()?;
    telemetry.serve(&runtime, &config)?;
    state.began()?;
    for cgroup in witness.attached() {
        info!("attached at {}", cgroup.display());
    }
    let parts = Parts {
        signals,
        witness,
        settings,
        inputs,
        recorder: None,
        state: Some(state),
        http_ports: Some(http_ports),
    };
    work(&config, Some(config_file), parts, telemetry, runtime)
}

/// Records the ledger's inputs until SIGINT or SIGTERM. Runs beside an agent: it keeps no state, and
/// goes without telemetry if the agent has its address; it forwards if the configuration says where
/// to.
///
/// # Errors
/// If its configuration is wrong, the file exists, or it cannot start.
pub fn record(file: &Path, config: Option<&Path>) -> Result<(), CommandError> {
    let signals = Signals::listen()?;
    let config = config_or_default(config)?;
    let settings = settings(&config, start_id()?, false)?;
    let recorder = Some(Recorder::create(file, &settings)?);
    let telemetry = Telemetry::new();
    let mut inputs = Vec::new();
    let witness = telemetry.start(&config, None, &mut inputs)?;
    let runtime = runtime()?;
    if let Err(error) = telemetry.serve(&runtime, &config) {
        warn!("{error:#}; going on without telemetry");
    }
    info!("recording to {}", file.display());
    let parts = Parts {
        signals,
        witness,
        settings,
        inputs,
        recorder,
        state: None,
        http_ports: None,
    };
    work(&config, None, parts, telemetry, runtime)
}

/// What an agent is put together from.
struct Parts {
    signals: Signals,
    witness: Witness,
    settings: Settings,
    /// What came while the witness started.
    inputs: Vec<Input>,
    recorder: Option<Recorder>,
    state: Option<State>,
    http_ports: Option<HttpPorts>,
}

/// Puts the agent together and works until a signal says to stop.
fn work(
    config: &Config,
    config_file: Option<&Path>,
    parts: Parts,
    telemetry: Telemetry,
    runtime: Runtime,
) -> Result<(), CommandError> {
    let Parts {
        signals,
        witness,
        settings,
        inputs,
        recorder,
        state,
        http_ports,
    } = parts;
    let forwarder = {
        let _within = runtime.enter();
        start_forwarder(config)?
    };
    let mut ledger = Ledger::new(settings);
    let explanations = state.as_ref().map(|state| {
        ledger.keep_evidence();
        let store = Arc::new(Store::new(state.start_id.clone()));
        explain_from(&state.dir, &runtime, Arc::clone(&store));
        store
    });
    let mut desk = Desk::new(
        ledger,
        forwarder,
        recorder,
        http_ports,
        explanations,
        telemetry.metrics,
    );
    inputs.into_iter().for_each(|input| desk.take(input));
    desk.deliver();
    let agent = Agent {
        witness,
        desk,
        state,
        config: config.clone(),
    };
    telemetry.attaching.done();
    agent.work(runtime, &signals, config_file, telemetry.looking);
    Ok(())
}

/// Answers to `explain`. An agent that cannot is still one that captures.
fn explain_from(directory: &Path, runtime: &Runtime, store: Arc<Store>) {
    let _within = runtime.enter();
    match explain::Socket::bind(directory) {
        Ok(socket) => drop(runtime.spawn(explain::serve(socket, store))),
        Err(error) => {
            let directory = directory.display();
            warn!("state.dir {directory}: {error}; `explain` cannot ask this agent");
        }
    }
}

/// What the agent tells of itself; not ready before the programs are attached.
struct Telemetry {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    attaching: ReadyTask,
    looking: ReadyTask,
}

impl Telemetry {
    fn new() -> Self {
        let health = Health::new();
        let attaching = health.wait_for("the programs to be attached");
        let looking = health.wait_for("the first look at pods, logs and rings");
        Self {
            metrics: Arc::new(Metrics::new()),
            health,
            attaching,
            looking,
        }
    }

    fn start(
        &self,
        config: &Config,
        positions: Option<Positions>,
        inputs: &mut Vec<Input>,
    ) -> Result<Witness, StartError> {
        Witness::start(config, positions, (&self.metrics, &self.health), inputs)
    }

    fn serve(&self, runtime: &Runtime, config: &Config) -> anyhow::Result<()> {
        let listen = config.telemetry.listen;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("telemetry.listen: cannot listen on {listen}"))?;
        runtime.spawn(serve(
            listener,
            Arc::clone(&self.metrics),
            Arc::clone(&self.health),
        ));
        Ok(())
    }
}

fn runtime() -> Result<Runtime, CommandError> {
    let mut builder = runtime::Builder::new_multi_thread();
    Ok(builder
        .worker_threads(1)
        .thread_name("forward")
        .enable_all()
        .build()?)
}
