//! Clean traffic: every line of it must find its exchange, and the other way round.

use std::process::Output;

use anyhow::{Context, ensure};
use lab::{
    Lab, nginx,
    outside::PORTS,
    pod::{APP, Pod},
    process::User,
};

/// Requests of the load generator, on so many connections.
const LOAD: &str = "500";
const CONNECTIONS: &str = "8";

/// What a shop does: reads, writes, misses, a burst, a call to the outside. `part` marks the paths.
pub(super) fn run(lab: &Lab, part: &str) -> anyhow::Result<()> {
    let a = lab.pod("a");
    let b = format!(
        "http://{}:{}",
        lab.pod("b").addresses().v4,
        nginx::HTTP_PORT
    );
    let outside = format!("http://{}:{}", lab.outside().addresses().v4, PORTS[0]);
    for number in 0..5 {
        curl(a, &[&format!("{b}/{part}/orders/{number}?token=secret")])?;
    }
    curl(a, &["--data", "amount=12", &format!("{b}/{part}/payments")])?;
    curl(a, &["--head", &format!("{b}/{part}/stock")])?;
    curl(a, &[&format!("{b}/missing/{part}")])?;
    curl(a, &[&format!("{outside}/{part}/exchange-rates")])?;
    let burst = format!("{b}/{part}/burst");
    succeeded(&a.run(
        APP,
        User::APP,
        ["h2load", "--h1", "-n", LOAD, "-c", CONNECTIONS, &burst],
    )?)
}

/// One request by curl in the app's container, under the app's user.
pub(super) fn curl(pod: &Pod, words: &[&str]) -> anyhow::Result<()> {
    curl_as(pod, User::APP, words)
}

/// The same under another user.
pub(super) fn curl_as(pod: &Pod, user: User, words: &[&str]) -> anyhow::Result<()> {
    let words = ["curl", "--silent", "--show-error"]
        .iter()
        .chain(words)
        .copied();
    succeeded(&pod.run(APP, user, words).context("curl in a pod")?)
}

fn succeeded(output: &Output) -> anyhow::Result<()> {
    ensure!(
        output.status.success(),
        "a client in the mesh failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
