//! What the frames of one direction say.

use std::borrow::Cow;

/// What a reader came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The first bytes are not the preface: these, and the rest of the input.
    NotHttp2(Vec<u8>),
    /// The header of a HEADERS frame.
    Headers { stream: u32 },
    /// A whole header block.
    Block {
        stream: u32,
        /// It is the request of a promised response.
        promise: bool,
        end_stream: bool,
        bytes: Cow<'a, [u8]>,
    },
    /// A header block that cannot be read: beyond [`Block::LIMIT`](super::block::Block::LIMIT), interrupted, or without its
    /// beginning.
    Unreadable { stream: u32, end_stream: bool },
    /// So many bytes of content, and whether they are the last.
    Data {
        stream: u32,
        content: u64,
        end_stream: bool,
    },
    /// RST_STREAM, and why (RFC 9113 section 7).
    Reset { stream: u32, code: u32 },
    /// SETTINGS: the largest table that its sender decodes with, if it says so.
    Settings { table_size: Option<u32> },
    /// GOAWAY: the last stream that its sender looks at.
    GoAway { last: u32 },
}
