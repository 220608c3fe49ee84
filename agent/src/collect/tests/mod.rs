//! Real TLS, real files, and agents' own sinks.

mod admission;
mod durability;
mod rig;
mod segments;
