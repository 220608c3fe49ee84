//! Cases picked by hand here; random ones, and what they are held against, in the modules below.

extern crate std;

mod conversation;
mod follow;
mod random;
mod reference;
