//! Progress of work that says nothing by itself.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::steps::seconds;

/// One piece of work: a spinner on a terminal, plain lines elsewhere.
pub(crate) struct Task {
    name: String,
    began: Instant,
    spinner: Option<ProgressBar>,
}

impl Task {
    /// Does a piece of work under its name.
    ///
    /// # Errors
    ///
    /// If the work fails.
    pub(crate) fn run<T>(
        name: &str,
        work: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let task = Self::begin(name);
        let outcome = work(&task);
        task.end(outcome.is_ok());
        outcome
    }

    /// Says how far it is. Shown on a terminal only: elsewhere it would be line upon line.
    pub(crate) fn tell(&self, state: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{}: {state}", self.name));
        }
    }

    fn begin(name: &str) -> Self {
        let spinner = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})");
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = style {
                spinner.set_style(style);
            }
            spinner.set_message(name.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        if spinner.is_none() {
            println!("  - {name}");
        }
        Self {
            name: name.to_owned(),
            began: Instant::now(),
            spinner,
        }
    }

    fn end(self, is_done: bool) {
        let Some(spinner) = self.spinner else { return };
        spinner.finish_and_clear();
        let mark = if is_done { "✓" } else { "✗" };
        println!("  {mark} {} ({})", self.name, seconds(self.began.elapsed()));
    }
}
