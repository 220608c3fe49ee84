//! What the BPF programs and the agent share.
#![cfg_attr(not(feature = "user"), no_std)]

pub mod framing;
