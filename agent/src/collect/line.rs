//! Bytes of a sender into records. No I/O.

use std::{borrow::Cow, mem, sync::Arc};

use serde::Deserialize;
use serde_json::error::Category;
use thiserror::Error;

use super::allow::Sender;

/// The longest record. An agent's are a few kilobytes.
pub(super) const LONGEST_LINE: usize = 1 << 20;

/// Cuts a sender's bytes into records, and checks each.
#[derive(Debug)]
pub(super) struct Intake {
    sender: Sender,
    /// The begun line: at most [`LONGEST_LINE`] bytes, none of them a newline.
    begun: Vec<u8>,
}

/// Whole lines, and what is known of each.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// One line of a [`Batch`].
#[derive(Debug)]
struct Record {
    /// Where it ends, after its newline.
    end: usize,
    start: Arc<str>,
    sequence: u64,
}

impl Intake {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender,
            begun: Vec::new(),
        }
    }

    /// The records that these bytes complete; and why it ends there, if it does. The records
    /// before an error stand.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (Batch, Option<LineError>) {
        let mut batch = Batch::default();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.len() + piece.len() > LONGEST_LINE {
                return (batch, Some(LineError::TooLong));
            }
            self.begun.extend_from_slice(piece);
            if self.begun.ends_with(b"\n") {
                if let Err(error) = batch.add(&self.begun, &self.sender) {
                    return (batch, Some(error));
                }
                self.begun.clear();
            }
        }
        if self.begun.is_empty() {
            // A long line need not stay in memory for as long as the connection.
            self.begun = Vec::new();
        }
        (batch, None)
    }
}

impl Batch {
    /// The id of the last record.
    pub(super) fn last_id(&self) -> Option<String> {
        let last = self.records.last()?;
        Some(format!("{}-{}", last.start, last.sequence))
    }

    /// Start id, sequence number and line of each record.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Arc<str>, u64, &[u8])> {
        let mut begin = 0;
        self.records.iter().map(move |record| {
            let line = &self.bytes[mem::replace(&mut begin, record.end)..record.end];
            (&record.start, record.sequence, line)
        })
    }

    fn add(&mut self, line: &[u8], sender: &Sender) -> Result<(), LineError> {
        let head = Head::parse(line)?;
        if !sender.speaks_for(&head.node) {
            return Err(LineError::WrongNode {
                expected: sender.node.clone().unwrap_or_default(),
                got: head.node.chars().take(LONGEST_SHOWN).collect(),
            });
        }
        let (start, sequence) = head.id()?;
        let start = match self.records.last() {
            Some(last) if *last.start == *start => Arc::clone(&last.start),
            _ => Arc::from(start),
        };
        self.bytes.extend_from_slice(line);
        self.records.push(Record {
            end: self.bytes.len(),
            start,
            sequence,
        });
        Ok(())
    }
}

/// What the collector needs of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
}

impl<'a> Head<'a> {
    /// Parses a whole line; all of it must be one JSON object.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let refused = |column, reason| LineError::NotARecord {
            length: line.len(),
            column,
            reason,
        };
        // serde would take an array for an object, its fields in order.
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(refused(1, "it is no JSON object"));
        }
        serde_json::from_slice(line).map_err(|error| {
            let reason = match error.classify() {
                Category::Data => "it lacks `id` or `node`, or they are no text",
                _ => "it is no JSON object",
            };
            refused(error.column(), reason)
        })
    }

    /// Start id and sequence number.
    pub(super) fn id(&self) -> Result<(&str, u64), LineError> {
        let parts = self.id.rsplit_once('-').and_then(|(start, sequence)| {
            let plain = !start.is_empty()
                && start.len() <= LONGEST_START
                && start
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
            let sequence: u64 = sequence.parse().ok()?;
            // One way to write a number: an acknowledgement must repeat the id.
            let canonical = self.id.len() == start.len() + 1 + sequence.to_string().len();
            (plain && canonical).then_some((start, sequence))
        });
        parts.ok_or_else(|| LineError::Id {
            got: self.id.chars().take(LONGEST_SHOWN).collect(),
        })
    }
}

/// Why a line is not stored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// A line without end.
    #[error("a line is longer than {LONGEST_LINE} bytes")]
    TooLong,
    /// A line that is no record.
    #[error("a line of {length} bytes is no record, column {column}: {reason}")]
    NotARecord {
        /// The line's length in bytes.
        length: usize,
        /// Where it went wrong.
        column: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A record whose id cannot be ordered.
    #[error("the id `{}` is not of the form <start id>-<sequence number>", got.escape_debug())]
    Id {
        /// The beginning of the id.
        got: String,
    },
    /// A record of another node.
    #[error("a record of node `{}` from a sender that may speak for `{expected}` only; check `node.name` there and `allow` here", got.escape_debug())]
    WrongNode {
        /// The node of the sender's certificate.
        expected: String,
        /// The beginning of the record's.
        got: String,
    },
}

const LONGEST_START: usize = 128;
/// What of a sender's text goes into a message.
const LONGEST_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::{Intake, LONGEST_LINE, LineError};
    use crate::collect::allow::Sender;

    fn intake() -> Intake {
        Intake::new(Sender {
            name: "n1.mesh".to_owned(),
            node: Some("n1".to_owned()),
        })
    }

    fn line(sequence: u64) -> String {
        format!(
            "{{\"id\":\"a-b-{sequence}\",\"kind\":\"http\",\"node\":\"n1\",\"x\":{{\"id\":7}}}}\n"
        )
    }

    #[test]
    fn good_records_before_a_bad_one_stand() {
        let text = format!("{}{}nonsense\n{}", line(1), line(2), line(3));
        let (batch, error) = intake().read(text.as_bytes());
        assert_eq!(batch.last_id().as_deref(), Some("a-b-2"));
        assert!(matches!(
            error,
            Some(LineError::NotARecord { length: 9, .. })
        ));
    }

    #[test]
    fn refuses_what_could_not_be_ordered_or_belongs_to_another() {
        let cases = [
            (r#"{"id":"7","node":"n1"}"#, "the id `7`"),
            (r#"{"id":"-7","node":"n1"}"#, "the id `-7`"),
            (r#"{"id":"a-07","node":"n1"}"#, "the id `a-07`"),
            (r#"{"id":"a-+7","node":"n1"}"#, "the id `a-+7`"),
            (r#"{"id":"a\"-7","node":"n1"}"#, "the id `a\\\"-7`"),
            (r#"{"id":"a-7","node":"n2"}"#, "node `n2` from a sender"),
            (r#"{"id":"a-7"}"#, "lacks `id` or `node`"),
            (
                r#"{"id":"a-7","node":"n1","node":"n1"}"#,
                "lacks `id` or `node`",
            ),
            (r#"["a-7","n1"]"#, "no JSON object"),
            (r#"{"id":"a-7","node":"n1"} {}"#, "no JSON object"),
            ("", "no JSON object"),
        ];
        for (text, expected) in cases {
            let (batch, error) = intake().read(format!("{text}\n").as_bytes());
            assert_eq!(batch.last_id(), None, "{text}");
            let message = error.unwrap().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let (_, error) = intake().read(&vec![b' '; LONGEST_LINE + 1]);
        assert_eq!(error, Some(LineError::TooLong));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_records(count in 0_u64..30, cuts in vec(1_usize..200, 1..50)) {
            let text: String = (0..count).map(line).collect();
            let mut intake = intake();
            let mut stored = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let (batch, error) = intake.read(now);
                prop_assert_eq!(error, None);
                for (start, sequence, bytes) in batch.records() {
                    prop_assert_eq!((&**start, sequence), ("a-b", stored.len() as u64));
                    stored.push(bytes.to_vec());
                }
                rest = later;
            }
            prop_assert_eq!(stored.concat(), text.as_bytes());
        }

        #[test]
        fn any_bytes_are_read_within_the_bound(pieces in vec(vec(any::<u8>(), 0..2000), 0..20)) {
            let mut intake = intake();
            for piece in pieces {
                let (batch, error) = intake.read(&piece);
                prop_assert!(intake.begun.len() <= LONGEST_LINE);
                for (_, _, line) in batch.records() {
                    prop_assert!(line.ends_with(b"\n"));
                }
                if error.is_some() {
                    break;
                }
            }
        }
    }
}
