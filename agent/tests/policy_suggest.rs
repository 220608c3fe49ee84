//! `meshwitness policy suggest` as a command.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
};

fn suggest(dir: &Path) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_meshwitness"))
        .args(["policy", "suggest"])
        .arg(dir)
        .output()
}

const BYPASSED: &str = r#"{"id":"s-1","time":"2026-11-22T07:25:10.806123Z","kind":"connection","verdict":"bypassed","reasons":[],"units":{"observed":1,"logged":0},"side":"client","workload":{"k8s.namespace.name":"shop","k8s.pod.name":"web"},"attributes":{"server.address":"192.0.2.1","server.port":9001}}"#;

#[test]
fn what_a_collector_stored_becomes_a_proposal() {
    let dir = tempfile::tempdir().unwrap();
    let sender = dir.path().join("n1.agents.example");
    fs::create_dir(&sender).unwrap();
    // The second file begins with lines that are none, and ends in the middle of one.
    fs::write(sender.join("1.ndjson"), format!("{BYPASSED}\n")).unwrap();
    let second = BYPASSED.replace("s-1", "s-2");
    fs::write(
        sender.join("2.ndjson"),
        format!("none\n\n{second}\n{{\"id\""),
    )
    .unwrap();
    fs::write(sender.join("other.txt"), BYPASSED.replace("9001", "9002")).unwrap();
    let output = suggest(dir.path()).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("# 2 times since 2026-11-22T07:25:10.806123Z"),
        "{text}"
    );
    assert!(
        text.contains("port: 9001") && !text.contains("9002"),
        "{text}"
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("3 lines are no records"), "{told}");
}

#[test]
fn a_directory_without_records_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path(), &dir.path().join("missing")] {
        let output = suggest(dir).unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
    }
}
