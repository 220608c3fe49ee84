//! The commands: each puts rooms together, none of them thinks.

mod agent;
mod check;
mod collect;
mod desk;
mod explain;
mod policy;
mod reload;
mod replay;
mod run;
mod signals;
mod table;
mod watch;

use std::{env, io, path::Path};

pub use check::check;
pub use collect::collect;
pub use explain::explain;
pub use policy::suggest_policy;
pub use replay::replay;
pub use run::{record, run};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
pub use watch::{WatchFilter, watch};

use crate::config::Config;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub enum CommandError {
    /// Bad usage or configuration: exit code 2.
    Usage(anyhow::Error),
    /// It failed while it ran: exit code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Starts the program's own log, on stderr. `MESHWITNESS_LOG` says what is in it, as levels of
/// modules: `info` or `info,meshwitness::forward=debug`.
pub fn start_log(json: bool) {
    let asked_for = env::var("MESHWITNESS_LOG").ok();
    let filter = asked_for
        .and_then(|filter| filter.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false);
    let lines = if json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
}

/// The configuration, or its defaults.
fn config_or_default(file: Option<&Path>) -> Result<Config, CommandError> {
    match file {
        Some(file) => Config::load(file).map_err(usage),
        None => {
            Config::parse(Path::new("(defaults)"), "{}", &|name| env::var(name).ok()).map_err(usage)
        }
    }
}

fn usage(error: impl Into<anyhow::Error>) -> CommandError {
    CommandError::Usage(error.into())
}
