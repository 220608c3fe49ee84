//! What the fuzz targets share: how an input is read, and what holds for every target.
//!
//! Text is the natural form of most inputs here, and what mutations keep intact. Where an input has
//! to say more than its bytes do (who writes, where a packet ends), bytes that no text holds say it:
//! see [`Turn`].

mod conversation;
mod kernel;
mod memory;
mod nghttp2;
mod operators;
mod pieces;
mod rendered;
mod talk;

pub use conversation::check_conversation;
pub use kernel::{Shipping, Told, observe};
pub use memory::within;
pub use nghttp2::{Deflater, HeaderList, Inflater};
pub use operators::{Meanings, OPERATORS, Operator};
pub use pieces::pieces;
pub use rendered::Rendered;
pub use talk::{Cut, End, Talk, Turn, Write, turns};
