//! `record` and `replay`.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use tracing::info;

use super::{CommandError, config_or_default, run::settings, signals::Signals};
use crate::{
    ledger::{Input, Ledger},
    witness::{self, Recorder, Witness, start_id},
};

/// How long the loop rests between two looks at the rings.
const REST: Duration = Duration::from_millis(5);

/// How often a terminal is told how much was recorded, and the file is flushed.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Records the ledger's inputs until SIGINT or SIGTERM.
///
/// # Errors
/// If its configuration is wrong, the file exists, or it cannot start.
pub fn record(file: &Path, config: Option<&Path>) -> Result<(), CommandError> {
    let config = config_or_default(config)?;
    let settings = settings(&config, start_id()?, false)?;
    let mut recorder = Recorder::create(file, &settings)?;
    let mut ledger = Ledger::new(settings);
    let mut inputs = Vec::new();
    let mut witness = Witness::start(&config, None, &mut inputs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    let mut out = io::stdout().lock();
    let writes_records = !out.is_terminal();
    let (mut recorded, mut told) = (0_u64, Instant::now());
    info!("recording to {}", file.display());
    loop {
        let stops = signals.stop();
        witness.poll(&mut inputs);
        if stops {
            inputs.push(Input::Stopped(witness.now()));
        }
        for input in inputs.drain(..) {
            recorder.add(&input)?;
            recorded += 1;
            for record in ledger.handle(input) {
                if writes_records {
                    out.write_all(&record.seal().map_err(io::Error::from)?.line)?;
                }
            }
        }
        if stops || told.elapsed() >= TELL_EVERY {
            recorder.flush()?;
            out.flush()?;
            told = Instant::now();
            if io::stderr().is_terminal() {
                info!("{recorded} inputs recorded");
            }
        }
        if stops {
            return Ok(());
        }
        runtime.block_on(tokio::time::sleep(REST));
    }
}

/// Feeds a recording to a new ledger; the records go to stdout, one a line.
///
/// # Errors
/// If the file is no recording, or stdout cannot be written.
pub fn replay(file: &Path) -> Result<(), CommandError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    witness::replay(file, |record| out.write_all(&record.seal()?.line))?;
    out.flush()?;
    Ok(())
}
