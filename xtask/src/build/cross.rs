//! The agent for another kind of machine.
//!
//! The programs inside are the same: they look into no registers, which alone would differ.

use std::{env, path::Path, process::Command};

use anyhow::{Context, ensure};

use super::{clean, execute, find_on_path, target_dir, workspace};

/// Builds the agent for `target`, with the programs in `object`.
pub(super) fn build_agent(object: &Path, target: &str) -> anyhow::Result<()> {
    let directory = target_dir()?.join("cross-build");
    let mut cargo = cargo(target)?;
    cargo
        .args(["build", "--release", "--package", "meshwitness"])
        .args(["--target", target])
        // Two compilers may work here: see `cargo`.
        .arg("--target-dir")
        .arg(&directory)
        .env("MESHWITNESS_BPF_OBJECT", object)
        .current_dir(workspace());
    // The name that Debian gives it. Cargo reads the variable's upper-case form.
    let linker = format!("{}-gcc", target.replace("-unknown", ""));
    let variable = target.to_ascii_uppercase().replace('-', "_");
    let variable = format!("CARGO_TARGET_{variable}_LINKER");
    if env::var_os(&variable).is_none() {
        ensure!(
            find_on_path(&linker).is_some(),
            "{linker} is not on PATH; install it (Debian: gcc-{}), or name another in {variable}",
            linker.trim_end_matches("-gcc").replace('_', "-"),
        );
        cargo.env(variable, linker);
    }
    execute(&mut cargo)?;
    let agent = directory.join(target).join("release/meshwitness");
    println!("{}", agent.display());
    Ok(())
}

/// The cargo whose compiler has a standard library for `target`: this one, or the packaged one.
fn cargo(target: &str) -> anyhow::Result<Command> {
    let outer = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    if has_library(&mut Command::new("rustc"), target) {
        return Ok(Command::new(outer));
    }
    let rustc = Path::new("/usr/bin/rustc");
    let mut packaged = clean(Path::new("/usr/bin/cargo"));
    packaged.env("RUSTC", rustc);
    has_library(&mut clean(rustc), target)
        .then_some(packaged)
        .with_context(|| {
            format!(
                "no compiler here has a standard library for {target}; install one:\n  \
                 rustup:  rustup target add {target}\n  \
                 Debian:  dpkg --add-architecture ARCH, apt-get update, and \
                 libstd-rust-web-dev:ARCH of the version that rustc-web has"
            )
        })
}

fn has_library(rustc: &mut Command, target: &str) -> bool {
    let directory = rustc
        .args(["--print", "target-libdir", "--target", target])
        .output();
    directory.is_ok_and(|output| {
        let directory = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
            && Path::new(directory.trim()).read_dir().is_ok_and(|files| {
                files
                    .flatten()
                    .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
            })
    })
}
