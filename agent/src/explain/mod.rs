//! Why a record got its verdict: the evidence of the last ones that are not `matched`, and the
//! way by which `explain` asks a running agent for it.
//!
//! - `store`: what is kept, bounded
//! - `wire`: question and answer, a line each
//! - `server`: the agent's end, a unix socket for root alone
//! - `client`: the end of the command
//! - `rule`, `text`: the answer in words

mod client;
mod rule;
mod server;
mod store;
mod text;
mod wire;

pub use client::{AskError, ask};
pub use server::{Socket, serve};
pub use store::{Kept, Store};
pub use text::to_text;
pub use wire::{Absence, Explanation, RecordId};
