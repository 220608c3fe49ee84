//! The targets' binaries, instrumented for libFuzzer by the stable compiler.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::target::Target;
use crate::build::{cargo, execute, target_dir, workspace};

/// What libFuzzer counts and compares. The address sanitizer would want nightly Rust; in safe code
/// it has nothing to find.
const INSTRUMENTATION: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

/// Whose binaries.
#[derive(Clone, Copy)]
pub(super) enum Sources<'a> {
    /// Those of this workspace.
    Own,
    /// A copy of it in this directory.
    Copy(&'a Path),
}

/// Builds binaries of some targets. Those of a copy take the places of the others.
pub(super) fn targets(sources: Sources<'_>, targets: &[Target]) -> anyhow::Result<()> {
    let root = match sources {
        Sources::Own => workspace(),
        Sources::Copy(root) => root,
    };
    let names = targets.iter().flat_map(|target| ["--bin", &target.name]);
    execute(
        Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--quiet"])
            .arg("--manifest-path")
            .arg(root.join("fuzz/Cargo.toml"))
            .args(names)
            // With a target of its own, build scripts are not instrumented.
            .args(["--target", &host()?])
            .arg("--target-dir")
            .arg(directory()?)
            .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"))
            .current_dir(root),
    )
}

/// Clippy on all of them. Not instrumented, so that what they share with the other workspace is
/// checked once for both.
pub(crate) fn clippy() -> Command {
    let mut command = cargo();
    command
        .args(["clippy", "--all-targets"])
        .arg("--manifest-path")
        .arg(workspace().join("fuzz/Cargo.toml"))
        // Nothing is linked, so libFuzzer itself need not be compiled.
        .env("CUSTOM_LIBFUZZER_PATH", "not-linked/libFuzzer.a");
    command
}

/// Where the binary of a target was built.
pub(super) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    Ok(directory()?.join(host()?).join("release").join(name))
}

/// Everything of fuzzing in the target directory.
pub(super) fn directory() -> anyhow::Result<PathBuf> {
    let directory = target_dir()?.join("fuzz");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

/// The target that the compiler builds for by itself.
fn host() -> anyhow::Result<String> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "host-tuple"])
        .output()
        .context("starting rustc")?;
    ensure!(
        output.status.success(),
        "rustc does not tell its host: {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
