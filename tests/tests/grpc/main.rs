//! gRPC through both sidecars, with real clients and servers: tonic, and gRPC's C core in Python.
//!
//! All calls happen in one run; the trials ask each for one promise of it. The ground truth is what
//! the clients say of each call. The same program is the tonic peer: `serve PORT` and
//! `call WHAT ADDRESS PREFIX [NUMBER]`, as `peer.py` has them.
#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

mod client;
mod codec;
mod outcome;
mod reflection;
mod server;
mod stage;

use std::{env, process::ExitCode};

use anyhow::bail;
use libtest_mimic::{Arguments, Trial};
use outcome::TRIALS;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["serve" | "call", ..] = words[..] {
        return play_peer(&words);
    }
    let trials = TRIALS.map(|(name, trial)| {
        Trial::test(name, move || {
            trial();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn play_peer(words: &[&str]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let played = runtime.block_on(async {
        match *words {
            ["serve", port] => server::serve(port.parse()?).await,
            ["call", "kinds", address, prefix] => client::kinds(address, prefix).await,
            ["call", "metadata", address, prefix, bytes] => {
                client::metadata(address, prefix, bytes.parse()?).await
            }
            ["call", "concurrent", address, prefix, count] => {
                client::concurrent(address, prefix, count.parse()?).await
            }
            _ => bail!("unknown command"),
        }
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}
