//! What a check found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::record::Printable;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub message: String,
    /// How to mend it, unless it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is well.
    Ok,
    /// `run` works without it, and something is lost.
    Warning,
    /// `run` would not work.
    Failure,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl Item {
    /// It is well.
    #[must_use]
    pub fn ok(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Ok,
            message: message.into(),
            mend: None,
        }
    }

    /// `run` works without it; `mend` says what to do.
    #[must_use]
    pub fn warning(
        name: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            mend: Some(mend.into()),
            ..Self::ok(name, message)
        }
    }

    /// `run` would not work; `mend` says what to do.
    #[must_use]
    pub fn failure(
        name: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Failure,
            ..Self::warning(name, message, mend)
        }
    }
}

/// What this version does not look at or have, so that nobody believes it to be covered.
const NOT_COVERED: [&str; 12] = [
    "TLS that an application speaks itself, kernel TLS included: the connection is recorded, its \
     content is not read",
    "unix sockets, and packets written with packet sockets (AF_PACKET)",
    "transports other than TCP and UDP, and what raw sockets send: that one is opened is told",
    "bytes that sockmap moves between sockets: such a tuple is `no_bytes`",
    "Istio's TPROXY mode: only REDIRECT is followed",
    "an ambient mesh and its own logs: its traffic is recorded as `outside`",
    "Linkerd: its proxy is not known",
    "logs that Docker writes as json-file: only those in CRI form are read",
    "nodes with cgroup v1 only",
    "sinks other than ndjson",
    "records that wait for a collector do not outlive the agent: there is no spool on disk",
    "Merkle evidence with `verify` and `report`",
];

/// Everything that was looked at, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    state: State,
    items: Vec<Item>,
    not_covered: Vec<&'static str>,
}

impl Report {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let worst = items.iter().map(|item| item.state).max();
        Self {
            state: worst.unwrap_or(State::Ok),
            items,
            not_covered: NOT_COVERED.to_vec(),
        }
    }

    /// What was looked at.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The worst of all states.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What `check` exits with: 0 if `run` would work, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.state() == State::Failure)
    }

    /// For people: a line an item, and below it how to mend it. Control characters are escaped.
    #[must_use]
    pub fn to_text(&self) -> String {
        let name = |item: &Item| Printable(&item.name).to_string();
        let width = self
            .items
            .iter()
            .map(|item| name(item).chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        // Writing to a string does not fail.
        let mut line = |state: &str, name: &str, message: &str| {
            let message = Printable(message);
            let _ = writeln!(text, "{state:<9}{name:<width$}  {message}");
        };
        for item in &self.items {
            line(item.state.as_str(), &name(item), &item.message);
            if let Some(mend) = &item.mend {
                line("", "", &format!("→ {mend}"));
            }
        }
        text.push_str("\nnot covered by this version:\n");
        for part in &self.not_covered {
            let _ = writeln!(text, "  {part}");
        }
        text
    }

    /// For programs: one object, whose shape docs/check.md describes.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and lists of them have no value that JSON lacks.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Item, Report, State};

    #[test]
    fn one_failure_decides() {
        let ok = Item::ok("kernel", "6.1");
        let warning = Item::warning("logs", "none", "wait");
        let failure = Item::failure("state", "no", "grant");
        for (items, state, code) in [
            (vec![], State::Ok, 0),
            (vec![ok.clone()], State::Ok, 0),
            (vec![warning.clone(), ok.clone()], State::Warning, 0),
            (vec![ok, failure, warning], State::Failure, 1),
        ] {
            let report = Report::new(items);
            assert_eq!((report.state(), report.exit_code()), (state, code));
        }
    }

    #[test]
    fn text_is_aligned_and_safe() {
        let report = Report::new(vec![
            Item::ok("kernel", "6.1"),
            Item::failure("log\u{1b}[2J", "/var\nlog", "mount it"),
        ]);
        let text = report.to_text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "ok       kernel        6.1",
                "failure  log\\u{1b}[2J  /var\\nlog",
                "                       → mount it",
            ]
        );
        assert!(text.contains("not covered") && text.contains("Linkerd"));
    }

    #[test]
    fn json_has_the_same() {
        let report = Report::new(vec![Item::ok("a", "b"), Item::warning("c", "d", "e")]);
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            value["items"],
            json!([
                {"name": "a", "state": "ok", "message": "b"},
                {"name": "c", "state": "warning", "message": "d", "mend": "e"},
            ])
        );
        assert_eq!(value["state"], "warning");
        let parts = value["not_covered"].as_array().unwrap();
        for word in [
            "unix",
            "AF_PACKET",
            "raw sockets",
            "sockmap",
            "TPROXY",
            "ambient",
            "Linkerd",
        ] {
            let said = |part: &Value| part.as_str().unwrap().contains(word);
            assert!(parts.iter().any(said), "{word}");
        }
    }
}
