//! Records of the ring of streams.

/// What stands before the bytes of a segment. The bytes follow in a field of one of the `CLASS`
/// sizes, or not at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The sending socket.
    pub cookie: u64,
    /// Its cgroup.
    pub cgroup: u64,
    /// As the time of a [`crate::record::Header`].
    pub time: u64,
    /// The position of the first byte in the stream.
    pub offset: u64,
    /// Body bytes directly behind the bytes that were left out.
    pub elided: u64,
    /// The count of this stream's records before this one, refused ones included.
    pub index: u32,
    /// Messages begun before this record: of a client's HTTP/2, streams.
    pub messages_before: u32,
    /// The account that the record was charged to.
    pub account: u32,
    /// Where the first message (of HTTP/2: the first frame) begins in the bytes, or
    /// [`SegmentHeader::NO_MESSAGE`].
    pub first_message: u32,
    /// How many bytes there are.
    pub length: u32,
    /// `SegmentHeader::AFTER_GAP` and the like.
    pub flags: u32,
}

const _: () = assert!(size_of::<SegmentHeader>() == 64 && align_of::<SegmentHeader>() == 8);

impl SegmentHeader {
    /// `first_message` where none begins.
    pub const NO_MESSAGE: u32 = u32::MAX;

    /// Bytes of the stream were not seen before this record.
    pub const AFTER_GAP: u32 = 1;
    /// The position was found at something that looks like a message, not followed from the
    /// beginning.
    pub const JOINED: u32 = 1 << 1;
    /// The bytes are HTTP/2 frames (RFC 9113 section 4).
    pub const HTTP2: u32 = 1 << 2;
    /// The bytes were received, by this socket: the beginning of what its remote peer sends, in
    /// any order. Such a record has no index, and neither has one that is [`Self::PLAIN`].
    pub const RECEIVED: u32 = 1 << 3;
    /// There are no bytes: the first one is not that of TLS.
    pub const PLAIN: u32 = 1 << 4;

    /// As many bytes of a direction that begins like TLS are shipped at most. A `ClientHello` with
    /// a key share of ML-KEM has about 1,700.
    pub const HELLO_BYTES: usize = 4096;
    /// The first byte of TLS: the content type of a handshake (RFC 8446 section 5.1).
    pub const HANDSHAKE: u8 = 22;

    /// The size of the field of bytes in a tiny record: for a few frames of HTTP/2.
    pub const CLASS_TINY: usize = 128;
    /// The size of the field of bytes in a small record.
    pub const CLASS_SMALL: usize = 512;
    /// The size of the field of bytes in a large record.
    pub const CLASS_LARGE: usize = 2048;
    /// The size of the field of bytes in a huge record: for packets of which much has to be
    /// shipped.
    pub const CLASS_HUGE: usize = 8192;
}

/// Pieces of scratch memory for each CPU: for a program that is interrupted, those that interrupt
/// it, and one that preempts it.
pub const SCRATCH_PIECES: u32 = 4;

/// A record with room for `N` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SegmentRecord<const N: usize> {
    /// What stands before.
    pub header: SegmentHeader,
    /// The bytes; those beyond `header.length` mean nothing.
    pub bytes: [u8; N],
}

const _: () = assert!(size_of::<SegmentRecord<128>>() == 64 + 128);
const _: () = assert!(size_of::<SegmentRecord<512>>() == 64 + 512);
const _: () = assert!(size_of::<SegmentRecord<8192>>() == 64 + 8192);
