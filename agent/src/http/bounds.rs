//! How much is kept at the most.

/// The bounds of a [`Tracker`](super::Tracker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Open connections that are followed. As many again, that were evicted, are remembered until
    /// they close.
    pub connections: usize,
    /// Outstanding exchanges of one connection.
    pub outstanding: usize,
    /// Bytes of heads and of segments that wait, of all connections together.
    pub memory: usize,
    /// Segments of one socket that wait until both ends are known.
    pub waiting_segments: usize,
    /// Bytes of one socket that wait until both ends are known.
    pub waiting_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A busy node has some ten thousand.
            connections: 65_536,
            // Clients that pipeline at all do so a few dozen deep.
            outstanding: 1024,
            memory: 256 << 20,
            waiting_segments: 256,
            // One head of the largest size, and the block it came in.
            waiting_bytes: 128 << 10,
        }
    }
}
