//! Steps that tell what they are and how long they took.

use std::{
    fmt::Write,
    io::{self, Read},
    mem,
    panic::resume_unwind,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anstyle::Style;
use anyhow::{Context, bail, ensure};

const HEADING: Style = Style::new().bold();

/// A course of steps that ends at the first failure.
pub(crate) struct Steps {
    began: Instant,
    told: Mutex<Told>,
}

/// What is known of the steps that are over.
#[derive(Default)]
struct Told {
    times: Vec<(String, Duration)>,
    /// What those have said that ran beside others: it is not printed amid what these say.
    kept: String,
    has_failed: bool,
}

impl Steps {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            told: Mutex::default(),
        }
    }

    /// Does one step under its name.
    pub(crate) fn run<T>(
        &self,
        name: &str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.print_kept();
        anstream::println!("\n{HEADING}==> {name}{HEADING:#}");
        self.time(name, step)
    }

    /// Runs a command, mostly of cargo's, beside other steps and returns what it said, which is
    /// printed between two of them.
    pub(crate) fn run_beside(&self, name: &str, mut command: Command) -> anyhow::Result<String> {
        // How far it is would come too late; what others said last should stay in sight.
        command.env("CARGO_TERM_QUIET", "true");
        self.time(name, || {
            let described = format!("{command:?}");
            let (said, has_succeeded) =
                said(command).with_context(|| format!("starting {described}"))?;
            self.told().kept += &format!("\n{HEADING}==> {name}, beside it{HEADING:#}\n{said}");
            ensure!(has_succeeded, "{described} failed; see above");
            Ok(said)
        })
    }

    /// Does two rows of steps beside each other. If one fails, the other ends with its next step.
    pub(crate) fn beside<A, B: Send>(
        &self,
        one: impl FnOnce() -> anyhow::Result<A>,
        other: impl FnOnce() -> anyhow::Result<B> + Send,
    ) -> anyhow::Result<(A, B)> {
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(other);
            let one = one();
            if one.is_err() {
                println!("\na step failed; what runs beside it is still waited for");
            }
            (
                one,
                other.join().unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        self.print_kept();
        match (one, other) {
            (Err(one), Err(other)) => bail!("{one:#}\n{other:#}"),
            (one, other) => Ok((one?, other?)),
        }
    }

    /// Prints what is left of steps that ran beside others.
    fn print_kept(&self) {
        let kept = mem::take(&mut self.told().kept);
        anstream::print!("{kept}");
    }

    /// How long each step took, a line each, and all of them.
    pub(crate) fn times(&self) -> String {
        let mut times = String::new();
        for (name, time) in &self.told().times {
            let _ = writeln!(times, "{:>8}  {name}", seconds(*time));
        }
        let _ = write!(times, "{:>8}  in all", seconds(self.began.elapsed()));
        times
    }

    fn time<T>(&self, name: &str, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        ensure!(
            !self.told().has_failed,
            "the step \"{name}\" was not run, since another failed"
        );
        let began = Instant::now();
        let outcome = step();
        let mut told = self.told();
        told.has_failed |= outcome.is_err();
        told.times.push((name.to_owned(), began.elapsed()));
        outcome.with_context(|| {
            format!(
                "the step \"{name}\" failed after {}; what follows it was not run",
                seconds(began.elapsed())
            )
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a command says on both of its outputs, and whether it succeeds.
fn said(mut command: Command) -> io::Result<(String, bool)> {
    let (mut reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // It holds the ends that are written to: the reader would wait for it for ever.
    drop(command);
    let mut said = Vec::new();
    reader.read_to_end(&mut said)?;
    let status = child.wait()?;
    Ok((
        String::from_utf8_lossy(&said).into_owned(),
        status.success(),
    ))
}

/// Seconds with one digit.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
