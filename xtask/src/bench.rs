//! `bench`: what the agent costs on this machine, in figures that only count if nothing was lost.
//!
//! Traffic goes through real sidecars, by h2load, first without an agent and then with one that
//! delivers to the reference collector. CPU is that of cgroups and processes, so that other work on
//! the machine does not count; latencies and throughput need a machine that does nothing else.

mod bypasses;
mod downloads;
mod fixed_rate;
mod latency;
mod load;
mod machine;
mod programs;
mod replay;
mod report;
mod saturation;
mod soak;
mod stage;
mod tally;
mod usage;

use clap::{Args, ValueEnum};

use self::{
    fixed_rate::{DIRECT, HTTP2, MESH, Traffic},
    machine::Machine,
    report::Report,
    stage::Stage,
};
use crate::{build, install, require_root, steps::Steps};

/// What `bench` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these; all if none is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How long traffic at a fixed rate is measured, each time
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Requests a second through both sidecars: fewer, where a machine does not carry so many
    #[arg(long, value_name = "N", default_value_t = MESH.rate, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Also ten minutes at 5,000 requests a second: whether memory grows
    #[arg(long)]
    soak: bool,
    /// Print one line of JSON at the end instead of the table
    #[arg(long)]
    json: bool,
    /// Do not ask before installing what the bench needs
    #[arg(long, short)]
    yes: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests at a fixed rate through both sidecars
    Mesh,
    /// The same over HTTP/2
    Http2,
    /// Requests at a fixed rate between pods without sidecars
    Direct,
    /// Large bodies: what a packet costs of which nothing is told
    Downloads,
    /// How soon a bypass is known at the receiver
    Bypasses,
    /// As many requests as go through both sidecars, seven times without and with the agent
    Saturation,
    /// The ledger alone, fed from a recording
    Replay,
}

/// Measures, and prints what came of it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    require_root("bench")?;
    let steps = Steps::begin();
    steps.run("requirements", || install::ensure_lab(options.yes))?;
    steps.run("build", || {
        build::run(&build::Options::ALL)?;
        build::build_helper()
    })?;
    let measures = |part| match options.parts.is_empty() {
        // Then what takes long has been asked for alone.
        true => true,
        false => options.parts.contains(&part),
    };
    let mut report = Report::new(Machine::look()?);
    let stage = steps.run("pods with sidecars and without, a collector", Stage::set)?;
    let at_fixed_rate = |part, traffic: Traffic| {
        let measure = || fixed_rate::measure(&stage, &traffic, options.seconds);
        let run = measures(part).then(|| steps.run(&traffic.title(), measure));
        run.transpose()
    };
    report.mesh = at_fixed_rate(Part::Mesh, MESH.at(options.rate))?;
    report.http2 = at_fixed_rate(Part::Http2, HTTP2.at(options.rate))?;
    report.direct = at_fixed_rate(Part::Direct, DIRECT)?;
    if measures(Part::Downloads) {
        report.downloads = Some(steps.run(downloads::TITLE, || downloads::measure(&stage))?);
    }
    if measures(Part::Bypasses) {
        report.bypasses = Some(steps.run(bypasses::TITLE, || bypasses::measure(&stage))?);
    }
    if measures(Part::Saturation) {
        report.saturation = Some(steps.run("flat out through both sidecars", || {
            saturation::measure(&stage)
        })?);
    }
    if measures(Part::Replay) {
        report.replay = Some(steps.run("replay", || replay::measure(&stage))?);
    }
    if options.soak {
        report.soak = Some(steps.run("ten minutes", || soak::measure(&stage))?);
    }
    drop(stage);
    println!();
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.table());
    }
    Ok(())
}
