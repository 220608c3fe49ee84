//! What the kubelet does with a log that has grown.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;

use super::{Log, open};

impl Log {
    /// Rotates as the kubelet does: files rotated earlier are compressed, `0.log` is renamed, the
    /// runtime opens a new one. What arrives in between goes into the renamed file.
    ///
    /// # Errors
    ///
    /// If a file cannot be renamed, compressed or opened.
    pub fn rotate(&self) -> Result<()> {
        let directory = &self.shared.directory;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.to_string_lossy();
            if name.contains(".log.") && !name.ends_with(".gz") {
                compress(&path)?;
            }
        }
        let rotated = directory.join(format!("0.log.{}", suffix(Timestamp::now())));
        fs::rename(self.path(), &rotated)
            .with_context(|| format!("renaming to {}", rotated.display()))?;
        self.reopen()
    }

    fn reopen(&self) -> Result<()> {
        let file = open(&self.shared.directory)?;
        self.shared.state().file = file;
        Ok(())
    }
}

/// `2026-11-22T08:08:17Z` becomes `20261122-080817`.
fn suffix(time: Timestamp) -> String {
    format!("{time:.0}")
        .replace(['-', ':', 'Z'], "")
        .replace('T', "-")
}

fn compress(path: &Path) -> Result<()> {
    let name = path.display();
    let (temporary, compressed) = (format!("{name}.tmp"), format!("{name}.gz"));
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    let mut encoder = GzEncoder::new(File::create(&temporary)?, Compression::default());
    encoder.write_all(&content)?;
    encoder.finish()?;
    fs::rename(&temporary, &compressed).with_context(|| format!("renaming to {compressed}"))?;
    fs::remove_file(path).with_context(|| format!("removing {name}"))
}
