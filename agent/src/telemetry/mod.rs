//! What the agent tells of itself: metrics, and whether it is alive and ready.
//!
//! - [`Metrics`]: the numbers; other rooms' shells hold an `Arc` of it and update its fields
//! - [`Health`]: what the agent waits for, and what has failed
//! - [`serve`]: `/metrics`, `/healthz` and `/readyz`

mod exposition;
mod family;
mod health;
mod metrics;
mod pods;
mod process;
mod server;
mod sinks;
#[cfg(test)]
mod tests;
mod workloads;

pub use family::{Counter, Family, Gauge};
pub use health::{Health, Heartbeat, ReadyTask};
pub use metrics::{LogLineKind, Metrics, Side};
pub use server::serve;
pub use sinks::SinkNumbers;
