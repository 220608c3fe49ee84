//! `check`: the preflight.

use std::{io::Write, path::Path};

use anyhow::anyhow;

use super::{CommandError, config_or_default};
use crate::{
    check::{self, Probes},
    witness::now,
};

/// Says whether `run` would work here.
///
/// # Errors
/// If it would not.
pub fn check(config: Option<&Path>, json: bool) -> Result<(), CommandError> {
    let config = config_or_default(config)?;
    let report = check::check(&config, Probes::default(), now());
    let mut out = anstream::stdout();
    let text = if json {
        report.to_json()
    } else {
        report.to_text()
    };
    writeln!(out, "{}", text.trim_end())?;
    match report.exit_code() {
        0 => Ok(()),
        _ => Err(CommandError::Failed(anyhow!(
            "the agent would not work here; see above"
        ))),
    }
}
