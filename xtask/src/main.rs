//! The project's own commands: `cargo xtask <command>`. One file a command.
#![expect(
    clippy::print_stdout,
    reason = "these commands talk to the person who runs them"
)]

mod bench;
mod build;
mod demo;
mod fuzz;
mod install;
mod kernels;
mod progress;
mod steps;
mod test;

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what the agent costs on this machine (root)
    Bench(bench::Options),
    /// Build the BPF programs, then the agent with them inside
    Build(build::Options),
    /// Stage four incidents in a small mesh on this machine and find them (root)
    Demo(demo::Options),
    /// Fuzz everything that reads what others wrote
    Fuzz(fuzz::Options),
    /// Install what the other commands need
    Install(install::Options),
    /// Boot every kernel that is promised, and capture on it
    Kernels(kernels::Options),
    /// Formatting, lints, and all tests (root)
    Test(test::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Install(options) => install::run(&options),
        Command::Kernels(options) => kernels::run(&options),
        Command::Test(options) => test::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that Debug would add: the causes name the place.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Fails unless this is root.
fn require_root(command: &str) -> anyhow::Result<()> {
    let user = rustix::process::geteuid();
    ensure!(
        user.is_root(),
        "`cargo xtask {command}` makes network namespaces, cgroups and BPF programs: \
         expected root, got user {}; nothing was run",
        user.as_raw()
    );
    Ok(())
}
