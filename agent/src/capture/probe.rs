//! A trial: what the kernel offers, whether the programs load, and whether they attach. Nothing
//! stays.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Capture, LoadError, Options,
    features::{self, Feature},
    foreign::{self, ForeignPrograms},
    load, privileges,
};

/// Larger than what a trial of milliseconds could fill on a quiet node; a full ring only counts.
const RING_BYTES: u32 = 64 * 1024;

/// What a trial found.
#[derive(Debug)]
pub struct Probe {
    /// The needed capabilities that the calling thread lacks.
    pub missing_capabilities: Vec<&'static str>,
    /// The features of the kernel; none where capabilities are missing, since it then hides them.
    pub features: Vec<Feature>,
    /// Whether the kernel takes the programs.
    pub programs: Result<(), LoadError>,
    /// Programs of others that do not go together with ours.
    pub foreign: io::Result<Vec<ForeignPrograms>>,
    /// Each cgroup, and whether all programs could be attached there; none if they do not load.
    pub attachments: Vec<(PathBuf, Result<(), LoadError>)>,
}

/// Tries to capture at `cgroups`, which lie below `mount`, and gives it up at once. An agent that
/// runs is not disturbed: programs run beside each other.
#[must_use]
pub fn probe(mount: &Path, cgroups: &[PathBuf]) -> Probe {
    let missing_capabilities = privileges::missing();
    let options = Options {
        ring_bytes: RING_BYTES,
        cgroups: &[],
        excluded: &[],
    };
    // First: it also raises the limit on locked memory, which old kernels charge for all of this.
    let capture = Capture::load(&options);
    let features = match missing_capabilities.is_empty() {
        true => features::ask(),
        false => Vec::new(),
    };
    let foreign = foreign::find(mount, cgroups);
    let (programs, attachments) = match capture {
        Ok(mut capture) => (
            Ok(()),
            cgroups
                .iter()
                .map(|cgroup| (cgroup.clone(), load::attach(&mut capture.programs, cgroup)))
                .collect(),
        ),
        Err(error) => (Err(error), Vec::new()),
    };
    Probe {
        missing_capabilities,
        features,
        programs,
        foreign,
        attachments,
    }
}
