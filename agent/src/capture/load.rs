//! Loading and attaching.

use std::{
    collections::hash_map::RandomState,
    fs::File,
    hash::BuildHasher,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use agent_common::segment::SCRATCH_PIECES;
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, ProgramArray},
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Program, ProgramError},
    util::nr_cpus,
};

use super::{
    Capture, CgroupId, LoadError, accounts::Accounts, clock::Clock, flows::Flows, ring::Ring,
};

/// The smallest ring of streams: a quarter of it, which is the most that a cgroup may have of it,
/// holds the largest record.
pub const MINIMUM_RING_BYTES: u32 = 1 << 16;

/// The ring of sockets, in bytes. Its records are few and of 224 bytes.
const SOCKETS_BYTES: u32 = 4 << 20;

/// In the order in which they are attached. The turns of a connection's life come first and its
/// packets last: a connection whose packets are seen is one whose beginning was seen, or is known
/// to be older.
const PROGRAMS: [&str; 9] = [
    "create",
    "life",
    "post_bind4",
    "post_bind6",
    "connect4",
    "connect6",
    "release",
    "ingress",
    "egress",
];

/// Those that are only called by `egress`, in the order of their numbers.
const STAGES: [&str; 12] = [
    "block_small",
    "block_large",
    "block_huge",
    "block_refused",
    "identify",
    "frames_tiny",
    "frames_small",
    "frames_large",
    "frames_huge",
    "frames_refused",
    "hello",
    "datagram",
];

/// The verifier gives up with EAGAIN when a signal comes, as one may while the agent starts.
const LOAD_ATTEMPTS: usize = 5;

/// What to load and where to attach.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The size of the ring of streams: a power of two.
    pub ring_bytes: u32,
    /// The directories of the cgroups to watch.
    pub cgroups: &'a [PathBuf],
    /// Cgroups of which nothing is reported from the beginning: the agent's own.
    pub excluded: &'a [CgroupId],
}

pub(super) fn load(options: &Options<'_>) -> Result<Capture, LoadError> {
    let ring_bytes = options.ring_bytes;
    if ring_bytes < MINIMUM_RING_BYTES || !ring_bytes.is_power_of_two() {
        return Err(LoadError::RingBytes { given: ring_bytes });
    }
    let rings = [SOCKETS_BYTES, ring_bytes].map(u64::from);
    let cpus = nr_cpus().map_err(|(_, source)| LoadError::Cpus(source))?;
    let pieces = u32::try_from(cpus)
        .unwrap_or(u32::MAX)
        .saturating_mul(SCRATCH_PIECES);
    let mut programs = EbpfLoader::new()
        .map_max_entries("SOCKETS", SOCKETS_BYTES)
        .map_max_entries("STREAMS", ring_bytes)
        .map_max_entries("SCRATCH", pieces)
        .map_max_entries("CLAIMS", pieces)
        .override_global("RING_BYTES", rings.as_slice(), true)
        .override_global("FLOW_SEED", &RandomState::new().hash_one(0), true)
        .load(object()?)
        .map_err(LoadError::object)?;

    for name in PROGRAMS.iter().chain(&STAGES) {
        let program = program(&mut programs, name)?;
        load_program(program).map_err(|source| LoadError::program(name, source))?;
    }
    let stages = stages(&mut programs)?;
    let mut capture = Capture {
        excluded: exclusions(&mut programs)?,
        accounts: Accounts::new(map_memory(&mut programs, "ACCOUNTS", Accounts::map)?),
        sockets: map_memory(&mut programs, "SOCKETS", |map| {
            Ring::map(map, SOCKETS_BYTES)
        })?,
        streams: map_memory(&mut programs, "STREAMS", |map| Ring::map(map, ring_bytes))?,
        flows: map_memory(&mut programs, "FLOWS", Flows::map)?,
        clock: Clock::new(),
        horizon: None,
        _stages: stages,
        malformed: 0,
        programs,
    };
    for cgroup in options.excluded {
        capture.exclude(*cgroup).map_err(|source| LoadError::Map {
            map: "EXCLUDED",
            source,
        })?;
    }
    for cgroup in options.cgroups {
        attach(&mut capture.programs, cgroup)?;
    }
    Ok(capture)
}

fn object() -> Result<&'static [u8], LoadError> {
    #[cfg(embedded_bpf)]
    return Ok(aya::include_bytes_aligned!(concat!(
        env!("OUT_DIR"),
        "/meshwitness.bpf.o"
    )));
    #[cfg(not(embedded_bpf))]
    Err(LoadError::NoObject)
}

fn program<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, LoadError> {
    programs.program_mut(name).ok_or(LoadError::Incomplete {
        what: "program",
        name,
    })
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    for _ in 1..LOAD_ATTEMPTS {
        match try_to_load(program) {
            Err(ProgramError::LoadError { io_error, .. }) if is_interrupted(&io_error) => {}
            loaded => return loaded,
        }
    }
    try_to_load(program)
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn try_to_load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Attaches the programs that are no stages at a cgroup, with everything below it.
pub(super) fn attach(programs: &mut Ebpf, cgroup: &Path) -> Result<(), LoadError> {
    let directory = File::open(cgroup).map_err(|source| LoadError::Cgroup {
        path: cgroup.to_owned(),
        source,
    })?;
    for name in PROGRAMS {
        attach_program(program(programs, name)?, &directory)
            .map_err(|source| LoadError::attach(name, cgroup.to_owned(), source))?;
    }
    Ok(())
}

/// Where a program for packets is attached.
fn packets(program: &CgroupSkb) -> CgroupSkbAttachType {
    match program.expected_attach_type() {
        Some(CgroupSkbAttachType::Ingress) => CgroupSkbAttachType::Ingress,
        _ => CgroupSkbAttachType::Egress,
    }
}

/// Links of cgroups allow others beside them by nature, and refuse the flag that would say so.
fn attach_program(program: &mut Program, directory: &File) -> Result<(), ProgramError> {
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSkb(program) => program.attach(directory, packets(program), mode).map(drop),
        Program::CgroupSock(program) => program.attach(directory, mode).map(drop),
        Program::CgroupSockAddr(program) => program.attach(directory, mode).map(drop),
        Program::SockOps(program) => program.attach(directory, mode).map(drop),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Tells the programs of each other.
fn stages(programs: &mut Ebpf) -> Result<ProgramArray<MapData>, LoadError> {
    const MAP: &str = "STAGES";
    let failed = |source| LoadError::Map { map: MAP, source };
    let mut stages = ProgramArray::try_from(take_map(programs, MAP)?).map_err(failed)?;
    for (index, name) in (0..).zip(STAGES) {
        let program = program(programs, name)?
            .fd()
            .map_err(|source| LoadError::program(name, source))?;
        stages.set(index, program, 0).map_err(failed)?;
    }
    Ok(stages)
}

fn exclusions(programs: &mut Ebpf) -> Result<HashMap<MapData, CgroupId, u8>, LoadError> {
    let map = take_map(programs, "EXCLUDED")?;
    HashMap::try_from(map).map_err(|source| LoadError::Map {
        map: "EXCLUDED",
        source,
    })
}

fn map_memory<T>(
    programs: &mut Ebpf,
    name: &'static str,
    map: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
) -> Result<T, LoadError> {
    let data = match take_map(programs, name)? {
        Map::RingBuf(data) | Map::Array(data) => data,
        _ => return Err(LoadError::Incomplete { what: "map", name }),
    };
    map(data.fd().as_fd()).map_err(|source| LoadError::Mapping { map: name, source })
}

fn take_map(programs: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    programs
        .take_map(name)
        .ok_or(LoadError::Incomplete { what: "map", name })
}
