//! `explain`: why a record got its verdict.

use std::{io::Write, path::Path};

use super::{CommandError, config_or_default, usage};
use crate::explain::{RecordId, ask, to_text};

/// Asks the running agent, and shows what it tells.
///
/// # Errors
/// If `id` is none, no agent runs, or it keeps nothing of the record.
pub fn explain(id: &str, config_file: Option<&Path>, json: bool) -> Result<(), CommandError> {
    let id: RecordId = id.parse().map_err(usage)?;
    let config = config_or_default(config_file)?;
    let explanation = ask(&config.state.dir, &id)?;
    let mut out = anstream::stdout();
    if json {
        serde_json::to_writer(&mut out, &explanation)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", to_text(&explanation))?;
    }
    Ok(())
}
