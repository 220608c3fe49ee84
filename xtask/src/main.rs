//! The project's own commands: `cargo xtask <command>`. One file a command.

mod build;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the BPF programs, then the agent with them inside
    Build(build::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build(options) => build::run(&options),
    }
}
