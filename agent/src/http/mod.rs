//! Bytes into exchanges: HTTP/1 and HTTP/2 followed by position, sans-IO.
//!
//! Outermost first: the [`Tracker`] keeps all connections, a `leg` puts two sockets together,
//! `protocol` says which HTTP it is, a `conversation` reads its two streams, a `reader` follows one
//! of them from message to message, and `pairing` says which response answers which request. Of
//! HTTP/2, `http2` has its own of these, and [`hpack`] its header compression. Of TLS, [`hello`]
//! reads how it begins.

mod body;
mod bounds;
mod charges;
mod chunked;
mod conversation;
mod departed;
mod endpoint;
mod event;
mod fields;
mod greetings;
mod head;
mod headers;
pub mod hello;
pub mod hpack;
mod http2;
mod leg;
mod line;
mod multipath;
mod opening;
mod pairing;
mod positions;
mod protocol;
mod queue;
mod reader;
mod refusals;
mod requests;
mod responses;
mod slot;
mod stream;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tracker;
mod waiting;

pub use bounds::Bounds;
pub use event::{
    Closed, Connection, ConnectionId, End, Exchange, Gap, Greeting, HttpEvent, Request,
    RequestHead, Response, Udp,
};
pub use headers::Headers;
pub use tracker::{Counters, Tracker};
