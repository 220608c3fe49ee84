//! The lab: pods with real Envoy sidecars on one machine.
//!
//! A pod here is what the kubelet, containerd and Istio make of one: a network namespace, a cgroup
//! for each container, Istio's nat rules, an Envoy with certificates, log files in the CRI format.
//! Nothing is simulated that can run: Envoy, nginx, iptables, mutual TLS and the kernel are real.
//!
//! From the ground up:
//!
//! - [`requirements`]: the programs the lab needs, and how they are installed
//! - [`sweep`]: what remains of a killed run, and the signal handler that leaves nothing
//! - [`cgroup`], [`network`], [`process`]: where a process runs
//! - [`certificate`]: authorities and what they sign
//! - [`envoy`], [`iptables`], [`nginx`], [`cri`]: the parts of a pod
//! - [`pod`], [`outside`], [`Lab`]: the whole
//! - [`agent`], [`collector`], [`receiver`], [`delivery`]: the program under test and who receives
//! - [`records`], [`books`], [`counts`], [`stream`]: what was received, added up again
//! - [`Session`]: a lab with an agent and a receiver
//!
//! A lab needs root and refuses to start without it. There is one at a time on a machine: a second
//! waits until the first is gone.

pub mod agent;
pub mod books;
pub mod certificate;
pub mod cgroup;
pub mod collector;
pub mod counts;
pub mod cri;
pub mod delivery;
pub mod envoy;
pub mod identifier;
pub mod iptables;
mod lab;
pub mod network;
pub mod nginx;
pub mod outside;
pub mod pod;
pub mod process;
pub mod receiver;
pub mod records;
pub mod requirements;
mod session;
pub mod stream;
pub mod sweep;

pub use lab::Lab;
pub use session::{Outcome, Session};
