//! meshwitness, the second witness of a service mesh.
//!
//! The rooms in the order in which data flows; each knows only those before it:
//!
//! - [`timestamp`]: a moment on the wall clock
//! - [`capture`]: the kernel side's shell; ring buffers into observations
//! - [`http`]: bytes into exchanges
//! - [`flow`]: datagrams into UDP flows
//! - [`envoy`]: log files into entries
//! - [`workload`]: cgroups into pods
//! - [`record`]: what goes out, and what never does
//! - [`config`]: the configuration files
//! - [`ledger`]: exchanges and entries into verdicts
//! - [`explain`]: what verdicts rest on, for those who ask
//! - [`telemetry`]: metrics and health
//! - [`tls`]: certificates and keys
//! - [`forward`]: records to their sinks
//! - [`collect`]: the reference collector
//! - [`check`]: the preflight
//! - [`witness`]: kernel, logs and pods into the ledger's inputs; recordings
//! - [`command`]: what the command line can do

pub mod capture;
pub mod check;
pub mod collect;
pub mod command;
pub mod config;
pub mod envoy;
pub mod explain;
pub mod flow;
pub mod forward;
pub mod http;
pub mod ledger;
mod number_map;
pub mod record;
pub mod replacement;
pub mod suggest;
pub mod telemetry;
pub mod timestamp;
pub mod tls;
pub mod witness;
pub mod workload;
