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
    let measure = |port, option| {
        let measuring = Measuring::begin()?;
        let before = programs::of_process(agent)?;
        download(stage, port, option)?;
        let runs = programs::since(programs::of_process(agent)?, &before);
        drop(measuring);
        let egress = runs.get(PROGRAM).copied().unwrap_or_default();
        anyhow::Ok(Packets {
            packets: egress.runs,
            nanoseconds: egress.nanoseconds,
        })
    };
    let downloads = Downloads {
        http1: measure(nginx::HTTP_PORT, "--http1.1")?,
        http2: measure(nginx::HTTP2_PORT, "--http2-prior-knowledge")?,
    };
    watched.stop()?;
    Ok(downloads)
}

/// One after the other.
fn download(stage: &Stage, port: u16, option: &str) -> Result<()> {
    let (client, server) = (stage.lab.pod("a"), stage.lab.pod("b"));
    let url = format!("http://{}:{port}/large", server.addresses().v4);
    let words = ["curl", "--silent", "--show-error", "--fail", option];
    let each = ["--output", "/dev/null", &url];
    let words = words.into_iter().chain((0..DOWNLOADS).flat_map(|_| each));
    let output = client.run(APP, User::APP, words)?;
    ensure!(
        output.status.success(),
        "curl failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
