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

use std::{io, path::Path};

pub use check::check;
pub use collect::collect;
pub use explain::explain;
pub use policy::suggest_policy;
pub use replay::replay;
pub use run::{record, run};
use tracing_subscriber::EnvFilter;
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

/// Starts the program's own log, on stderr.
pub fn start_log(json: bool) {
    let filter =
        EnvFilter::try_from_env("MESHWITNESS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false);
    if json {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// The configuration, or its defaults.
fn config_or_default(file: Option<&Path>) -> Result<Config, CommandError> {
    match file {
        Some(file) => Config::load(file).map_err(usage),
        None => Config::parse(Path::new("(defaults)"), "{}", &|name| {
            std::env::var(name).ok()
        })
        .map_err(usage),
    }
}

fn usage(error: impl Into<anyhow::Error>) -> CommandError {
    CommandError::Usage(error.into())
}
