//! `kernels`: the programs on every kernel that is promised, each booted in a virtual machine.
//!
//! Emulated, without KVM, which not every machine has. The machine's only process is `guest`: it
//! captures traffic that it sends itself and compares what was told with the truth. What is
//! compared here is what the kernels told, one with the other.

mod boot;
mod debian;
mod guest;
mod image;
mod initramfs;
mod report;

pub(crate) use guest::command as guest;
pub(crate) use report::Report;

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::ensure;
use clap::Args;

use self::{
    debian::{Kernel, SERIES},
    report::Tried,
};
use crate::{build, install, steps::Steps};

/// What `kernels` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Do not ask before installing what this needs
    #[arg(long, short)]
    yes: bool,
}

/// Boots all of them. Fails also if one cannot be had.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let steps = Steps::begin();
    steps.run("requirements", || install::ensure_all(options.yes))?;
    steps.run("BPF programs", || build::run(&build::Options::PROGRAMS))?;
    let kernels = obtain(&steps)?;
    let report = try_all(&steps, kernels)?;
    println!("\n{}", steps.times());
    report.ensure_all_ran()
}

/// Each of [`SERIES`], or why it could not be had.
pub(crate) type Kernels = [anyhow::Result<Kernel>; SERIES.len()];

/// Fetches them all.
pub(crate) fn obtain(steps: &Steps) -> anyhow::Result<Kernels> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are booted on x86-64 machines only: what runs in them is built for this one"
    );
    steps.run("kernels", || {
        Ok(SERIES.map(|series| debian::obtain(&series)))
    })
}

/// Boots those that could be had, prints which ran and which could not and why, and fails if one
/// that ran did not pass. The BPF programs must have been built.
pub(crate) fn try_all(steps: &Steps, kernels: Kernels) -> anyhow::Result<Report> {
    let guest = steps.run("guest, static", guest::build)?;
    let report = steps.run("kernels, boot", || {
        let tried = one_per_core(SERIES.into_iter().zip(kernels), |(series, kernel)| Tried {
            series: series.name,
            outcome: kernel
                .map_err(report::Failure::NotObtained)
                .and_then(|kernel: Kernel| {
                    boot::boot(&kernel, &guest).map_err(|error| report::Failure::Failed {
                        kernel: kernel.version,
                        error,
                    })
                }),
        });
        Ok(Report::new(tried))
    })?;
    println!("{report}");
    report.ensure_none_failed()?;
    Ok(report)
}

/// Works on as many as there are cores, and returns the results in order.
fn one_per_core<T: Send, R: Send>(
    work: impl Iterator<Item = T> + Send,
    action: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = Mutex::new(work.enumerate());
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut results: Vec<(usize, R)> = thread::scope(|threads| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                threads.spawn(|| {
                    let mut results = Vec::new();
                    while let Some((number, item)) = next() {
                        results.push((number, action(item)));
                    }
                    results
                })
            })
            .collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .flat_map(|worker| worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
