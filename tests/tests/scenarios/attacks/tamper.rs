//! What a forger does to a line, whichever format it is in.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    cri::{Fault, Sprung},
    pod::PROXY,
};
use serde_json::{Value, json};

/// How long a line may take to be written.
const PATIENCE: Duration = Duration::from_secs(20);

/// A field that both formats have, under its name in Istio's JSON format.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Method,
    Path,
    Host,
    Status,
    BytesReceived,
    BytesSent,
}

impl Field {
    /// The line with another value in this field.
    pub(crate) fn edited(self, line: &str) -> String {
        let edited = match serde_json::from_str::<Value>(line) {
            Ok(value) => self.edited_json(value),
            Err(_) => self.edited_text(line),
        };
        // A line that stays as it is fails the scenario.
        edited.unwrap_or_else(|| line.to_owned())
    }

    fn edited_json(self, mut line: Value) -> Option<String> {
        let (name, value) = match self {
            Self::Method => ("method", json!("PUT")),
            Self::Path => ("path", json!("/elsewhere")),
            Self::Host => ("authority", json!("elsewhere.example")),
            Self::Status => ("response_code", json!(204)),
            Self::BytesReceived => ("bytes_received", json!(77)),
            Self::BytesSent => ("bytes_sent", json!(77)),
        };
        *line.get_mut(name)? = value;
        Some(line.to_string())
    }

    /// `[time] "METHOD PATH PROTOCOL" STATUS FLAGS DETAILS - "-" RECEIVED SENT … "FORWARDED-FOR"
    /// "AGENT" "ID" "HOST" …`
    fn edited_text(self, line: &str) -> Option<String> {
        let (between, at, value) = match self {
            Self::Method => (" ", 1, "\"PUT"),
            Self::Path => (" ", 2, "/elsewhere"),
            Self::Host => ("\"", 11, "elsewhere.example"),
            Self::Status => (" ", 4, "204"),
            Self::BytesReceived => (" ", 9, "77"),
            Self::BytesSent => (" ", 10, "77"),
        };
        let mut words: Vec<&str> = line.split(between).collect();
        *words.get_mut(at)? = value;
        Some(words.join(between))
    }
}

/// Whether a line speaks of this path, in either format.
pub(crate) fn speaks_of(line: &str, path: &str) -> bool {
    line.contains(&format!(" {path} HTTP")) || line.contains(&format!("\"{path}\""))
}

/// A fault for the `nth` line of a pod that speaks of `path`.
pub(crate) fn trap(session: &Session, pod: &str, nth: usize, path: &str, fault: Fault) -> Sprung {
    let path = path.to_owned();
    let log = &session.lab.pod(pod).container(PROXY).log;
    log.inject(nth, move |line| speaks_of(line, &path), fault)
}

/// Waits until a fault has met its line, and returns the line as it was.
pub(crate) fn met(fault: &Sprung) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = fault.line() {
            return Ok(line);
        }
        ensure!(Instant::now() < deadline, "the fault did not meet its line");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the line of a path.
pub(crate) fn line_of(session: &Session, pod: &str, path: &str) -> Result<String> {
    let log = &session.lab.pod(pod).container(PROXY).log;
    log.wait_for(PATIENCE, |line| speaks_of(line, path))
        .with_context(|| format!("the line of {path}"))
}
