//! HTTP/2 (RFC 9113), as far as it says what was asked and answered.
//!
//! Outermost first: a `conversation` reads the two directions of a connection, a `reader` follows
//! one of them from frame to frame, `streams` keeps the exchanges that are open, and `fields` makes
//! heads of header blocks.

mod block;
mod control;
mod conversation;
mod exchange;
mod fields;
mod frame;
mod loss;
mod opening;
mod reader;
mod requests;
mod responses;
mod step;
mod streams;

pub(super) use conversation::{Conversation, Start};
pub(super) use opening::{Opening, sender_is_client};
