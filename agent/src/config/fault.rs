//! What is wrong with a configuration, and where.

use std::{
    fmt::{self, Write},
    path::PathBuf,
};

use serde::de;

use crate::record::Printable;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file:?}: {error}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Something in it is not as it must be. Values that came from the environment are not shown.
    #[error("{}:{line}: {}{message}", Printable(&file.to_string_lossy()), Key(key))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key with those above it, as in `forward[0].tls.ca`; empty for the file as a whole.
        key: String,
        /// What was expected, and what is there.
        message: String,
    },
}

struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "{}: ", Printable(key)),
        }
    }
}

/// An error on its way up through the document; each level adds its key.
#[derive(Debug)]
pub(super) struct Fault {
    line: Option<usize>,
    /// Innermost last; an item of a list is `[index]`.
    path: Vec<String>,
    message: String,
    kind: FaultKind,
}

/// Whether a message is to be followed by what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    /// Another type was expected, so also a list or a mapping is named.
    Type,
    /// Another value was expected.
    Value,
    /// The message is complete.
    Complete,
}

impl Fault {
    /// An error whose message is complete, at a line.
    pub(super) fn at(line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            path: Vec::new(),
            message: message.into(),
            kind: FaultKind::Complete,
        }
    }

    /// Adds the key of the level above.
    pub(super) fn beneath(mut self, key: impl Into<String>) -> Self {
        self.path.insert(0, key.into());
        self
    }

    /// Gives an error that has no place yet the one of the value that it speaks of.
    pub(super) fn located(mut self, line: usize, got: &str, is_scalar: bool) -> Self {
        if self.line.is_some() {
            return self;
        }
        self.line = Some(line);
        let shows_value = match self.kind {
            FaultKind::Type => true,
            FaultKind::Value => is_scalar,
            FaultKind::Complete => false,
        };
        if shows_value {
            // Writing to a string does not fail.
            let _ = write!(self.message, ", got {got}");
        }
        self
    }

    /// Names the file.
    pub(super) fn in_file(self, file: PathBuf) -> ConfigError {
        let mut key = String::new();
        for part in &self.path {
            if !key.is_empty() && !part.starts_with('[') {
                key.push('.');
            }
            key.push_str(part);
        }
        ConfigError::Invalid {
            file,
            line: self.line.unwrap_or(1),
            key,
            message: Printable(&self.message).to_string(),
        }
    }

    fn new(kind: FaultKind, message: String) -> Self {
        Self {
            line: None,
            path: Vec::new(),
            message,
            kind,
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The values that serde would put into its messages are left out: `located` adds what the file
/// shows, which is not always what it stands for.
impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(FaultKind::Value, message.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(FaultKind::Type, format!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(FaultKind::Value, format!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            FaultKind::Value,
            format!("expected one of {}", list(expected)),
        )
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            FaultKind::Complete,
            format!("unknown key; expected one of {}", list(expected)),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(
            FaultKind::Complete,
            format!("the key `{field}` is missing and has no default"),
        )
    }
}

fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
