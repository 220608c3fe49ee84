//! How scenarios send, and what their judges ask for most.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    pod::{APP, PROXY, Pod},
    process::User,
};

use crate::evidence::Evidence;

/// How long a line may take to be written; Envoy flushes within 200 ms.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A URL on a pod's HTTP/1.1 port.
pub(crate) fn url(pod: &Pod, path: &str) -> String {
    format!("http://{}:8080{path}", pod.addresses().v4)
}

/// `address:port` of a pod.
pub(crate) fn endpoint(session: &Session, pod: &str, port: u16) -> String {
    format!("{}:{port}", session.lab.pod(pod).addresses().v4)
}

/// Lets the app of `client` ask `server` for a path, with further options for curl, and returns
/// the status that it received; 0: none.
pub(crate) fn get(
    session: &Session,
    client: &str,
    server: &str,
    path: &str,
    options: &[&str],
) -> Result<u16> {
    let url = url(session.lab.pod(server), path);
    curl(
        session.lab.pod(client),
        &[&[url.as_str()], options].concat(),
    )
}

/// Runs curl in a pod's app and returns the status that it received; 0: none.
pub(crate) fn curl(pod: &Pod, words: &[&str]) -> Result<u16> {
    let words = [
        &["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"],
        words,
    ]
    .concat();
    let output = pod.run(APP, User::APP, words)?;
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    status.parse().with_context(|| format!("{output:?}"))
}

/// Waits for a line of a pod's Envoy.
pub(crate) fn wait_for_line(session: &Session, pod: &str, part: &str) -> Result<String> {
    let log = &session.lab.pod(pod).container(PROXY).log;
    log.wait_for(PATIENCE, |line| line.contains(part))
}

/// Both sides of the only exchange on a path are matched, and the app had it once.
pub(crate) fn matched_at_both(
    evidence: &Evidence,
    client: &str,
    server: &str,
    path: &str,
) -> Result<()> {
    let served = evidence.nginx(server, path)?.len();
    ensure!(served == 1, "the app had {path} {served} times");
    matched(evidence, client, "client", path)?;
    matched(evidence, server, "server", path)
}

/// One side of the only exchange on a path is matched.
pub(crate) fn matched(evidence: &Evidence, pod: &str, side: &str, path: &str) -> Result<()> {
    evidence
        .http(pod, side, path)
        .are("matched")?
        .are_as_many_as(1)?
        .of_units(1, 1)?;
    Ok(())
}
