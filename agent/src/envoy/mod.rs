//! Bytes into log entries: CRI files, rotation, and every access-log format that Envoy can write.

mod entry;
mod progress;

pub use entry::{Content, LogEntry, LogLine};
pub use progress::LogProgress;
