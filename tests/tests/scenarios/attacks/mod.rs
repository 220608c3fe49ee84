//! Every fault that one party can commit: found, and only it.

pub(crate) mod bypasses;
pub(crate) mod bytes;
pub(crate) mod datagrams;
pub(crate) mod guards;
pub(crate) mod injection;
pub(crate) mod lines;
pub(crate) mod older;
pub(crate) mod policy;
mod tamper;
pub(crate) mod tls;
