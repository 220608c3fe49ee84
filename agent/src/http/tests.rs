//! Conversations as the kernel side tells them.

mod bounds;
mod connections;
mod hostile;
mod http2;
mod loss;
mod malformed;
mod messages;
mod multipath;
mod properties;
pub(crate) mod script;
