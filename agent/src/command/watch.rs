//! `watch`: a live view in a terminal.

use std::{io::Write, path::Path, sync::Arc, thread, time::Duration};

use anyhow::anyhow;

use super::{CommandError, agent::settings, config_or_default, signals::Signals, table};
use crate::{
    ledger::{Input, Ledger},
    record::{Body, Record, Verdict},
    telemetry::{Health, Metrics},
    witness::{Witness, start_id},
};

/// How long the loop rests between two looks at the rings.
const REST: Duration = Duration::from_millis(5);

/// Which records are shown.
#[derive(Clone, Debug, Default)]
pub struct WatchFilter {
    pod: Option<(String, String)>,
    verdict: Option<Verdict>,
}

impl WatchFilter {
    /// From `NAMESPACE/NAME` and the word of a verdict.
    ///
    /// # Errors
    /// If either is not of that form.
    pub fn new(pod: Option<String>, verdict: Option<String>) -> Result<Self, CommandError> {
        let pod = pod
            .map(|pod| match pod.split_once('/') {
                Some((namespace, name)) => Ok((namespace.to_owned(), name.to_owned())),
                None => Err(CommandError::Usage(anyhow!(
                    "--pod: expected NAMESPACE/NAME, such as shop/web-1, got {pod:?}"
                ))),
            })
            .transpose()?;
        let verdict = verdict
            .map(|word| {
                Verdict::ALL
                    .into_iter()
                    .find(|verdict| verdict.as_str() == word)
                    .ok_or_else(|| {
                        let words: Vec<_> = Verdict::ALL.iter().map(|v| v.as_str()).collect();
                        CommandError::Usage(anyhow!(
                            "--verdict: expected one of {}, got {word:?}",
                            words.join(", ")
                        ))
                    })
            })
            .transpose()?;
        Ok(Self { pod, verdict })
    }

    fn shows(&self, record: &Record) -> bool {
        let Body::Traffic(traffic) = &record.body else {
            return self.pod.is_none() && self.verdict.is_none();
        };
        let workload = &traffic.workload;
        let names = workload.namespace.as_ref().zip(workload.pod.as_ref());
        self.verdict
            .is_none_or(|verdict| record.verdict == Some(verdict))
            && self.pod.as_ref().is_none_or(|(namespace, name)| {
                names.is_some_and(|(of, called)| (&**of, &**called) == (&**namespace, &**name))
            })
    }
}

/// Shows records until SIGINT or SIGTERM, or until nobody reads them.
///
/// # Errors
/// If its configuration is wrong or it cannot start.
pub fn watch(config: Option<&Path>, filter: &WatchFilter, json: bool) -> Result<(), CommandError> {
    let signals = Signals::listen()?;
    let config = config_or_default(config)?;
    let mut ledger = Ledger::new(settings(&config, start_id()?, false)?);
    let mut inputs = Vec::new();
    let telemetry = (&Arc::new(Metrics::new()), &Health::new());
    let mut witness = Witness::start(&config, None, telemetry, &mut inputs)?;
    let mut out = anstream::stdout();
    if !json {
        writeln!(out, "{}", table::heading())?;
    }
    while !signals.stop() {
        witness.poll(&mut |input| inputs.push(input));
        for input in inputs.drain(..) {
            if let Err(error) = show(&mut out, &mut ledger, input, filter, json) {
                return leave(error);
            }
        }
        if let Err(error) = out.flush() {
            return leave(error);
        }
        thread::sleep(REST);
    }
    Ok(())
}

fn show(
    out: &mut impl Write,
    ledger: &mut Ledger,
    input: Input,
    filter: &WatchFilter,
    json: bool,
) -> std::io::Result<()> {
    let (mut records, mut line) = (Vec::new(), Vec::new());
    ledger.handle(input, &mut records);
    for record in records.iter().filter(|record| filter.shows(record)) {
        if json {
            out.write_all(&record.seal(&mut line)?.line)?;
        } else {
            writeln!(out, "{}", table::row(record))?;
        }
    }
    Ok(())
}

/// A reader that went away is a way to end.
fn leave(error: std::io::Error) -> Result<(), CommandError> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error.into()),
    }
}
