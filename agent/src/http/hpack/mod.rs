//! Header compression of HTTP/2 (RFC 7541), decoded by somebody who may have come late.
//!
//! The decoder of an endpoint has seen every block. One that looks on may have joined in the
//! middle, or have missed a block; then it does not know what stood in the dynamic table. Indices
//! count from the newest entry (section 2.3.3), so whatever was inserted since is found all the
//! same, and only what is older is unknown, field by field.

mod decoder;
mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Error, Extent, Field, LIST_LIMIT};
