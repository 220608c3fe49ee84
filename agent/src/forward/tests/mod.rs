//! Real TLS over real sockets, and the queue against a model.

mod delivery;
mod peer;
mod queue;
mod refusal;
