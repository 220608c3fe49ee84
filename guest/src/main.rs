//! Init of a virtual machine that `cargo xtask kernels` boots: captures traffic between two
//! network namespaces and compares what was told with what was sent.
//!
//! What it prints is for that command: a line for each program (`program <name> <count>`, `-` where
//! the kernel does not count) and for each record (`record …`), and `passed` at the end.
#![expect(clippy::print_stdout, reason = "the console is the only way out")]

mod machine;
mod network;
mod record;
mod script;
mod traffic;
mod trial;
mod watch;

use anyhow::{Context, ensure};

fn main() {
    // Whoever runs it elsewhere would have that machine switched off.
    if std::process::id() != 1 {
        println!("expected to be init of a virtual machine; see `cargo xtask kernels`");
        std::process::exit(1);
    }
    match machine::prepare().and_then(|()| run()) {
        Ok(()) => println!("passed"),
        Err(error) => println!("failed: {error:#}"),
    }
    machine::halt();
}

fn run() -> anyhow::Result<()> {
    trial::with_limited_memory().context("the preflight")?;
    machine::raise_memory_lock()?;
    let watch = watch::Watch::begin()?;
    for program in watch.programs() {
        match program.verified_instructions {
            Some(count) => println!("program {} {count}", program.name),
            None => println!("program {} -", program.name),
        }
    }
    let expected = traffic::send(&network::Pair::join()?)?;
    let told = watch.finish(expected.connections.len() + expected.flows.len())?;
    for connection in &told.connections {
        println!("record {connection:?}");
    }
    for listener in &told.listeners {
        println!("record {listener:?}");
    }
    for flow in &told.flows {
        println!("record {flow:?}");
    }
    for socket in &told.raw_sockets {
        println!("record {socket:?}");
    }
    for (expected, told) in expected.connections.iter().zip(&told.connections) {
        ensure!(expected == told, "expected {expected:#?}, got {told:#?}");
    }
    ensure!(expected == told, "expected {expected:#?}, got {told:#?}");
    Ok(())
}
