//! Steps that tell what they are and how long they took.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

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

    /// How long each step took, a line each, and all of them.
    pub(crate) fn times(&self) -> String {
        let mut times = String::new();
        for (name, time) in &self.done {
            let _ = writeln!(times, "{:>8}  {name}", seconds(*time));
        }
        let _ = write!(times, "{:>8}  in all", seconds(self.began.elapsed()));
        times
    }
}

/// Seconds with one digit.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
