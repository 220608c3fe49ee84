//! One boot, from the kernel to what its init printed.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    debian::Kernel,
    image::{VETH, VMLINUX},
    initramfs,
    report::Passed,
};
use crate::build;

/// How long a boot may take, with all that runs in it: about three seconds where nothing else does.
const PATIENCE: &str = "60";
/// What `timeout` returns when that is over.
const TIMED_OUT: i32 = 124;
/// How much of the console is shown of a boot that failed.
const SHOWN_LINES: usize = 60;

/// Boots a kernel with `guest` as its init.
pub(super) fn boot(kernel: &Kernel, guest: &Path) -> anyhow::Result<Passed> {
    let busybox = build::find_on_path("busybox").context("busybox is not on PATH")?;
    let archive = initramfs::build(&[
        ("init", guest),
        ("busybox", &busybox),
        (VETH, &kernel.directory.join(VETH)),
    ])?;
    let initramfs = kernel.directory.join("initramfs");
    fs::write(&initramfs, archive).with_context(|| format!("writing {}", initramfs.display()))?;
    let began = Instant::now();
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE])
        .arg("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1"])
        .args(["-machine", "pc,usb=off,vmport=off", "-m", "384"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-serial", "stdio", "-monitor", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel.directory.join(VMLINUX))
        .arg("-initrd")
        .arg(&initramfs)
        // Whatever ends, the machine ends: a panic at once, by the triple fault that always works.
        .args(["-append", "console=ttyS0 quiet panic=-1 reboot=t"])
        .stdin(std::process::Stdio::null())
        .output()
        .context("starting qemu-system-x86_64")?;
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    if output.status.code() == Some(TIMED_OUT) {
        bail!(
            "it was not done after {PATIENCE} s; its console:\n{}",
            end(&console)
        );
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "qemu-system-x86_64 failed ({}): {}",
            output.status,
            said.trim()
        );
    }
    read(&kernel.version, &console, began.elapsed())
        .with_context(|| format!("its console:\n{}", end(&console)))
}

/// What init printed. The emulator's exit says nothing: it is the same after a panic.
fn read(version: &str, console: &str, time: Duration) -> anyhow::Result<Passed> {
    let mut passed = Passed {
        kernel: version.to_owned(),
        time,
        programs: Vec::new(),
        records: Vec::new(),
    };
    let mut is_done = false;
    for line in console.lines() {
        match line.split_once(' ') {
            Some(("program", program)) => {
                let (name, count) = program.split_once(' ').context("a program without count")?;
                // `-` where the kernel does not say.
                passed.programs.push((name.to_owned(), count.parse().ok()));
            }
            Some(("record", record)) => passed.records.push(record.to_owned()),
            Some(("failed:", error)) => bail!("{error}"),
            _ => is_done |= line == "passed",
        }
    }
    if !is_done {
        bail!("it ended without a verdict");
    }
    Ok(passed)
}

fn end(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
