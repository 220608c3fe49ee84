//! The agent's side of the table of UDP flows.

use std::{
    io,
    mem::offset_of,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agent_common::flow::{FLOW_BUCKETS, FLOWS_PER_BUCKET, Flow};
use rustix::param::page_size;

use super::{
    clock::{Clock, boot_time},
    mapping::Mapping,
};
use crate::timestamp::Timestamp;

/// Where a flow is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowPlace {
    /// The place in the table.
    pub(crate) number: u32,
    /// The account of its cgroup.
    pub(crate) account: u32,
}

/// What was counted of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCount {
    /// When its last datagram passed.
    pub last: Timestamp,
    /// How long ago that was.
    pub quiet: Duration,
    /// Payload bytes that the socket sent.
    pub bytes_sent: u64,
    /// Payload bytes that it received.
    pub bytes_received: u64,
}

/// The table, in memory that is shared with the kernel.
pub(super) struct Flows {
    memory: Mapping,
}

const PLACES: usize = FLOW_BUCKETS * FLOWS_PER_BUCKET;

impl Flows {
    /// Maps the table. What is mapped keeps the map.
    pub(super) fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        let length = (PLACES * size_of::<Flow>()).next_multiple_of(page_size());
        let memory = Mapping::new(map, 0, length, true)?;
        Ok(Self { memory })
    }

    /// What was counted so far.
    pub(super) fn count(&self, place: FlowPlace, clock: &Clock) -> FlowCount {
        let last = self.load(place, offset_of!(Flow, last));
        FlowCount {
            last: clock.wall(last),
            quiet: Duration::from_nanos(boot_time().saturating_sub(last)),
            bytes_sent: self.load(place, offset_of!(Flow, bytes_sent)),
            bytes_received: self.load(place, offset_of!(Flow, bytes_received)),
        }
    }

    /// Nothing more is counted here. A datagram that is on its way still may be.
    pub(super) fn end(&self, place: FlowPlace) {
        self.set_state(place, Flow::ENDED);
    }

    /// The place may be used for another flow.
    pub(super) fn free(&self, place: FlowPlace) {
        self.set_state(place, Flow::FREE);
    }

    fn set_state(&self, place: FlowPlace, state: u64) {
        if let Some(number) = self.number(place, offset_of!(Flow, state)) {
            number.store(state, Ordering::Release);
        }
    }

    fn load(&self, place: FlowPlace, field: usize) -> u64 {
        self.number(place, field)
            .map_or(0, |number| number.load(Ordering::Acquire))
    }

    fn number(&self, place: FlowPlace, field: usize) -> Option<&AtomicU64> {
        let flow = place.number as usize * size_of::<Flow>();
        self.memory.number(flow + field)
    }
}
