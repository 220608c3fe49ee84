//! The programs on real traffic. Needs root.

mod exchange;
mod probe;
mod scene;
mod streams;
