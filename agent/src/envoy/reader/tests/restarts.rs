//! Positions over restarts of the agent.

use std::fs::{self, OpenOptions};

use super::{Node, line, part};
use crate::timestamp::Timestamp;

#[test]
fn goes_on_where_it_stood() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.restart();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["a", "b"]);
}

#[test]
fn a_first_start_stores_its_place_too() {
    let mut node = Node::at(tempfile::tempdir().unwrap(), None);
    node.append("0.log", &line("before"));
    node.poll();
    node.append("0.log", &line("a"));
    node.restart();
    node.settle();
    assert_eq!(node.texts(), ["a"]);
}

#[test]
fn finds_its_place_in_a_rotated_file() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.append("0.log", &line("b"));
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &line("c"));
    node.restart();
    node.settle();
    assert_eq!(node.texts(), ["a", "b", "c"]);
}

#[test]
fn finds_its_place_in_a_compressed_file_and_reads_all_later_ones() {
    let mut node = Node::new();
    node.append("0.log", &line("a").repeat(3000));
    node.settle();
    node.append("0.log", &line("b"));
    node.rename("0.log", "0.log.20260822-101112");
    node.compress("0.log.20260822-101112");
    node.append("0.log", &line("c"));
    node.rename("0.log", "0.log.20260822-101122");
    node.compress("0.log.20260822-101122");
    node.append("0.log", &line("d"));
    node.append("1.log", &line("e"));
    node.restart();
    node.settle();
    assert_eq!(node.texts()[3000..], ["b", "c", "d", "e"]);
    assert_eq!(node.problems, [""; 0]);
}

#[test]
fn goes_on_in_the_middle_of_a_rotation() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.rename("0.log", "0.log.20260822-101112");
    node.restart();
    node.settle();
    // The runtime writes to the renamed file until it opens a new one.
    node.append("0.log.20260822-101112", &line("b"));
    node.append("0.log", &line("c"));
    node.restart();
    node.settle();
    node.restart();
    node.settle();
    assert_eq!(node.texts(), ["a", "b", "c"]);
}

#[test]
fn a_file_that_is_gone_is_a_hole() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &line("b"));
    fs::remove_file(node.path("0.log.20260822-101112")).unwrap();
    node.restart();
    node.settle();
    assert_eq!(node.texts(), ["a", "Hole", "b"]);
    assert_eq!(node.problems.len(), 1);
}

#[test]
fn a_file_that_shrank_is_a_hole() {
    let mut node = Node::new();
    node.append("0.log", &line("a").repeat(2));
    node.settle();
    let file = OpenOptions::new()
        .write(true)
        .open(node.path("0.log"))
        .unwrap();
    file.set_len(line("a").len() as u64).unwrap();
    node.restart();
    node.settle();
    assert_eq!(node.texts()[..3], ["a", "a", "Hole"]);
}

#[test]
fn a_pod_that_went_meanwhile_is_a_hole_and_complete() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.restart();
    fs::remove_dir_all(node.root.path().join("pods/shop_a_uid-a")).unwrap();
    node.settle();
    assert_eq!(node.texts(), ["a", "Hole"]);
    assert_eq!(node.progress, Some(Timestamp::MAX));
}

#[test]
fn a_container_that_is_no_longer_asked_for_is_no_hole() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.restart();
    node.reader.settings.proxy_containers = vec!["other".to_owned()];
    node.progress = None;
    node.settle();
    assert_eq!(node.texts(), ["a"]);
    assert_eq!(node.progress, None);
}

#[test]
fn a_pod_that_came_meanwhile_is_read_from_its_beginning() {
    let mut node = Node::new();
    node.restart();
    node.append("0.log", &line("a"));
    node.settle();
    assert_eq!(node.texts(), ["a"]);
}

#[test]
fn positions_outlast_a_root_that_is_not_there_yet() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    let (there, away) = (node.root.path().join("pods"), node.root.path().join("away"));
    fs::rename(&there, &away).unwrap();
    node.restart();
    node.settle();
    node.restart();
    fs::rename(&away, &there).unwrap();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["a", "b"]);
}

#[test]
fn a_line_of_which_a_part_was_read_is_neither_lost_nor_repeated() {
    let mut node = Node::new();
    node.append("0.log", &part("stdout", "P", "text one-"));
    node.append("0.log", &part("stderr", "F", "text between"));
    node.append("0.log", "2026-11-22T08:08:17.919038000Z stderr F te");
    node.settle();
    node.restart();
    node.append("0.log", "xt cut\n");
    node.append("0.log", &part("stdout", "F", "two"));
    node.settle();
    assert_eq!(node.texts(), ["between", "cut", "one-two"]);
}

#[test]
fn a_line_without_framing_is_not_repeated_for_lines_that_began_before_it() {
    let mut node = Node::new();
    node.append("0.log", &part("stdout", "P", "text one-"));
    node.append("0.log", &part("stderr", "P", "text three-"));
    node.append("0.log", "no framing\n");
    node.settle();
    node.restart();
    node.append("0.log", &part("stdout", "F", "two"));
    node.append("0.log", &part("stderr", "F", "four"));
    node.settle();
    assert_eq!(node.texts(), ["Unknown", "one-two", "three-four"]);
}

#[test]
fn the_rest_of_a_line_that_began_in_an_earlier_file_is_no_line() {
    let mut node = Node::new();
    node.append("0.log", &part("stdout", "P", "text one-"));
    node.settle();
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &part("stderr", "F", "text between"));
    node.settle();
    node.restart();
    node.append("0.log", &part("stdout", "F", "text two"));
    node.append("0.log", &line("three"));
    node.settle();
    assert_eq!(node.texts(), ["between", "Hole", "three"]);
}

#[test]
fn the_rest_of_a_line_that_began_before_the_first_start_is_no_line() {
    let mut node = Node::at(tempfile::tempdir().unwrap(), None);
    node.append("0.log", &part("stdout", "P", "text one-"));
    node.append("0.log", &part("stderr", "F", "text between"));
    node.append("0.log", "2026-11-22T08:08:17.919038000Z stderr F te");
    node.settle();
    node.append("0.log", "xt whole\n");
    node.append("0.log", &part("stdout", "P", "text two"));
    node.append("0.log", &part("stdout", "F", "text three"));
    node.append("0.log", &line("four"));
    node.settle();
    // A raw line that is being written at the start is read whole.
    assert_eq!(node.texts(), ["whole", "four"]);
}
