//! Input that was made to break the agent, to blind it, or to fool who reads what it says. In every
//! case the agent goes on, says once what is wrong, and the clean traffic beside it is `matched`.

pub(crate) mod content;
pub(crate) mod crowds;
pub(crate) mod directory;
pub(crate) mod terminal;

use std::io;

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{APP, PROXY},
    process::User,
};

use crate::evidence::Evidence;

/// Sends `count` requests for a path from `client` to `server`, and waits for their lines.
fn send(session: &Session, client: &str, server: &str, path: &str, count: usize) -> Result<()> {
    let lab = &session.lab;
    let url = format!("http://{}:8080{path}", lab.pod(server).addresses().v4);
    let count = count.to_string();
    let words = ["h2load", "--h1", "-n", &count, "-c", "4", &url];
    let output = lab.pod(client).run(APP, User::APP, words)?;
    ensure!(output.status.success(), "{output:?}");
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(
        report.contains(" 0 failed, 0 errored, 0 timeout"),
        "{report}"
    );
    Ok(())
}

/// All requests for a path are `matched` at both sides, and there are so many.
fn all_matched(
    evidence: &Evidence,
    client: &str,
    server: &str,
    path: &str,
    count: usize,
) -> Result<()> {
    let count = i64::try_from(count)?;
    for (pod, side) in [(client, "client"), (server, "server")] {
        let found = evidence.http(pod, side, path);
        found.are("matched")?.of_units(count, count)?;
    }
    Ok(())
}

/// The agent's own log speaks once of `part`, and of nothing that is for its readers alone.
fn said_once(evidence: &Evidence, part: &str) -> Result<()> {
    let stderr = &evidence.ended.stderr;
    let count = stderr.lines().filter(|line| line.contains(part)).count();
    ensure!(count == 1, "{count} lines speak of {part}:\n{stderr}");
    Ok(())
}

/// The directory of a pod's proxy container.
fn log_directory(session: &Session, pod: &str) -> Result<std::path::PathBuf> {
    let path = session.lab.pod(pod).container(PROXY).log.path();
    let parent = path.parent().map(std::path::Path::to_path_buf);
    Ok(parent.ok_or_else(|| io::Error::other("a log without a directory"))?)
}
