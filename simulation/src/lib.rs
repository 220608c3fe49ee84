//! The ledger, simulated: a seed makes a scene whose truth is known, the ledger is told of it as
//! `witness` would, and its records are held against the truth.
//!
//! `SEEDS=10000` runs so many; `SEED=7` runs one and, if it fails, tells its story.
//!
//! A package of its own, so that the ledger can be tried as it is released: many times as many
//! seeds in the time.
#![cfg(test)]

mod alone;
mod answers;
mod books;
mod byte_streams;
mod case;
mod client_retries;
mod clock_step;
mod delivery;
mod findings;
mod flows;
mod hosts;
mod interrupted;
mod killed;
mod leg;
mod log;
mod losses;
mod manner;
mod pod;
mod random;
mod restart;
mod retries;
mod scene;
mod shadows;
mod sidecars;
mod sinks;
mod story;
mod streams;
mod tampering;
mod traffic;
mod transaction;
mod truth;
mod verdicts;
mod wire;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use meshwitness::{
    ledger::{Input, Ledger, Settings},
    record::Record,
};
use scene::Script;

/// How many seeds run unless told otherwise.
const SEEDS: u64 = 300;

/// Every so many seeds the scene is told a second time.
const REPLAYED: u64 = 10;

/// The most failing seeds that are told of.
const TOLD: usize = 5;

#[test]
fn every_seed_is_judged_rightly() {
    if let Some(seed) = number("SEED") {
        run(seed).unwrap_or_else(|failure| panic!("{}\n{}", failure.story, failure.message));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failures.lock().unwrap().len() >= TOLD {
                return;
            }
            if let Err(failure) = run(seed) {
                failures.lock().unwrap().push((seed, failure.message));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    let told: Vec<String> = failures
        .iter()
        .map(|(seed, message)| format!("SEED={seed} cargo test --package simulation\n{message}"))
        .collect();
    assert!(
        failures.is_empty(),
        "{} seeds failed\n{}",
        failures.len(),
        told.join("\n")
    );
}

struct Failure {
    message: String,
    story: String,
}

fn run(seed: u64) -> Result<(), Failure> {
    let (mut script, mut random) = Script::new(seed);
    let runs = delivery::deliver(&mut script, &mut random);
    let judged = panic::catch_unwind(AssertUnwindSafe(|| judge(seed, &script, &runs)));
    let message = match judged {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(message)) => message,
        Err(_) => "it panicked".to_owned(),
    };
    let stories: Vec<String> = runs.iter().map(|inputs| story::tell(inputs)).collect();
    let story = stories.join("\n");
    Err(Failure { message, story })
}

fn judge(seed: u64, script: &Script, runs: &[Vec<Input>]) -> Result<(), String> {
    let mut settings = script.settings.clone();
    let (mut records_of_runs, mut http_ports) = (Vec::new(), Vec::new());
    for (number, inputs) in runs.iter().enumerate() {
        // The ports that an earlier run learnt are told to the next.
        let known = http_ports.drain(..).map(Input::SpeaksHttp);
        let inputs: Vec<Input> = known.chain(inputs.iter().cloned()).collect();
        let mut ledger = Ledger::new(settings.clone());
        let records = records(&mut ledger, inputs.iter().cloned());
        http_ports = ledger.take_http_ports();
        books::check(&records)?;
        let is_last = number + 1 == runs.len();
        findings::check(&records, &script.truth, is_last)?;
        if seed.is_multiple_of(REPLAYED) {
            check_replay(&settings, &inputs, &records)?;
        }
        records_of_runs.push(records);
        settings.earlier_run = true;
    }
    match (records_of_runs.as_slice(), script.restart) {
        ([first, second], Some((_, start))) => {
            let lines = runs
                .iter()
                .flatten()
                .filter(|input| is_entry(input))
                .count();
            interrupted::check(
                [first.as_slice(), second.as_slice()],
                &script.truth,
                start,
                lines,
            )
        }
        (records, _) => verdicts::check(&records[0], &script.truth),
    }
}

fn is_entry(input: &Input) -> bool {
    matches!(input, Input::Line(line) if line.entry().is_some())
}

fn records(ledger: &mut Ledger, inputs: impl Iterator<Item = Input>) -> Vec<Record> {
    let mut records = Vec::new();
    for input in inputs {
        ledger.handle(input, &mut records);
    }
    records
}

/// What was written and read again gives the same bytes.
fn check_replay(settings: &Settings, inputs: &[Input], records: &[Record]) -> Result<(), String> {
    let again = |input: &Input| -> Input {
        serde_json::from_str(&serde_json::to_string(input).unwrap()).unwrap()
    };
    let mut ledger = Ledger::new(settings.clone());
    let replayed = self::records(&mut ledger, inputs.iter().map(again));
    let lines = |records: &[Record]| -> Vec<String> {
        let line = |record| serde_json::to_string(record).unwrap();
        records.iter().map(line).collect()
    };
    match lines(records) == lines(&replayed) {
        true => Ok(()),
        false => Err("the replay gives other records".to_owned()),
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: expected a number, got {value:?}")),
    )
}
