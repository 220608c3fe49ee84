//! meshwitness, the second witness of a service mesh.
//!
//! The rooms in the order in which data flows; each knows only those before it:
//!
//! - [`capture`]: the kernel side's shell; ring buffers into observations
//! - [`http`]: bytes into exchanges
//! - [`envoy`]: log files into entries
//! - [`workload`]: cgroups into pods
//! - [`record`]: what goes out, and what never does
//! - [`telemetry`]: metrics and health
//! - [`config`]: the configuration files
//! - [`check`]: what `run` would need and find

pub mod capture;
pub mod check;
pub mod config;
pub mod envoy;
pub mod http;
pub mod record;
pub mod telemetry;
pub mod timestamp;
pub mod workload;
