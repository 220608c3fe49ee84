//! What runs in the machines: a static program, so that it needs nothing beside it.

use std::{path::PathBuf, process::Command};

use crate::build;

const PACKAGE: &str = "guest";

/// Builds it, and returns where it is.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    build::execute(&mut command())?;
    Ok(build::target_dir()?.join("debug").join(PACKAGE))
}

/// What builds it.
pub(crate) fn command() -> Command {
    let mut cargo = build::cargo();
    cargo
        .args(["rustc", "--quiet", "--package", PACKAGE, "--"])
        // Asked for where all is linked, and nowhere before: libraries are those of the tests.
        .args(["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]);
    cargo
}
