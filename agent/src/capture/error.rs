//! Why the programs could not be put to work.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use thiserror::Error;

use super::{load::MINIMUM_RING_BYTES, privileges};

/// Why loading or attaching failed.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The agent was built without the BPF programs.
    #[error("this build holds no BPF programs: build it with `cargo xtask build`")]
    NoObject,
    /// The size of the ring is not possible.
    #[error(
        "capture.ring_bytes is {given}: it must be a power of two, at least {MINIMUM_RING_BYTES}"
    )]
    RingBytes {
        /// The size that was given.
        given: u32,
    },
    /// The number of CPUs is not known.
    #[error("the number of CPUs could not be read")]
    Cpus(#[source] io::Error),
    /// The object could not be loaded up to its programs: maps, type information.
    #[error("the BPF object could not be loaded{hint}")]
    Object {
        /// What aya says.
        source: Box<EbpfError>,
        /// What to check.
        hint: String,
    },
    /// The object in this build lacks a part.
    #[error("the BPF object of this build has no {what} `{name}`: build with `cargo xtask build`")]
    Incomplete {
        /// A program or a map.
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// The kernel's verifier refused a program.
    #[error("the kernel refused program `{program}` ({error}); its verifier's last lines:\n{log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// The error of the system call.
        error: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The kernel did not take a program, for a reason other than its instructions.
    #[error("program `{program}` could not be loaded{hint}")]
    Program {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
        /// What to check.
        hint: String,
    },
    /// A cgroup's directory could not be opened.
    #[error("cgroup {} could not be opened", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be attached.
    #[error("program `{program}` could not be attached to cgroup {}{hint}", cgroup.display())]
    Attach {
        /// The program.
        program: &'static str,
        /// The cgroup's directory.
        cgroup: PathBuf,
        /// What the kernel said.
        source: Box<ProgramError>,
        /// What to check.
        hint: String,
    },
    /// A map could not be used.
    #[error("map `{map}` could not be used")]
    Map {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A map's memory could not be mapped.
    #[error("the memory of map `{map}` could not be mapped")]
    Mapping {
        /// The map.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The last lines of a verifier's log: those that say why.
const LOG_LINES: usize = 12;

impl LoadError {
    pub(super) fn object(source: EbpfError) -> Self {
        let hint = match errno(&source) {
            Some(libc::EPERM) => privileges::hint(),
            _ => String::new(),
        };
        Self::Object {
            source: Box::new(source),
            hint,
        }
    }

    pub(super) fn program(program: &'static str, source: ProgramError) -> Self {
        match source {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } if io_error.raw_os_error() != Some(libc::EPERM) => {
                let log = verifier_log.to_string();
                let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
                Self::Verifier {
                    program,
                    error: io_error,
                    log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
                }
            }
            source => {
                let hint = match errno(&source) {
                    Some(libc::EPERM) => privileges::hint(),
                    _ => String::new(),
                };
                Self::Program {
                    program,
                    source: Box::new(source),
                    hint,
                }
            }
        }
    }

    pub(super) fn attach(program: &'static str, cgroup: PathBuf, source: ProgramError) -> Self {
        let hint = match errno(&source) {
            Some(libc::EPERM) if privileges::missing().is_empty() => {
                ": somebody else's program is attached at this cgroup or above it without \
                 BPF_F_ALLOW_MULTI; find it with `bpftool cgroup tree`"
                    .to_owned()
            }
            Some(libc::EPERM) => privileges::hint(),
            Some(libc::EBADF | libc::EINVAL) => {
                ": is it a directory of a cgroup v2 file system?".to_owned()
            }
            Some(libc::E2BIG) => ": 64 programs are attached there already".to_owned(),
            _ => String::new(),
        };
        Self::Attach {
            program,
            cgroup,
            source: Box::new(source),
            hint,
        }
    }
}

/// The error number at the bottom of an error.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(current) = error {
        if let Some(number) = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(number);
        }
        error = current.source();
    }
    None
}
