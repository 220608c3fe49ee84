//! Logs that somebody writes to who does not append: each time is told, once.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    time::Duration,
};

use super::{Node, line};

/// More lines than one block holds.
const MANY: usize = 2000;

fn overwrite(node: &Node, name: &str, offset: u64) {
    let path = node.path(name);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"#", offset).unwrap();
}

fn full(node: &mut Node) -> u64 {
    node.append("0.log", &line("a").repeat(MANY));
    node.settle();
    assert_eq!(node.texts().len(), MANY);
    fs::metadata(node.path("0.log")).unwrap().len()
}

#[test]
fn what_becomes_shorter() {
    let mut node = Node::new();
    full(&mut node);
    let file = OpenOptions::new().write(true).open(node.path("0.log"));
    file.unwrap().set_len(0).unwrap();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["Hole", "b"]);
    assert_eq!((node.rewritten, node.problems.len()), (1, 1));
}

#[test]
fn what_changes_in_place_wherever_it_is() {
    for part in [0, 2, 5, 9, 10] {
        let mut node = Node::new();
        let length = full(&mut node);
        overwrite(&node, "0.log", (length * part / 10).min(length - 1));
        node.settle();
        assert_eq!((node.rewritten, node.problems.len()), (1, 1), "{part}");
        // And again elsewhere; what comes behind is still read.
        overwrite(&node, "0.log", length / 3);
        node.append("0.log", &line("b"));
        node.settle();
        assert_eq!(node.texts().last().unwrap(), "b");
        // The file grew, so it is looked at in turn.
        node.now = node.now + Duration::from_secs(1);
        for _ in 0..10 {
            node.settle();
        }
        assert_eq!(node.rewritten, 2, "{part}");
    }
}

#[test]
fn what_changes_while_the_log_grows() {
    let mut node = Node::new();
    let length = full(&mut node);
    overwrite(&node, "0.log", length / 2);
    for _ in 0..10 {
        node.append("0.log", &line("b"));
        node.settle();
    }
    assert_eq!((node.rewritten, node.problems.len()), (1, 1));
}

#[test]
fn what_changed_before_the_file_is_left() {
    let mut node = Node::new();
    let length = full(&mut node);
    node.rename("0.log", "0.log.20260822-101112");
    node.append("0.log", &line("b"));
    // A byte of each block but the first and the last; then it is gone.
    let mut at = 40_000;
    while at + 40_000 < length {
        overwrite(&node, "0.log.20260822-101112", at);
        at += 32 << 10;
    }
    node.compress("0.log.20260822-101112");
    node.settle();
    assert_eq!(node.texts(), ["b"]);
    assert!(node.rewritten >= 1);
}

#[test]
fn what_changed_while_the_agent_was_away() {
    let mut node = Node::new();
    let length = full(&mut node);
    node.restart();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!((node.texts(), node.rewritten), (vec!["b".to_owned()], 0));
    node.restart();
    overwrite(&node, "0.log", length / 2);
    node.append("0.log", &line("c"));
    node.settle();
    assert_eq!(node.texts(), ["c"]);
    assert_eq!((node.rewritten, node.problems.len()), (1, 1));
    // Once, also over another restart.
    node.restart();
    node.settle();
    assert_eq!(node.rewritten, 1);
    // Shorter, and otherwise as it was.
    node.restart();
    let file = OpenOptions::new().write(true).open(node.path("0.log"));
    file.unwrap().set_len(length / 2).unwrap();
    node.settle();
    assert_eq!(node.rewritten, 2);
}

#[test]
fn rotation_and_restarts_change_nothing() {
    let mut node = Node::new();
    full(&mut node);
    for rotation in 0..4 {
        let rotated = format!("0.log.20260822-10111{rotation}");
        node.rename("0.log", &rotated);
        node.append("0.log", &line("b").repeat(MANY));
        node.restart();
        node.settle();
        node.compress(&rotated);
        node.append("0.log", &line("c"));
        node.settle();
        node.restart();
        node.settle();
    }
    assert_eq!(node.texts().len(), 4 * (MANY + 1));
    assert_eq!((node.rewritten, node.problems.len()), (0, 0));
}
