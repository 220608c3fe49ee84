//! Large bodies: what a packet costs of which nothing has to be told.

use anyhow::{Result, ensure};
use lab::{nginx, pod::APP, process::User};
use serde::Serialize;

use super::{
    programs::{self, Measuring},
    stage::Stage,
};

pub(super) const TITLE: &str = "downloads of 10 MB through both sidecars, over HTTP/1 and HTTP/2";

/// The program that sees each packet.
const PROGRAM: &str = "egress";
/// Each of them some hundred packets on each leg, of which one has the head.
const DOWNLOADS: usize = 40;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Downloads {
    pub(super) http1: Packets,
    pub(super) http2: Packets,
}

/// What the packets of one protocol took.
#[derive(Debug, Serialize)]
pub(super) struct Packets {
    /// Packets that the pods' sockets sent.
    pub(super) packets: u64,
    /// What the program took for all of them. The measuring itself is in it, about 60 ns each.
    pub(super) nanoseconds: u64,
}

impl Packets {
    /// For each packet.
    pub(super) fn nanoseconds_each(&self) -> u64 {
        self.nanoseconds / self.packets.max(1)
    }
}

/// Measures each protocol.
pub(super) fn measure(stage: &Stage) -> Result<Downloads> {
    let watched = stage.start_agent()?;
    let agent = watched.agent.id();
    let measure = |port, protocol| {
        let measuring = Measuring::begin()?;
        let before = programs::of_process(agent)?;
        download(stage, port, protocol)?;
        let runs = programs::since(programs::of_process(agent)?, &before);
        drop(measuring);
        let egress = runs.get(PROGRAM).copied().unwrap_or_default();
        anyhow::Ok(Packets {
            packets: egress.runs,
            nanoseconds: egress.nanoseconds,
        })
    };
    let downloads = Downloads {
        http1: measure(nginx::HTTP_PORT, Some("--h1"))?,
        http2: measure(nginx::HTTP2_PORT, None)?,
    };
    watched.stop()?;
    Ok(downloads)
}

/// One after the other, on one connection.
fn download(stage: &Stage, port: u16, protocol: Option<&str>) -> Result<()> {
    let (client, server) = (stage.lab.pod("a"), stage.lab.pod("b"));
    let url = format!("http://{}:{port}/large", server.addresses().v4);
    let count = DOWNLOADS.to_string();
    let words = ["h2load", "-c", "1", "-m", "1", "-n", &count];
    let words = words.into_iter().chain(protocol).chain([&*url]);
    let output = client.run(APP, User::APP, words)?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        told.contains(&format!("{DOWNLOADS} succeeded, 0 failed")),
        "h2load failed: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
