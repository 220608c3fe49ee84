//! The machine's only file system: an archive that the kernel unpacks into memory.
//!
//! In the format "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst), not
//! compressed.

use std::{fs, io::Write, path::Path};

use anyhow::Context;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;
/// The number of /dev/console (Linux, Documentation/admin-guide/devices.txt).
const CONSOLE_DEVICE: (u32, u32) = (5, 1);

/// An archive with these files, and what init needs to be started: a console, places to mount at.
pub(super) fn build(files: &[(&str, &Path)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys"] {
        archive.add(directory, DIRECTORY, (0, 0), &[]);
    }
    archive.add("dev/console", CONSOLE, CONSOLE_DEVICE, &[]);
    for (name, file) in files {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        archive.add(name, PROGRAM, (0, 0), &bytes);
    }
    archive.add("TRAILER!!!", 0, (0, 0), &[]);
    Ok(archive.bytes)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let inode = self.entries;
        // Inode, mode, owner, group, links, time, size, device, device of a node, length of the
        // name with its zero byte, checksum.
        let (length, name_length) = (content.len(), name.len() + 1);
        let _ = write!(
            self.bytes,
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{length:08x}{0:08x}{0:08x}\
             {major:08x}{minor:08x}{name_length:08x}{0:08x}{name}\0",
            0, 1
        );
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
