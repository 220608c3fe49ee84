//! A sender's directory through rotation, crashes and resends.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use proptest::{
    collection::vec,
    prelude::{Strategy, prop_oneof},
    proptest,
    test_runner::Config as ProptestConfig,
};

use crate::{
    collect::{
        allow::Sender,
        line::{Batch, Intake},
        recover::Recovered,
        segment::{Appended, Segments},
    },
    timestamp::Timestamp,
};

const NOW: Timestamp = Timestamp(1_795_334_897_916_000_000);

fn line(start: &str, sequence: u64) -> String {
    format!("{{\"id\":\"{start}-{sequence}\",\"node\":\"n1\",\"kind\":\"http\"}}\n")
}

fn batch(lines: impl IntoIterator<Item = (&'static str, u64)>) -> Batch {
    let text: String = lines
        .into_iter()
        .map(|(start, sequence)| line(start, sequence))
        .collect();
    let mut intake = Intake::new(Sender {
        name: "n1.mesh".to_owned(),
        node: None,
    });
    let (batch, error) = intake.read(text.as_bytes());
    assert_eq!(error, None);
    batch
}

/// All segments, in the order of their names.
pub(super) fn segments(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".ndjson") {
            segments.insert(name.clone(), fs::read(directory.join(name)).unwrap());
        }
    }
    segments
}

fn text(directory: &Path) -> String {
    let all: Vec<u8> = segments(directory).into_values().flatten().collect();
    String::from_utf8(all).unwrap()
}

#[test]
fn rotates_in_the_order_of_names_even_if_the_clock_is_set_back() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("n1.mesh");
    let (mut open, recovered) = Segments::open(&directory, 100).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(
        segments(&directory).len(),
        0,
        "nothing before the first record"
    );
    for sequence in 0..6 {
        let now = Timestamp(NOW.0 - sequence * 1_000_000_000);
        let appended = open.append(&batch([("a", sequence)]), now).unwrap();
        assert_eq!(appended.records, 1);
    }
    let files = segments(&directory);
    assert_eq!(files.len(), 3, "two lines of 41 bytes fit into 100");
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "20261122T080817.916000Z.ndjson",
            "20261122T080817.916001Z.ndjson",
            "20261122T080817.916002Z.ndjson"
        ]
    );
    let expected: String = (0..6).map(|sequence| line("a", sequence)).collect();
    assert_eq!(text(&directory), expected);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory) & !0o750, 0);
    assert_eq!(mode(&directory.join(names[0])) & !0o640, 0);
}

#[test]
fn a_torn_line_is_cut_and_its_resend_completes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut open, _) = Segments::open(directory.path(), 1000).unwrap();
    open.append(&batch([("a", 1), ("a", 2)]), NOW).unwrap();
    drop(open);
    let (name, _) = segments(directory.path()).pop_last().unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(directory.path().join(&name))
        .unwrap();
    let torn = &line("a", 3)[..20];
    file.write_all(torn.as_bytes()).unwrap();

    let (mut open, recovered) = Segments::open(directory.path(), 1000).unwrap();
    let expected = Recovered {
        cut_bytes: 20,
        unreadable: 0,
    };
    assert_eq!(recovered, expected);
    let appended = open
        .append(&batch([("a", 2), ("a", 3), ("a", 4)]), NOW)
        .unwrap();
    assert_eq!((appended.records, appended.duplicates), (2, 1));
    let expected: String = (1..=4).map(|sequence| line("a", sequence)).collect();
    assert_eq!(text(directory.path()), expected);
}

#[test]
fn what_is_no_record_stays_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("20200101T000000.000000Z.ndjson");
    let mut bytes = line("a", 7).into_bytes();
    bytes.extend_from_slice(b"\0\0garbage\n");
    bytes.resize(3 << 20, b'x');
    bytes.push(b'\n');
    bytes.extend_from_slice(line("a", 9).as_bytes());
    fs::write(&old, &bytes).unwrap();
    let (mut open, recovered) = Segments::open(directory.path(), 1000).unwrap();
    assert_eq!((recovered.cut_bytes, recovered.unreadable), (0, 2));
    let appended = open.append(&batch([("a", 9), ("a", 10)]), NOW).unwrap();
    assert_eq!((appended.records, appended.duplicates), (1, 1));
    assert_eq!(fs::read(&old).unwrap(), bytes);
}

#[test]
fn duplicates_are_known_though_old_segments_are_gone_or_the_snapshot_is_unreadable() {
    let directory = tempfile::tempdir().unwrap();
    let (mut open, _) = Segments::open(directory.path(), 100).unwrap();
    open.append(&batch([("old", 5)]), NOW).unwrap();
    open.append(&batch((1..=9).map(|sequence| ("new", sequence))), NOW)
        .unwrap();
    drop(open);
    let resend = batch([("old", 5), ("new", 8), ("new", 9)]);
    let all_known = Appended {
        duplicates: 3,
        ..Appended::default()
    };

    let (first, _) = segments(directory.path()).pop_first().unwrap();
    fs::write(directory.path().join(".highest.json"), "{").unwrap();
    let (mut open, _) = Segments::open(directory.path(), 100).unwrap();
    assert_eq!(open.append(&resend, NOW).unwrap(), all_known);

    open.append(&batch((10..=12).map(|sequence| ("new", sequence))), NOW)
        .unwrap();
    drop(open);
    fs::remove_file(directory.path().join(first)).unwrap();
    let (mut open, _) = Segments::open(directory.path(), 100).unwrap();
    assert_eq!(open.append(&resend, NOW).unwrap(), all_known);
}

#[test]
fn a_full_disk_is_an_error_and_the_directory_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut open, _) = Segments::open(directory.path(), 1000).unwrap();
    open.append(&batch([("a", 1)]), NOW).unwrap();
    // Every write to it fails with ENOSPC.
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    open.last.as_mut().unwrap().file = full;
    let error = open.append(&batch([("a", 2)]), NOW).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(
        error.to_string().contains("check the disk's space"),
        "{error}"
    );

    let (mut open, _) = Segments::open(directory.path(), 1000).unwrap();
    let appended = open.append(&batch([("a", 1), ("a", 2)]), NOW).unwrap();
    assert_eq!((appended.records, appended.duplicates), (1, 1));
    assert_eq!(
        text(directory.path()),
        [line("a", 1), line("a", 2)].concat()
    );
}

#[test]
fn what_is_no_file_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let endless = directory.path().join("20990101T000000.000000Z.ndjson");
    std::os::unix::fs::symlink("/dev/zero", endless).unwrap();
    let (mut open, _) = Segments::open(directory.path(), 1000).unwrap();
    open.append(&batch([("a", 1)]), NOW).unwrap();
}

#[derive(Clone, Debug)]
enum Action {
    /// Records up to this many past the last one.
    Append { count: u64 },
    /// The sender did not hear of the last records.
    Resend { back: u64 },
    /// Killed within a write: so many bytes of the next line are there.
    Crash { torn: usize },
    /// Killed after a write that was not reported.
    CrashUnreported { count: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (1..6_u64).prop_map(|count| Action::Append { count }),
        (1..8_u64).prop_map(|back| Action::Resend { back }),
        (0..40_usize).prop_map(|torn| Action::Crash { torn }),
        (1..6_u64).prop_map(|count| Action::CrashUnreported { count }),
    ]
}

proptest! {
    // Each case waits for the disk some fifty times.
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_record_is_stored_once_and_in_order(actions in vec(action(), 1..25)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (mut open, _) = Segments::open(path, 150).unwrap();
        // Known to the sender as stored.
        let mut reported = 0;
        for action in actions {
            match action {
                Action::Append { count } => {
                    open.append(&batch((1..=count).map(|more| ("s", reported + more))), NOW).unwrap();
                    reported += count;
                }
                Action::Resend { back } => {
                    let first = reported.saturating_sub(back) + 1;
                    open.append(&batch((first..=reported).map(|sequence| ("s", sequence))), NOW).unwrap();
                }
                Action::CrashUnreported { count } => {
                    open.append(&batch((1..=count).map(|more| ("s", reported + more))), NOW).unwrap();
                    open = Segments::open(path, 150).unwrap().0;
                }
                Action::Crash { torn } => {
                    if let Some((name, _)) = segments(path).pop_last() {
                        let mut file = OpenOptions::new().append(true).open(path.join(name)).unwrap();
                        file.write_all(&line("s", 1 << 40).as_bytes()[..torn]).unwrap();
                    }
                    open = Segments::open(path, 150).unwrap().0;
                }
            }
        }
        open.append(&batch((1..=reported + 10).map(|sequence| ("s", sequence))), NOW).unwrap();
        let expected: String = (1..=reported + 10).map(|sequence| line("s", sequence)).collect();
        assert_eq!(text(path), expected);
    }
}

#[test]
fn holes_are_stored_as_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let (mut open, _) = Segments::open(directory.path(), 1000).unwrap();
    let appended = open
        .append(&batch([("a", 2), ("a", 9), ("b", 1), ("a", 10)]), NOW)
        .unwrap();
    assert_eq!(appended.records, 4);
    let start: Arc<str> = Arc::from("b");
    let batch = batch([("b", 1), ("b", 2)]);
    assert_eq!(batch.records().next().unwrap().0, &start);
    assert_eq!(open.append(&batch, NOW).unwrap().records, 1);
}
