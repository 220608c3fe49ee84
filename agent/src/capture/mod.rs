//! The kernel side's shell: loads and attaches the programs, turns ring records into
//! [`Observation`]s. The only room that knows aya.

mod accounts;
mod clock;
mod decode;
mod error;
mod features;
mod flows;
mod foreign;
mod load;
mod mapping;
mod mounts;
mod observation;
mod privileges;
mod probe;
mod program;
mod progress;
mod ring;

use std::{io, time::Duration};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, ProgramArray},
};

pub use agent_common::account::Refusal;

use self::{
    accounts::Accounts,
    clock::Clock,
    flows::Flows,
    progress::Horizon,
    ring::{Place, Ring},
};
pub use self::{
    accounts::Loss,
    error::LoadError,
    features::{Feature, FeatureStanding},
    flows::{FlowCount, FlowPlace},
    foreign::{ForeignEffect, ForeignPrograms},
    load::{MINIMUM_RING_BYTES, Options},
    mounts::{MountError, cgroup2_root, is_cgroup2_root},
    observation::{
        CgroupId, Cookie, FirstBytes, Flow, Listener, ListenerClosed, Multipath, Observation,
        Opener, Peer, Phase, Process, RawSocket, Receiver, Refused, Segment, Socket, StreamTotals,
    },
    privileges::drop_privileges,
    probe::{Probe, probe},
    program::ProgramFacts,
};
use crate::timestamp::Timestamp;

/// The programs at work. Dropping it detaches them.
pub struct Capture {
    /// Holds the programs and their links.
    programs: Ebpf,
    excluded: HashMap<MapData, CgroupId, u8>,
    accounts: Accounts,
    sockets: Ring,
    streams: Ring,
    flows: Flows,
    clock: Clock,
    horizon: Option<Horizon>,
    /// The programs call each other through it only as long as it is held.
    _stages: ProgramArray<MapData>,
    malformed: u64,
}

impl Capture {
    /// Loads the programs and attaches them to each of the cgroups, with everything below it.
    /// From here on records gather in the rings: [`drain`](Self::drain) them every few
    /// milliseconds.
    ///
    /// A cgroup that vanishes later takes its attachment with it and leaves the others alone.
    ///
    /// # Errors
    /// Which program, which cgroup, what the kernel said and what to check. Nothing stays
    /// attached.
    pub fn load(options: &Options<'_>) -> Result<Self, LoadError> {
        load::load(options)
    }

    /// Hands on everything that was reported up to now, and ends with
    /// [`Observation::Progress`] as soon as that holds.
    ///
    /// Needs no system call but the reading of clocks, and no capability.
    pub fn drain(&mut self, mut report: impl FnMut(Observation)) {
        if let Some(step) = self.clock.sample() {
            report(step);
        }
        let horizon = Horizon::sample(&self.sockets, &self.streams);
        let (clock, accounts) = (&self.clock, &mut self.accounts);
        let mut malformed = 0;
        self.sockets.read(horizon.sockets, |place| {
            // None is given up there.
            let Place::Filled(record) = place else { return };
            match decode::socket(record, clock) {
                Ok((account, observation)) => {
                    accounts.consumed_from_sockets(account, record.len());
                    report(observation);
                }
                Err(_) => malformed += 1,
            }
        });
        self.streams.read(horizon.streams, |place| match place {
            Place::Filled(record) => match decode::segment(record, clock) {
                Ok((account, observation)) => {
                    accounts.consumed_from_streams(account, record.len());
                    report(observation);
                }
                Err(_) => malformed += 1,
            },
            Place::GivenUp(record) => match decode::given_up(record) {
                Ok(account) => accounts.consumed_from_streams(account, record.len()),
                Err(_) => malformed += 1,
            },
        });
        self.malformed += malformed;
        // A place that was reserved and not yet filled holds up what is behind it; the moment
        // that waits for it stays until it is through.
        let horizon = self.horizon.take().unwrap_or(horizon);
        if horizon.is_reached(&self.sockets, &self.streams) {
            report(Observation::Progress(self.clock.wall(horizon.boot)));
        } else {
            self.horizon = Some(horizon);
        }
    }

    /// The present moment, on the clock of what was reported: a step of the wall clock that was
    /// not told yet does not show in it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.wall(clock::boot_time())
    }

    /// What was counted of a UDP flow so far.
    #[must_use]
    pub fn flow_count(&self, place: FlowPlace) -> FlowCount {
        self.flows.count(place, &self.clock)
    }

    /// Ends a UDP flow: a datagram that follows begins another. One that is on its way is counted
    /// here within milliseconds; after that, [`free_flow`](Self::free_flow).
    pub fn end_flow(&mut self, place: FlowPlace) {
        self.flows.end(place);
    }

    /// Frees the place of a UDP flow that was ended.
    pub fn free_flow(&mut self, place: FlowPlace) {
        self.flows.free(place);
        self.accounts.flow_ended(place.account);
    }

    /// What the kernel side refused since the last call, by cgroup and reason.
    pub fn losses(&mut self) -> Vec<Loss> {
        self.accounts.losses()
    }

    /// Frees the accounts of cgroups that have been quiet for this long, so that the table does
    /// not fill up with those that are gone. Returns what [`losses`](Self::losses) would have
    /// told of them.
    pub fn forget_quiet(&mut self, quiet: Duration) -> Vec<Loss> {
        self.accounts.free_quiet(quiet)
    }

    /// Leaves a cgroup out. Holds for connections that have not sent anything yet.
    ///
    /// # Errors
    /// What the kernel said: the list has room for 64.
    pub fn exclude(&mut self, cgroup: CgroupId) -> Result<(), MapError> {
        self.excluded.insert(cgroup, 1, 0)
    }

    /// Records that could not be read. Other than 0 means that the agent and the programs in it
    /// are not of one build.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// How full the rings are, from 0 to 1: of sockets, and of streams.
    #[must_use]
    pub fn fill(&self) -> (f64, f64) {
        (self.sockets.fill(), self.streams.fill())
    }

    /// How many bytes the rings hold: of sockets, and of streams.
    #[must_use]
    pub const fn ring_bytes(&self) -> (u64, u64) {
        (self.sockets.size(), self.streams.size())
    }

    /// How many bytes were taken out of both rings.
    #[must_use]
    pub const fn drained_bytes(&self) -> u64 {
        self.sockets.position() + self.streams.position()
    }

    /// What the kernel tells of each program. Needs no capability.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn programs(&self) -> io::Result<Vec<ProgramFacts>> {
        self.programs
            .programs()
            .map(|(name, program)| ProgramFacts::of(name, program))
            .collect()
    }
}
