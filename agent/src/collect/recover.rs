//! What a sender's directory says after a crash.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use super::{
    highest::{Highest, Snapshot},
    line::{Head, LONGEST_LINE},
    segment::{SEGMENT_END, Segment, StoreError, sync_directory},
};

/// What recovery had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Bytes of the begun line that a crash left behind, cut off. It was never acknowledged.
    pub(super) cut_bytes: u64,
    /// Lines that are no records; they stay where they are.
    pub(super) unreadable: u64,
}

/// Reads the snapshot and the segments since, and cuts the last one after its last newline.
pub(super) fn recover(
    directory: &Path,
) -> Result<(Highest, Option<Segment>, Recovered), StoreError> {
    let names =
        segment_names(directory).map_err(|source| StoreError::new("read", directory, source))?;
    let snapshot = read_snapshot(directory);
    let mut highest = snapshot.as_ref().map(Highest::restore).unwrap_or_default();
    let mut recovered = Recovered::default();
    let mut whole = 0;
    for name in &names {
        // Segments are written in the order of their names; what is older is in the snapshot.
        if snapshot.as_ref().is_some_and(|known| *name < known.segment) {
            continue;
        }
        let path = directory.join(name);
        let end = File::open(&path)
            .and_then(|file| read_segment(file, &mut highest))
            .map_err(|source| StoreError::new("read", &path, source))?;
        recovered.unreadable += end.unreadable;
        whole = end.whole;
    }
    let Some(name) = names.last() else {
        return Ok((highest, None, recovered));
    };
    let path = directory.join(name);
    let (file, cut) =
        reopen(&path, whole).map_err(|source| StoreError::new("recovered", &path, source))?;
    recovered.cut_bytes = cut;
    let segment = Segment {
        name: name.clone(),
        file,
        length: whole,
    };
    Ok((highest, Some(segment), recovered))
}

/// Replaces the snapshot, at once.
pub(super) fn write_snapshot(directory: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    let path = directory.join(SNAPSHOT);
    let begun = directory.join(SNAPSHOT_BEGUN);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&begun)?;
        file.write_all(&serde_json::to_vec(snapshot)?)?;
        file.sync_all()?;
        fs::rename(&begun, &path)?;
        sync_directory(directory)
    };
    write().map_err(|source| StoreError::new("written", &path, source))
}

/// None if there is none, or none that can be read: then every segment is.
fn read_snapshot(directory: &Path) -> Option<Snapshot> {
    serde_json::from_slice(&fs::read(directory.join(SNAPSHOT)).ok()?).ok()
}

fn segment_names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Anything but a regular file might never end.
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(SEGMENT_END)
            && entry.file_type()?.is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

struct SegmentEnd {
    /// The length up to and with the last newline.
    whole: u64,
    unreadable: u64,
}

fn read_segment(file: File, highest: &mut Highest) -> io::Result<SegmentEnd> {
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut end = SegmentEnd {
        whole: 0,
        unreadable: 0,
    };
    let mut offset = 0;
    // The begun line, as far as it can be a record; `oversize` if it no longer can.
    let mut line = Vec::new();
    let mut oversize = false;
    let mut last: Option<Arc<str>> = None;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(end);
        }
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        let length = newline.map_or(bytes.len(), |at| at + 1);
        oversize |= line.len() + length > LONGEST_LINE;
        if !oversize {
            line.extend_from_slice(&bytes[..length]);
        }
        offset += length as u64;
        reader.consume(length);
        if newline.is_none() {
            continue;
        }
        end.whole = offset;
        let head = Head::parse(&line);
        match head.as_ref().map(|head| head.id()) {
            Ok(Ok((start, sequence))) if !oversize => {
                let start = last
                    .take()
                    .filter(|last| **last == *start)
                    .unwrap_or_else(|| Arc::from(start));
                highest.raise(&start, sequence);
                last = Some(start);
            }
            _ => end.unreadable += 1,
        }
        line.clear();
        oversize = false;
    }
}

/// Opens a segment to append to, cut to its whole lines; and how much was cut.
fn reopen(path: &Path, whole: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).open(path)?;
    let length = file.metadata()?.len();
    if length > whole {
        file.set_len(whole)?;
    }
    // A killed process may have left whole lines that were never synced; they count as stored.
    file.sync_all()?;
    Ok((file, length.saturating_sub(whole)))
}

const SNAPSHOT: &str = ".highest.json";
const SNAPSHOT_BEGUN: &str = ".highest.json.begun";
