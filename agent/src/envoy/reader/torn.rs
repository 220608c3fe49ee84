//! Lines with a line of another program within them.
//!
//! Envoy writes many lines at once, and pilot-agent writes to the same pipe. Only what is no longer
//! than 4096 bytes goes into a pipe in one piece (`PIPE_BUF`, pipe(7)). So when the pipe is full a
//! line of pilot-agent may come to stand within one of Envoy's, and the container runtime reads
//! two lines: the head of Envoy's with that of pilot-agent, and the tail.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use super::cri::Whole;
use crate::{
    envoy::{Content, LineParser, Sensitive, time::parse_rfc3339},
    timestamp::Timestamp,
};

/// From `2026-11-22T08:08:17Z` to nine digits of a second.
const TIME_BYTES: RangeInclusive<usize> = 20..=30;

/// How a JSON line of pilot-agent begins.
const JSON_LOG: &[u8] = b"{\"level\":\"";

/// How long the tail may take: the pipe was full, so it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line that ends in one of another program, and whose own end did not come yet.
pub(super) struct Torn {
    /// Where it begins.
    pub(super) offset: u64,
    /// With the other line, and with framing.
    pub(super) length: u64,
    pub(super) time: Timestamp,
    /// The path of the earlier file in which it stands.
    pub(super) began_in: Option<Arc<str>>,
    /// What it is if its tail does not come.
    pub(super) content: Content,
    /// What its head holds that it must not.
    pub(super) sensitive: Vec<Sensitive>,
    head: Vec<u8>,
}

impl Torn {
    /// None if no line of another program stands within this one.
    pub(super) fn of(
        line: &Whole<'_>,
        began_in: Option<&Arc<str>>,
        content: &Content,
        parser: &mut LineParser,
    ) -> Option<Self> {
        let at = other_output(line.content).filter(|at| *at > 0)?;
        let (head, content) = match content {
            Content::Other => (&line.content[..at], Content::Unknown),
            content => (&line.content[..at], content.clone()),
        };
        Some(Self {
            offset: line.offset,
            length: line.length,
            time: line.time,
            began_in: began_in.map(Arc::clone),
            sensitive: parser.sensitive(head, &content),
            content,
            head: head.to_vec(),
        })
    }

    /// The line as it was written, if this is its tail; none for another line of another program.
    pub(super) fn with_tail(&self, tail: &[u8]) -> Option<Vec<u8>> {
        (other_output(tail) != Some(0)).then(|| [&self.head, tail].concat())
    }

    /// Its tail does not come any more.
    pub(super) fn is_given_up(&self, now: Timestamp) -> bool {
        now.distance(self.time) >= PATIENCE
    }
}

/// Where a line of pilot-agent begins: a time and a tab, or JSON with a level.
fn other_output(line: &[u8]) -> Option<usize> {
    let tabs = line.iter().enumerate().filter(|(_, byte)| **byte == b'\t');
    let mut times = tabs.filter_map(|(tab, _)| {
        let mut begins = TIME_BYTES.filter_map(|length| tab.checked_sub(length));
        begins.find(|begin| parse_rfc3339(&line[*begin..tab]).is_some())
    });
    let json = || line.windows(JSON_LOG.len()).position(|at| at == JSON_LOG);
    times.next().or_else(json)
}

#[cfg(test)]
mod tests {
    use super::other_output;

    #[test]
    fn a_line_of_pilot_agent_is_found_within_another() {
        let text = b"2026-11-25T19:50:13.021642Z\tdebug\tapp probe";
        let json = br#"{"level":"info","time":"2026-11-25T19:50:13.021642Z","msg":"x"}"#;
        for other in [&text[..], json] {
            for head in ["", "{\"authori", "[", "\"10.0.0.1:80", "agent\tx"] {
                let line = [head.as_bytes(), other].concat();
                assert_eq!(other_output(&line), Some(head.len()), "{head}");
            }
        }
        for line in [
            "",
            "\t",
            "a\tb",
            "[2026-11-25T19:50:13.021Z] \"GET /\t\"",
            "{\"a\":1}",
        ] {
            assert_eq!(other_output(line.as_bytes()), None, "{line}");
        }
    }
}
