//! A copy of the sources, in which a bug can be planted.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::build::directory;
use crate::build::{execute, workspace};

/// A copy of the workspace as it is now, without what git ignores. Removed when dropped.
pub(super) struct Copy {
    pub(super) root: PathBuf,
}

impl Copy {
    /// Copies it.
    pub(super) fn new() -> anyhow::Result<Self> {
        let root = directory()?.join("planted");
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
        }
        let copy = Self { root };
        for file in sources()? {
            let from = workspace().join(&file);
            let to = copy.root.join(&file);
            // One that was removed is still known to git.
            if !from.is_file() {
                continue;
            }
            if let Some(above) = to.parent() {
                fs::create_dir_all(above)
                    .with_context(|| format!("creating {}", above.display()))?;
            }
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(copy)
    }

    /// Applies a patch.
    pub(super) fn apply(&self, patch: &Path) -> anyhow::Result<()> {
        execute(git_apply(&self.root, &[]).arg(patch))
    }

    /// Takes a patch back.
    pub(super) fn revert(&self, patch: &Path) -> anyhow::Result<()> {
        execute(git_apply(&self.root, &["--reverse"]).arg(patch))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// `git apply` on plain files, as if they were in no repository.
pub(super) fn git_apply(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("apply")
        .args(arguments)
        .env("GIT_CEILING_DIRECTORIES", root.parent().unwrap_or(root))
        .current_dir(root);
    command
}

/// The files of the workspace, relative to it.
fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(workspace())
        .output()
        .context("starting git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let names = output.stdout.split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    Ok(names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect())
}
