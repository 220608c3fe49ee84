//! `policy suggest`: proposes rules from what a collector stored.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tracing::warn;

use super::{CommandError, usage};
use crate::suggest::{StoredRecord, Suggestions};

/// A stored line is no longer; what is longer is passed over.
const LONGEST_LINE: u64 = 16 << 20;

/// How deep the collector's directories are looked through.
const DEEPEST: usize = 8;

/// Reads the `*.ndjson` files beneath a collector's directory, and prints a proposal.
///
/// # Errors
/// If the directory has no such file, or one cannot be read.
pub fn suggest_policy(dir: &Path) -> Result<(), CommandError> {
    let mut files = Vec::new();
    find(dir, DEEPEST, &mut files).map_err(usage)?;
    files.sort();
    if files.is_empty() {
        let dir = dir.display();
        return Err(usage(anyhow::anyhow!(
            "{dir}: no *.ndjson file; expected the `dir` of a collector"
        )));
    }
    let mut suggestions = Suggestions::default();
    // A correction comes after what it corrects, maybe in another file.
    for file in &files {
        read(file, |record| suggestions.note_revised(record))?;
    }
    let mut unread = 0;
    for file in &files {
        unread += read(file, |record| suggestions.add(record))?;
    }
    if unread > 0 {
        warn!("{unread} lines are no records and were passed over");
    }
    write!(anstream::stdout(), "{}", suggestions.to_yaml())?;
    Ok(())
}

fn find(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let at = || dir.display().to_string();
    if depth == 0 {
        bail!("{}: directories nest deeper than a collector's", at());
    }
    for entry in fs::read_dir(dir).with_context(at)? {
        let entry = entry.with_context(at)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(at)?);
        if kind.is_dir() {
            find(&path, depth - 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "ndjson") {
            files.push(path);
        }
    }
    Ok(())
}

/// Hands out the records of a file, and returns how many lines are none.
fn read(file: &Path, mut take: impl FnMut(&StoredRecord)) -> anyhow::Result<u64> {
    let at = || file.display().to_string();
    let mut reader = BufReader::new(File::open(file).with_context(at)?);
    let (mut line, mut unread) = (Vec::new(), 0);
    loop {
        line.clear();
        let mut limited = reader.by_ref().take(LONGEST_LINE);
        if limited.read_until(b'\n', &mut line).with_context(at)? == 0 {
            return Ok(unread);
        }
        let is_whole = line.ends_with(b"\n");
        match serde_json::from_slice(&line) {
            Ok(record) => take(&record),
            Err(_) => unread += 1,
        }
        if !is_whole {
            skip_line(&mut reader).with_context(at)?;
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    reader.skip_until(b'\n').map(|_| ())
}
