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
    signals::Signals,
    usage,
};
use crate::{
    config::Config,
    ledger::Ledger,
    telemetry::{Health, Metrics, serve},
    witness::{Recorder, State, Witness, start_id},
};

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If its configuration is wrong or it cannot start. Once it runs, it goes on.
pub fn run(config_file: &Path) -> Result<(), CommandError> {
    let config = Config::load(config_file).map_err(usage)?;
    config.require_sinks(config_file).map_err(usage)?;
    let state = State::open(&config.state.dir)?;
    let positions = state.positions().unwrap_or_else(|error| {
        warn!("{error}; the logs are read from their ends");
        None
    });
    let (metrics, health) = (Arc::new(Metrics::new()), Health::new());
    let attaching = health.wait_for("the programs to be attached");
    let settings = settings(&config, state.start_id.clone(), state.earlier_run)?;
    let mut inputs = Vec::new();
    let witness = Witness::start(&config, positions, (&metrics, &health), &mut inputs)?;
    // From here on other threads may start: the capabilities are gone.
    let runtime = runtime()?;
    let (signals, forwarder) = {
        let _within = runtime.enter();
        (Signals::listen()?, start_forwarder(&config)?)
    };
    let listener = listen(&runtime, &config)?;
    runtime.spawn(serve(listener, Arc::clone(&metrics), Arc::clone(&health)));
    for cgroup in witness.attached() {
        info!("attached at {}", cgroup.display());
    }
    let flush = config.logs.flush;
    let ledger = Ledger::new(settings);
    let (recorder, state) = (None, Some(state));
    let mut agent = Agent {
        witness,
        ledger,
        forwarder,
        recorder,
        state,
        metrics,
        flush,
    };
    agent.take(&mut inputs);
    attaching.done();
    agent.work(runtime, &signals, Some(config_file));
    Ok(())
}

/// Records the ledger's inputs until SIGINT or SIGTERM. Runs beside an agent: it keeps no state, and
/// goes without telemetry if the agent has its address; it forwards if the configuration says where
/// to.
///
/// # Errors
/// If its configuration is wrong, the file exists, or it cannot start.
pub fn record(file: &Path, config: Option<&Path>) -> Result<(), CommandError> {
    let config = config_or_default(config)?;
    let settings = settings(&config, start_id()?, false)?;
    let recorder = Some(Recorder::create(file, &settings)?);
    let (metrics, health) = (Arc::new(Metrics::new()), Health::new());
    let attaching = health.wait_for("the programs to be attached");
    let mut inputs = Vec::new();
    let witness = Witness::start(&config, None, (&metrics, &health), &mut inputs)?;
    let runtime = runtime()?;
    let (signals, forwarder) = {
        let _within = runtime.enter();
        (Signals::listen()?, start_forwarder(&config)?)
    };
    match listen(&runtime, &config) {
        Ok(listener) => {
            runtime.spawn(serve(listener, Arc::clone(&metrics), Arc::clone(&health)));
        }
        Err(error) => warn!("{error:#}; going on without telemetry"),
    }
    info!("recording to {}", file.display());
    let (flush, state) = (config.logs.flush, None);
    let ledger = Ledger::new(settings);
    let mut agent = Agent {
        witness,
        ledger,
        forwarder,
        recorder,
        state,
        metrics,
        flush,
    };
    agent.take(&mut inputs);
    attaching.done();
    agent.work(runtime, &signals, None);
    Ok(())
}

fn listen(runtime: &Runtime, config: &Config) -> anyhow::Result<TcpListener> {
    let listen = config.telemetry.listen;
    runtime
        .block_on(TcpListener::bind(listen))
        .with_context(|| format!("telemetry.listen: cannot listen on {listen}"))
}

fn runtime() -> Result<Runtime, CommandError> {
    let mut builder = runtime::Builder::new_multi_thread();
    Ok(builder
        .worker_threads(1)
        .thread_name("forward")
        .enable_all()
        .build()?)
}
