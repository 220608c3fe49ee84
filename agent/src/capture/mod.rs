//! The kernel side's shell: loads and attaches the programs, turns ring records into
//! [`Observation`]s. The only room that knows aya.

mod observation;

pub use observation::{
    CgroupId, Cookie, Listener, Observation, Opener, Peer, Phase, Process, Segment, Socket,
    StreamTotals,
};
