//! What is no log, and what is too long for one.

use std::{fs, io::Write, os::unix::fs::symlink};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::{Node, line, part};
use crate::envoy::{
    Content,
    reader::{MAX_PODS, cri::MAX_LINE_BYTES},
};

#[test]
fn links_and_fifos_are_not_opened() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("0.log"), line("secret")).unwrap();
    let mut node = Node::new();
    node.create_container();
    symlink(outside.path().join("0.log"), node.path("0.log")).unwrap();
    mkfifoat(CWD, node.path("1.log"), Mode::RUSR | Mode::WUSR).unwrap();
    fs::create_dir(node.path("2.log")).unwrap();
    fs::create_dir_all(node.root.path().join("pods/shop_b_uid-b")).unwrap();
    symlink(
        outside.path(),
        node.root.path().join("pods/shop_b_uid-b/istio-proxy"),
    )
    .unwrap();
    symlink(outside.path(), node.root.path().join("pods/shop_c_uid-c")).unwrap();
    node.settle();
    assert_eq!(node.texts(), [""; 0]);
    // Each is told once: three files, and the directories behind the two links.
    assert_eq!(node.problems.len(), 5, "{:?}", node.problems);
    node.append("3.log", &line("a"));
    node.settle();
    assert_eq!(node.texts(), ["a"]);
}

#[test]
fn names_of_other_things_are_passed_over() {
    let mut node = Node::new();
    node.append("0.log.tmp", &line("x"));
    node.append("0.log.20260822-101112.tmp", &line("x"));
    node.append("notes.txt", &line("x"));
    for name in ["shop_x", "a_b_c_d", "_x_uid"] {
        let path = node.root.path().join("pods").join(name).join("istio-proxy");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("0.log"), line("x")).unwrap();
    }
    let path = node.root.path().join("pods/shop_a_uid-a/app");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("0.log"), line("x")).unwrap();
    node.settle();
    assert_eq!(node.texts(), [""; 0]);
    assert_eq!(node.problems, [""; 0]);
}

#[test]
fn an_endless_line_is_cut_and_booked_once() {
    let mut node = Node::new();
    let first = part("stdout", "P", &format!("text {}", "x".repeat(16 << 10)));
    for _ in 0..100 {
        node.append("0.log", &first);
    }
    node.settle();
    assert_eq!(node.lines.len(), 1);
    assert_eq!(node.lines[0].content, Content::Unknown);
    assert!(node.lines[0].length > MAX_LINE_BYTES as u64);
    // The rest stays out after a restart too.
    node.restart();
    node.append("0.log", &part("stdout", "F", "text end"));
    node.append("0.log", &line("next"));
    node.settle();
    assert_eq!(node.texts()[1..], ["next"]);
}

#[test]
fn a_file_without_line_breaks_takes_no_room() {
    let mut node = Node::new();
    node.append("0.log", &"x".repeat(3 << 20));
    node.settle();
    node.restart();
    node.settle();
    node.append(
        "0.log",
        "2026-11-22T08:08:17.919038000Z stdout F text tail\n",
    );
    node.append("0.log", &line("next"));
    node.settle();
    assert_eq!(node.texts(), ["Unknown", "next"]);
}

#[test]
fn a_damaged_compressed_file_is_a_hole() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    for index in 0..20_000 {
        node.append("0.log", &line(&format!("b{index}")));
    }
    node.rename("0.log", "0.log.20260822-101112");
    node.compress("0.log.20260822-101112");
    let path = node.path("0.log.20260822-101112.gz");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    node.append("0.log", &line("c"));
    node.restart();
    node.settle();
    let texts = node.texts();
    assert_eq!(texts[..2], ["a", "b0"]);
    assert_eq!(texts[texts.len() - 2..], ["Hole", "c"]);
    assert_eq!(node.problems.len(), 1, "{:?}", node.problems);
}

#[test]
fn a_compressed_file_that_cannot_be_opened_is_a_hole() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    node.append("0.log.20260822-101112.gz", "no gzip");
    node.append("0.log.20260822-101122", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["a", "Hole", "b"]);
    assert_eq!(node.problems.len(), 1, "{:?}", node.problems);
}

#[test]
fn messages_say_nothing_of_the_content() {
    let mut node = Node::new();
    node.append("0.log", &line("secret").repeat(2));
    node.settle();
    fs::write(node.path("0.log"), "secret").unwrap();
    node.settle();
    fs::remove_file(node.path("0.log")).unwrap();
    node.restart();
    node.settle();
    assert!(node.problems.len() >= 2);
    assert!(
        node.problems
            .iter()
            .all(|problem| !problem.contains("secret"))
    );
}

#[test]
fn a_file_that_the_kubelet_did_not_rotate_ends_no_log() {
    for later in ["0.log.29991231-235959", "0.log.29991231-235959.gz"] {
        let mut node = Node::new();
        node.append("0.log", &line("a"));
        node.settle();
        node.append("planted", &line("planted"));
        if later.ends_with(".gz") {
            node.rename("planted", "0.log.29991231-235959");
            node.compress("0.log.29991231-235959");
        } else {
            node.rename("planted", later);
        }
        node.settle();
        for text in ["b", "c"] {
            node.append("0.log", &line(text));
            node.settle();
        }
        assert_eq!(node.texts(), ["a", "planted", "b", "c"], "{later}");
    }
}

#[test]
fn what_is_no_log_holds_no_verdict_back() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    fs::create_dir(node.path("1.log")).unwrap();
    node.settle();
    assert_eq!(node.progress, Some(node.now), "the log was read to its end");
}

#[test]
fn a_file_that_was_overwritten_in_place_loses_no_later_line() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.settle();
    let content = fs::read(node.path("0.log")).unwrap();
    fs::write(node.path("0.log"), vec![b'x'; content.len()]).unwrap();
    node.settle();
    node.append("0.log", &format!("\n{}", line("b")));
    node.append("0.log", &line("c"));
    node.settle();
    assert_eq!(node.texts(), ["a", "Hole", "b", "c"]);
    let mut bytes = fs::read(node.path("0.log")).unwrap();
    bytes[0] = b'y';
    fs::write(node.path("0.log"), &bytes).unwrap();
    node.settle();
    node.append("0.log", &line("d"));
    node.settle();
    assert_eq!(node.texts(), ["Hole", "d"]);
}

#[test]
fn a_compressed_bomb_is_given_up_soon() {
    let mut node = Node::new();
    node.append("0.log", &line("a"));
    node.append("0.log.20260822-101112", &"\0".repeat(100 << 20));
    node.compress("0.log.20260822-101112");
    node.settle();
    node.append("0.log", &line("b"));
    node.settle();
    assert_eq!(node.texts(), ["Unknown", "Hole", "a", "b"]);
    assert_eq!(node.problems.len(), 1, "{:?}", node.problems);
    assert!(node.problems[0].contains("when uncompressed"));
}

#[test]
fn pods_without_number_end_no_log_that_is_followed() {
    // Lists by age, the oldest or the newest first; the log's pod comes in the middle.
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(root.path().join("pods")).unwrap();
    let mut node = Node::at(root, None);
    node.step();
    let flood = |node: &Node, side: &str| {
        for number in 0..=MAX_PODS {
            let name = format!("pods/jobs_{side}_{number}");
            fs::create_dir(node.root.path().join(name)).unwrap();
        }
    };
    let hidden = node.root.path().join("hidden");
    fs::create_dir_all(hidden.join("istio-proxy")).unwrap();
    fs::write(hidden.join("istio-proxy/0.log"), line("a")).unwrap();
    let pod = node.root.path().join("pods/shop_a_uid-a");
    fs::rename(&hidden, &pod).unwrap();
    node.settle();
    flood(&node, "after");
    fs::rename(&pod, &hidden).unwrap();
    flood(&node, "before");
    fs::rename(&hidden, &pod).unwrap();
    flood(&node, "later");
    for text in ["b", "c"] {
        node.append("0.log", &line(text));
        node.settle();
    }
    assert_eq!(node.texts(), ["a", "b", "c"]);
}
