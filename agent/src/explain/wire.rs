//! Question and answer between `explain` and the agent: a line each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::store::Kept;
use crate::ledger::evidence::Evidence;

/// The socket in `state.dir`.
pub(super) const SOCKET: &str = "explain.sock";

/// The longest question: a record's id and a newline.
pub(super) const MOST_BYTES_A_QUESTION: usize = 128;

/// The longest answer: a record has at most a request head, escaped, and so has its evidence.
pub(super) const MOST_BYTES_AN_ANSWER: u64 = 4 << 20;

/// A record's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// The start of the agent.
    pub start: String,
    /// Counted from 1.
    pub sequence: u64,
}

/// Not a record's id.
#[derive(Debug, Error)]
#[error("expected the id of a record, such as 019aab3c7f1d5c0e9a2f-57, got {0:?}")]
pub struct IdError(String);

impl FromStr for RecordId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError(text.chars().take(MOST_BYTES_A_QUESTION).collect());
        let (start, sequence) = text.rsplit_once('-').ok_or_else(error)?;
        let is_start = (1..=64).contains(&start.len())
            && start.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_number = sequence.bytes().all(|byte| byte.is_ascii_digit());
        match sequence.parse() {
            Ok(sequence) if is_start && is_number => Ok(Self {
                start: start.to_owned(),
                sequence,
            }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.sequence)
    }
}

/// A record and why it got its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The record as it was sent.
    pub record: Value,
    /// What its verdict rests on.
    pub evidence: Evidence,
}

/// Why there is nothing to tell of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(tag = "absent", rename_all = "snake_case")]
pub enum Absence {
    /// The id is of another start.
    #[error(
        "the record is of another start of the agent: the one that runs is {start_id}, and \
         evidence ends with the agent that kept it"
    )]
    AnotherStart {
        /// Of the agent that runs.
        start_id: String,
    },
    /// There is no such record yet.
    #[error("the agent has made no record with this number: the newest is {newest}")]
    NotYet {
        /// Of all records.
        newest: u64,
    },
    /// It is not one of those of which evidence is kept.
    #[error(
        "the record was `matched`, or belongs to the books: both halves agreed, or there is \
         nothing to judge, so nothing is kept of it"
    )]
    NothingToExplain,
    /// It may have been dropped.
    #[error(
        "nothing is kept of this record any more: of those that accuse or are in doubt everything \
         up to number {accusing} was dropped, of `outside` and `proxy_answered` up to {expected}; \
         if it was `matched`, nothing was ever kept"
    )]
    TooOld {
        /// The newest that was dropped.
        accusing: u64,
        /// The newest that was dropped.
        expected: u64,
    },
    /// The question could not be read.
    #[error("the agent does not understand the question; is it of the same version?")]
    NotUnderstood,
    /// Somebody else than root asked.
    #[error("the agent tells root alone")]
    Denied,
}

/// An answer as it is read.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Absent(Absence),
    Found(Box<Explanation>),
}

/// The answer to a question, with the newline that ends it.
pub(super) fn encode(answer: &Result<std::sync::Arc<Kept>, Absence>) -> Vec<u8> {
    let mut text = match answer {
        Ok(kept) => {
            let record = kept.record.trim_ascii_end();
            // Strings, numbers and lists of them have no value that JSON lacks.
            let evidence = serde_json::to_vec(&kept.evidence).unwrap_or_default();
            [b"{\"record\":", record, b",\"evidence\":", &evidence, b"}"].concat()
        }
        Err(absence) => serde_json::to_vec(absence).unwrap_or_default(),
    };
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::store::tests::kept, Absence, Answer, RecordId, encode};
    use crate::record::Verdict;

    #[test]
    fn ids() {
        let id: RecordId = "0abc-12".parse().unwrap();
        assert_eq!((&id.start[..], id.sequence), ("0abc", 12));
        assert_eq!(id.to_string(), "0abc-12");
        for text in [
            "",
            "-",
            "a-",
            "-1",
            "a",
            "a-+1",
            "a-1.0",
            "a b-1",
            "a-99999999999999999999",
        ] {
            assert!(text.parse::<RecordId>().is_err(), "{text}");
        }
    }

    #[test]
    fn answers_are_read_as_they_were_given() {
        let text = encode(&Ok(Arc::new(kept(7, Verdict::Unseen))));
        assert!(text.ends_with(b"}\n"));
        let Answer::Found(found) = serde_json::from_slice(&text).unwrap() else {
            panic!("expected an explanation");
        };
        assert_eq!(found.record["id"], "s-7");
        assert_eq!(found.evidence, kept(7, Verdict::Unseen).evidence);
        for absence in [
            Absence::NothingToExplain,
            Absence::TooOld {
                accusing: 1,
                expected: 2,
            },
            Absence::AnotherStart {
                start_id: "x".into(),
            },
        ] {
            let text = encode(&Err(absence.clone()));
            let Answer::Absent(read) = serde_json::from_slice(&text).unwrap() else {
                panic!("expected an absence");
            };
            assert_eq!(read, absence);
        }
    }
}
