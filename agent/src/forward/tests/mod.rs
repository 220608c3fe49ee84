//! Real TLS over real sockets, and the queue against a model.

mod delivery;
mod peer;
mod probe;
mod queue;
mod refusal;
