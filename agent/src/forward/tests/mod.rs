//! Real TLS over real sockets, and the queue against a model.

mod acknowledging;
mod delivery;
mod peer;
mod probe;
mod queue;
mod refusal;
mod renewal;
