//! Replacing a file at one stroke: whoever reads it finds the old or the new one whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Puts a file with these bytes in the place of the one at `path`, and sees it on the disk.
///
/// # Errors
/// What the system said; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
