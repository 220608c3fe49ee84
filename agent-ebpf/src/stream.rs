//! The ring of streams.

use agent_common::segment::{SegmentHeader, SegmentRecord};
use aya_ebpf::{btf_maps::RingBuf, macros::btf_map};

/// Its size is set by the loader.
#[btf_map]
static STREAMS: RingBuf<SegmentRecord<{ SegmentHeader::CLASS_SMALL }>, 4096> = RingBuf::new();
