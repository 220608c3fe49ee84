//! What the BPF programs and the agent share: the layouts of ring records and of the shared
//! tables, and the framing of HTTP/1 and HTTP/2.
//!
//! Layouts are `repr(C)` without padding, and asserted: both sides are compiled from here, but by
//! two compilers for two targets.
#![cfg_attr(not(feature = "user"), no_std)]

pub mod account;
pub mod endpoint;
pub mod flow;
pub mod frames;
pub mod framing;
pub mod process;
pub mod record;
pub mod segment;
pub mod socket;

#[cfg(feature = "user")]
mod plain {
    //! These types are plain numbers without padding: any bytes of the right length are one.

    use aya::Pod;

    use crate::{
        account::Bucket,
        flow::{FlowRecord, FlowsClosedRecord, RawSocketRecord},
        record::Header,
        segment::SegmentHeader,
        socket::{ListenerRecord, SocketRecord},
    };

    // SAFETY: integers only, without padding, as their size assertions say.
    unsafe impl Pod for Header {}
    // SAFETY: as above.
    unsafe impl Pod for SocketRecord {}
    // SAFETY: as above.
    unsafe impl Pod for ListenerRecord {}
    // SAFETY: as above.
    unsafe impl Pod for SegmentHeader {}
    // SAFETY: as above.
    unsafe impl Pod for FlowRecord {}
    // SAFETY: as above.
    unsafe impl Pod for FlowsClosedRecord {}
    // SAFETY: as above.
    unsafe impl Pod for RawSocketRecord {}
    // SAFETY: as above.
    unsafe impl Pod for Bucket {}
}
