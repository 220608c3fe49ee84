//! How fast the ledger judges a recording: `cargo bench --package meshwitness --bench ledger -- FILE`.
//!
//! CPU time of the one thread that does it, so that other work on the machine does not count. The
//! parsing of the recording is left out; the agent has its inputs without it.
#![expect(clippy::print_stdout, reason = "it prints its one result")]

use std::{env, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use libc::{CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec};
use meshwitness::{
    ledger::{Input, Ledger},
    witness::Recording,
};
use mimalloc::MiMalloc;
use serde_json::json;

/// As the agent has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Inputs that are read at a time: many enough for the reading of the clock not to be measured, and
/// few enough to be in the processor's caches still when they are judged, as the agent's are.
const BATCH: usize = 64;

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let file = env::args().skip(1).find(|word| !word.starts_with("--"));
    let file = file.context("expected a file that `meshwitness record` wrote")?;
    let mut recording = Recording::open(Path::new(&file))?;
    let mut ledger = Ledger::new(recording.settings.clone());
    let (mut exchanges, mut records, mut bytes) = (0_u64, 0, 0);
    let (mut batch, mut line) = (Vec::new(), Vec::new());
    let (mut judging, mut sealing) = (Duration::ZERO, Duration::ZERO);
    loop {
        let inputs: Vec<Input> = recording.by_ref().take(BATCH).collect::<Result<_, _>>()?;
        if inputs.is_empty() {
            break;
        }
        let ended = |input: &&Input| matches!(input, Input::Ended(_));
        exchanges += inputs.iter().filter(ended).count() as u64;

        let began = thread_time()?;
        for input in inputs {
            ledger.handle(input, &mut batch);
        }
        judging += thread_time()? - began;

        let began = thread_time()?;
        for record in batch.drain(..) {
            records += 1;
            bytes += record.seal(&mut line)?.line.len();
        }
        sealing += thread_time()? - began;
    }
    println!(
        "{}",
        json!({
            "exchanges": exchanges,
            "records": records,
            "record_bytes": bytes,
            "ledger_seconds": judging.as_secs_f64(),
            "sealing_seconds": sealing.as_secs_f64(),
        })
    );
    Ok(())
}

/// CPU time of this thread up to this very moment; what /proc tells is as old as the last tick.
fn thread_time() -> Result<Duration> {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which is there for as long as it takes.
    let result = unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}
