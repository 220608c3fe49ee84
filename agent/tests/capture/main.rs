//! The programs on real traffic. Needs root.

mod exchange;
mod lives;
mod losses;
mod peers;
mod privileges;
mod scene;
mod streams;
