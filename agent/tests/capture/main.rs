//! The programs on real traffic. Needs root.

mod exchange;
mod scene;
mod streams;
