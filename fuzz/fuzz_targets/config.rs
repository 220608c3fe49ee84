//! The configuration files of the agent and of the collector.
//!
//! An error names a line of the file; neither it nor its key shows a value from the environment or
//! a control character; and a comment in front moves the line and changes nothing else.
#![no_main]

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_target};
use meshwitness::config::{CollectConfig, Config, ConfigError};
use meshwitness_fuzz::within;

/// What no message may show.
const SECRET: &str = "tr0ub4dor-3";

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(text) = str::from_utf8(input) else {
        return Corpus::Reject;
    };
    if text.len() > 1 << 13 || text.contains(SECRET) {
        return Corpus::Reject;
    }
    within((1 << 20) + 4096 * input.len(), || {
        let file = Path::new("file.yaml");
        check(text, |text| Config::parse(file, text, &environment));
        check(text, |text| CollectConfig::parse(file, text, &environment));
    });
    Corpus::Keep
});

fn environment(name: &str) -> Option<String> {
    match name {
        "NAME" => Some(SECRET.to_owned()),
        "NUMBER" => Some("7".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn check<T: PartialEq + std::fmt::Debug>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, ConfigError>,
) {
    let plain = parse(text).map_err(|error| place(text, error));
    // Only at the very beginning may a byte order mark or a directive stand.
    if text.starts_with(['\u{feff}', '%']) {
        return;
    }
    let below = parse(&format!("# a comment\n{text}")).map_err(|error| {
        let (line, message) = place(text, error);
        (line - 1, message)
    });
    match (plain, below) {
        // The file as a whole is at its first line.
        (Err((1, plain)), Err((0, below))) => assert_eq!(plain, below),
        (plain, below) => assert_eq!(plain, below),
    }
}

/// Where an error is, and what it says.
fn place(text: &str, error: ConfigError) -> (usize, String) {
    let shown = error.to_string();
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let ConfigError::Invalid {
        line, key, message, ..
    } = error
    else {
        panic!("no file was read: {error}");
    };
    // An error can be behind the last line, and there may be a comment in front.
    let lines = text.matches(['\n', '\r']).count() + 3;
    assert!((1..=lines).contains(&line), "line {line}: {message}");
    (line, format!("{key}: {message}"))
}
