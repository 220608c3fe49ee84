//! The programs of a pod that the lab brings itself: a stand-in for pilot-agent, an app for what
//! nginx cannot do, and clients that send what no ordinary client sends.

mod app;
mod attack;
mod client;
mod datagrams;
mod mesh_init;
mod pilot_agent;
mod server;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    thread,
};

use anyhow::{Result, bail};
use lab::{Lab, pod::PodSpec, requirements};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-helper {}: {error:#}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["pilot-agent", options @ ..] => pilot_agent::run(options),
        ["app", socket] => app::run(socket),
        ["install"] => requirements::install(),
        ["hold"] => hold(),
        ["pipeline", address, path, count] => client::pipeline(address, path, count),
        ["bytes", address, text, wait_msec] => client::bytes(address, text, wait_msec),
        ["requests", address, script] => client::requests(address, script),
        ["short", addresses, path, count] => client::short(addresses, path, count),
        ["reuseport", addresses, path] => client::reuseport(addresses, path),
        ["half-close", address, path, count] => client::half_close(address, path, count),
        ["transfer", address, count, bytes] => client::transfer(address, count, bytes),
        ["serve", "echo", port] => server::echo(port),
        ["serve", "datagrams", port] => datagrams::answer(port),
        ["datagrams", address, text, bytes, answers] => {
            datagrams::send(address, text, bytes, answers)
        }
        ["raw-sockets"] => datagrams::raw_sockets(),
        ["serve", "garble", port] => server::garble(port),
        ["serve", "mute", port] => server::mute(port),
        ["validate", own] => mesh_init::validate(own),
        ["websocket", address, path, count] => client::websocket(address, path, count),
        ["linger", address, path, file] => attack::linger(address, path, file),
        ["flood", address, path, seconds] => attack::flood(address, path, seconds),
        _ => bail!("unknown command"),
    }
}

/// Brings up two pods and keeps them until a signal ends the process.
fn hold() -> Result<()> {
    let lab = Lab::start([PodSpec::new("a"), PodSpec::new("b")])?;
    writeln!(io::stdout(), "up: {}", lab.directory().display())?;
    loop {
        thread::park();
    }
}
