//! What runs in the machines: a static program, so that it needs nothing beside it.

use std::{env, path::PathBuf, process::Command};

use crate::build;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PACKAGE: &str = "guest";

/// Builds it, and returns where it is.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    build::execute(
        Command::new(cargo)
            .args(["build", "--quiet", "--package", PACKAGE])
            // Also if it is this machine's: what is built for a named target lies apart, so that
            // these flags have nothing else compiled again.
            .args(["--target", TARGET])
            .env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                "-Ctarget-feature=+crt-static -Cdebuginfo=0",
            )
            .env_remove("RUSTFLAGS")
            // Nobody edits it from hour to hour, and it is gigabytes.
            .env("CARGO_INCREMENTAL", "0")
            .current_dir(build::workspace()),
    )?;
    Ok(build::target_dir()?
        .join(TARGET)
        .join("debug")
        .join(PACKAGE))
}
