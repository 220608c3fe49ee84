//! `replay`.

use std::{
    io::{self, Write},
    path::Path,
};

use super::CommandError;
use crate::witness;

/// Feeds a recording to a new ledger; the records go to stdout, one a line.
///
/// # Errors
/// If the file is no recording, or stdout cannot be written.
pub fn replay(file: &Path) -> Result<(), CommandError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    witness::replay(file, |record| out.write_all(&record.seal(&mut line)?.line))?;
    out.flush()?;
    Ok(())
}
