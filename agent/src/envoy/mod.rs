//! Bytes into log entries: CRI files, rotation, and every access-log format that Envoy can write.
//!
//! From a line to an entry, sans-IO:
//!
//! - `operator`: a format string into literal texts and command operators
//! - `field`: what an operator writes, and where that goes
//! - `text`, `json`: a line of a format into an entry
//! - `format`: which format a line is of, or what it is else
//! - `sensitive`: what in it an access log must not hold
//!
//! And [`LogReader`], which finds the files and gives each line a place and a time.

mod address;
mod entry;
mod field;
mod format;
mod json;
mod names;
mod operator;
mod progress;
mod reader;
mod sensitive;
mod target;
mod text;
mod time;

pub use entry::{Content, LogEntry, LogLine};
pub use format::{Format, LineParser};
pub use operator::FormatError;
pub use progress::{LogProgress, LogRewritten};
pub use reader::{LogError, LogEvent, LogReader, LogReaderSettings, Positions, PositionsError};
pub use sensitive::{Sensitive, SensitiveKind};
