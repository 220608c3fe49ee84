//! Steps that tell what they are and how long they took.

use std::time::{Duration, Instant};

use anstyle::Style;
use anyhow::Context;

const HEADING: Style = Style::new().bold();

/// A course of steps that ends at the first failure.
pub(crate) struct Steps {
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Does one step under its name.
    pub(crate) fn run<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        anstream::println!("\n{HEADING}==> {name}{HEADING:#}");
        let began = Instant::now();
        let outcome = step().with_context(|| {
            format!(
                "the step \"{name}\" failed after {}; what follows it was not run",
                seconds(began.elapsed())
            )
        })?;
        self.done.push((name.to_owned(), began.elapsed()));
        Ok(outcome)
    }

    /// How long it has been since the beginning.
    pub(crate) fn elapsed(&self) -> String {
        seconds(self.began.elapsed())
    }

    /// Prints how long each step took.
    pub(crate) fn summarize(&self) {
        anstream::println!("\n{HEADING}==> done{HEADING:#}");
        for (name, time) in &self.done {
            println!("{:>8}  {name}", seconds(*time));
        }
        println!("{:>8}  in all", self.elapsed());
    }
}

/// Seconds with one digit.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
