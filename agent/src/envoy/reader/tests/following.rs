//! Logs that appear, grow, rotate and go.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use super::{Node, line, part, strings};
use crate::{envoy::Content, timestamp::Timestamp};

#[test]
fn a_log_that_was_there_is_read_from_its_end_and_a_later_one_from_its_beginning() {
    let mut node = Node::at(tempfile::tempdir().unwrap(), None);
    node.append("0.log", &line("before"));
    node.settle();
    node.append("0.log", &line("after"));
    let other = node.root.path().join("pods/shop_b_uid-b/istio-proxy");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("0.log"), line("late")).unwrap();
    node.settle();
    let uids: Vec<_> = node.lines.iter().map(|line| &*line.pod_uid).collect();
    assert_eq!(uids, ["uid-a", "uid-b"]);
    assert_eq!(node.texts(), ["after", "late"]);
    assert_eq!(node.problems, [""; 0]);
}

#[test]
fn the_reader_can_live_in_a_thread_of_its_own() {
    fn sent<T: Send>(_: &T) {}
    sent(&Node::new().reader);
}

#[test]
fn a_line_tells_its_place_and_time() {
    let mut node = Node::new();
    let first = line("first");
    node.append("0.log", &first);
    node.append("0.log", &line("second"));
    node.settle();
    let second = &node.lines[1];
    assert_eq!(&*second.file, "pods/shop_a_uid-a/istio-proxy/0.log");
    assert_eq!(second.offset, first.len() as u64);
    assert_eq!(second.length, line("second").len() as u64);
    assert_eq!(second.time, Timestamp(1_795_334_897_919_038_000));
}

#[test]
fn progress_is_the_present_at_the_end_and_the_last_stamp_before() {
    let mut node = Node::new();
    node.append("0.log", &line("x"));
    node.step();
    assert_eq!(node.progress, Some(node.now));
    node.now = node.now + Duration::from_millis(50);
    node.poll();
    assert_eq!(node.progress, Some(node.now));

    // A reader that cannot read all at once stands at the last line that it read.
    let mut node = Node::new();
    node.reader.settings.bytes_per_container = 1;
    node.append("0.log", &line(&"y".repeat(100_000)).repeat(2));
    node.step();
    assert_eq!(node.progress, None);
    while node.texts().is_empty() {
        assert!(node.poll());
    }
    assert_eq!(node.progress, Some(Timestamp(1_795_334_897_919_038_000)));
    node.settle();
    assert_eq!(node.texts().len(), 1);
    assert_eq!(node.progress, Some(node.now));
}

#[test]
fn the_end_of_a_renamed_file_is_not_the_end_of_the_log() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    let before = node.now;
    // The new file is there before the reader has looked at the directory.
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &line("b"));
    node.now = node.now + Duration::from_millis(1);
    node.reader.watch = None;
    node.poll();
    assert_eq!(node.progress, Some(before));
    node.settle();
    assert_eq!(node.texts(), ["a", "b"]);
    assert_eq!(node.progress, Some(node.now));
}

#[test]
fn writes_through_a_renamed_file_are_read() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    let mut old = OpenOptions::new()
        .append(true)
        .open(node.path("0.log"))
        .unwrap();
    node.rename("0.log", "0.log.20260822-101112");
    node.settle();
    assert_eq!(node.progress, Some(node.now));
    old.write_all(line("b").as_bytes()).unwrap();
    node.step();
    node.append("0.log", &line("d"));
    node.step();
    // The runtime was about to write to the old one when it opened the new one.
    old.write_all(line("c").as_bytes()).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["a", "b", "c", "d"]);
}

#[test]
fn a_file_that_is_compressed_or_removed_while_it_is_read_is_read_to_its_end() {
    let mut node = Node::new();
    node.reader.settings.bytes_per_container = 1;
    node.append("0.log", &line(&"x".repeat(200_000)));
    node.append("0.log", &line("a"));
    node.step();
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &line("b"));
    node.step();
    node.compress("0.log.20260822-101112");
    node.rename("0.log", "0.log.20260822-101122");
    node.append("0.log", &line("c"));
    node.step();
    fs::remove_file(node.path("0.log.20260822-101112.gz")).unwrap();
    fs::remove_file(node.path("0.log.20260822-101122")).unwrap();
    node.settle();
    assert_eq!(node.texts()[1..], strings(&["a", "b", "c"]));
    assert_eq!(node.problems, [""; 0]);
}

#[test]
fn several_rotations_between_two_scans_lose_nothing() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.rename("0.log", "0.log.20260822-101112");
    node.compress("0.log.20260822-101112");
    for (time, text) in [("20260822-101122", "b"), ("20260822-101132", "c")] {
        node.append("0.log", &line(text));
        node.rename("0.log", &format!("0.log.{time}"));
    }
    node.compress("0.log.20260822-101122");
    node.append("0.log", &line("d"));
    node.settle();
    assert_eq!(node.texts(), ["a", "b", "c", "d"]);
}

#[test]
fn lives_of_a_container_are_one_log() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.append("1.log", &line("b"));
    node.append("0.log", &line("last words"));
    node.settle();
    node.append("2.log", &line("c"));
    fs::remove_file(node.path("0.log")).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["a", "last words", "b", "c"]);
}

#[test]
fn parts_are_put_together_over_streams_and_files() {
    let mut node = Node::new();
    let begin = part("stdout", "P", "text one-");
    node.append("0.log", &line("zero"));
    node.append("0.log", &begin);
    node.append("0.log", &part("stderr", "F", "text between"));
    node.settle();
    assert_eq!(node.texts(), ["zero", "between"]);
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &part("stdout", "F", "two"));
    node.append("0.log", &line("three"));
    node.settle();
    assert_eq!(node.lines[0].offset, line("zero").len() as u64);
    assert_eq!(
        node.lines[0].length,
        (begin.len() + part("stdout", "F", "two").len()) as u64
    );
    assert_eq!(node.texts(), ["one-two", "three"]);
}

#[test]
fn a_line_that_its_container_did_not_end_is_not_continued_by_the_next_life() {
    let mut node = Node::new();
    node.append("0.log", &part("stdout", "P", "text cut off"));
    node.append("1.log", &line("a"));
    node.append("1.log", &part("stderr", "P", "other"));
    node.settle();
    fs::remove_dir_all(node.root.path().join("pods/shop_a_uid-a")).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["Unknown", "a", "Other"]);
}

#[test]
fn a_log_that_is_cut_is_told() {
    let mut node = Node::new();
    node.append("0.log", &line("a").repeat(3));
    node.settle();
    fs::write(node.path("0.log"), line("b")).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["a", "a", "a", "Hole", "b"]);
    assert_eq!(node.problems.len(), 1);

    // Cut, and longer again before the reader looks: only its beginning tells.
    fs::write(node.path("0.log"), line("other").repeat(9)).unwrap();
    node.settle();
    let texts = node.texts();
    assert_eq!(texts[0], "Hole");
    assert!(
        texts[1..].iter().all(|text| text == "other") && texts.len() > 2,
        "{texts:?}"
    );
}

#[test]
fn a_pod_that_goes_is_read_to_its_end_and_then_told_to_be_complete() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.step();
    node.append("0.log", &line("b"));
    fs::remove_dir_all(node.root.path().join("pods/shop_a_uid-a")).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["a", "b"]);
    assert_eq!(node.progress, Some(Timestamp::MAX));
    assert!(node.reader.containers.is_empty());
}

#[test]
fn a_root_that_is_missing_is_told_once_and_read_when_it_appears() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::at(root, None);
    node.settle();
    assert_eq!(node.problems.len(), 1);
    assert!(
        node.problems[0].contains("logs.root"),
        "{}",
        node.problems[0]
    );
    node.append("0.log", &line("a"));
    node.settle();
    assert_eq!(node.texts(), ["a"]);
    // Gone for a moment: what is open stays open, and nothing is read twice.
    let (there, away) = (node.root.path().join("pods"), node.root.path().join("away"));
    fs::rename(&there, &away).unwrap();
    node.settle();
    assert_eq!(node.problems.len(), 2);
    fs::rename(&away, &there).unwrap();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["b"]);
}

#[test]
fn a_directory_without_a_file_yet_is_at_its_end() {
    let mut node = Node::new();
    node.create_container();
    node.settle();
    assert_eq!(node.progress, Some(node.now));
    node.append("0.log", &line("a"));
    node.settle();
    assert_eq!(node.texts(), ["a"]);
}

#[test]
fn changes_are_told_by_the_kernel() {
    let mut node = Node::new();
    // Less than the interval between scans, and enough to not be a burst.
    node.now = node.now + Duration::from_millis(100);
    node.append("0.log", &line("a"));
    node.poll();
    assert_eq!(node.texts(), ["a"]);
}

#[test]
fn one_log_that_floods_does_not_hold_up_another() {
    let mut node = Node::new();
    node.reader.settings.bytes_per_poll = 128 << 10;
    node.reader.settings.bytes_per_container = 64 << 10;
    node.append("0.log", &line(&"x".repeat(1000)).repeat(2000));
    let other = node.root.path().join("pods/shop_b_uid-b/istio-proxy");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("0.log"), line("quiet")).unwrap();
    node.now = node.now + Duration::from_secs(3);
    assert!(node.poll());
    assert!(node.lines.len() < 200);
    assert!(node.lines.iter().any(|line| &*line.pod_uid == "uid-b"));
    node.settle();
    assert_eq!(node.lines.len(), 2001);
}

#[test]
fn lines_without_framing_are_unknown() {
    let mut node = Node::new();
    node.append("0.log", "text x\n");
    node.append("0.log", "{\"log\":\"x\\n\",\"stream\":\"stdout\"}\n");
    node.append("0.log", &part("stdout", "F", "something else\r"));
    node.append("0.log", &line("carriage\r"));
    node.settle();
    let contents: Vec<_> = node.lines.iter().map(|line| line.content.clone()).collect();
    assert_eq!(
        contents[..3],
        [Content::Unknown, Content::Unknown, Content::Other]
    );
    assert_eq!(node.texts()[3], "carriage");
}
