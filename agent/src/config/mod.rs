//! The configuration files: YAML, each section owned by the room that it speaks to.
//!
//! text ─▶ variables lifted out ─▶ tree with lines ─▶ later keys refused ─▶ serde ─▶ [`Config`] or
//! [`CollectConfig`].
//!
//! Whether files exist and addresses answer is for `check` and `run` to find out: here only what
//! is written is judged.

mod agent;
mod capture;
mod collect;
mod document;
mod fault;
mod forward;
mod later;
mod logs;
mod mesh;
mod reader;
mod redact;
#[cfg(test)]
mod tests;
mod text;
mod variable;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

pub use agent::{Config, Ledger, Mode, Node, State, Telemetry};
pub use capture::{Capture, CgroupMount};
pub use collect::{CollectConfig, ServerTls};
pub use fault::ConfigError;
pub use forward::{ClientTls, Sink, SinkType};
pub use logs::{LogFormat, Logs};
pub use mesh::{Direction, Expectation, Mesh, PolicyRule};
pub use redact::{Identity, IdentityForm, Redact};
use serde::de::DeserializeOwned;
pub use text::Endpoint;

use self::fault::Fault;

/// The longest file that is read. A policy of a thousand rules is a tenth of it.
const MOST_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads the agent's configuration, with variables from this process's environment.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or something in it is not as it must be.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read_file(file)?;
        Self::parse(file, &text, &from_process)
    }

    /// Reads the agent's configuration from a text; `file` is only named in errors.
    ///
    /// # Errors
    ///
    /// If something in it is not as it must be.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        parse(text, environment).map_err(|fault| fault.in_file(file.to_owned()))
    }

    /// Refuses a configuration without sinks, which `run` cannot use.
    ///
    /// # Errors
    ///
    /// If `forward` is empty.
    pub fn require_sinks(&self, file: &Path) -> Result<(), ConfigError> {
        match self.forward.is_empty() {
            false => Ok(()),
            true => Err(
                Fault::at(1, "expected at least one sink to send the records to")
                    .beneath("forward")
                    .in_file(file.to_owned()),
            ),
        }
    }
}

impl CollectConfig {
    /// Reads the collector's configuration, with variables from this process's environment.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or something in it is not as it must be.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read_file(file)?;
        Self::parse(file, &text, &from_process)
    }

    /// Reads the collector's configuration from a text; `file` is only named in errors.
    ///
    /// # Errors
    ///
    /// If something in it is not as it must be.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        parse(text, environment).map_err(|fault| fault.in_file(file.to_owned()))
    }
}

fn parse<T: DeserializeOwned>(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<T, Fault> {
    let mut document = document::Node::parse(text, environment)?;
    later::refuse_later_keys(&mut document)?;
    reader::read(document)
}

fn from_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable {
        file: path.to_owned(),
        error,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let length = file
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if length as u64 > MOST_BYTES {
        let error = io::Error::other("expected at most 1 MiB");
        return Err(unreadable(error));
    }
    Ok(text)
}
