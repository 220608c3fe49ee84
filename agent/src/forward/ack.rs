//! The lines by which a receiver says what it has stored: `{"ack":"<id>"}`. No I/O.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

/// Cuts a receiver's bytes into acknowledgements.
#[derive(Debug, Default)]
pub(super) struct AckReader {
    /// The begun line; shorter than [`LONGEST_LINE`].
    begun: Vec<u8>,
}

impl AckReader {
    /// Reads on, and hands each acknowledged id to `each`.
    ///
    /// # Errors
    /// A line that is no acknowledgement, or the first error of `each`. The connection is of no
    /// more use then.
    pub(super) fn read<E: From<AckError>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // What follows the last newline is no line yet; without a newline that is everything.
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.add(piece)?;
            each(&parse(&self.begun)?)?;
            self.begun.clear();
        }
        self.add(rest)?;
        Ok(())
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), AckError> {
        if self.begun.len() + piece.len() > LONGEST_LINE {
            return Err(AckError::TooLong);
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }
}

/// Why a receiver's answer is no acknowledgement.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AckError {
    /// A line without end.
    #[error(
        "the receiver's answer is longer than {LONGEST_LINE} bytes, expected a line `{{\"ack\":\"<id>\"}}`; is it a meshwitness collector?"
    )]
    TooLong,
    /// A line of something else.
    #[error(
        "the receiver's answer of {length} bytes is no line `{{\"ack\":\"<id>\"}}`; is it a meshwitness collector?"
    )]
    NotAnAck {
        /// The line's length in bytes.
        length: usize,
    },
}

fn parse(line: &[u8]) -> Result<Cow<'_, str>, AckError> {
    #[derive(Deserialize)]
    struct Ack<'a> {
        #[serde(borrow)]
        ack: Cow<'a, str>,
    }
    let refused = AckError::NotAnAck { length: line.len() };
    // serde would take an array for an object, its fields in order.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(refused);
    }
    let answer: Ack<'_> = serde_json::from_slice(line).map_err(|_| refused)?;
    Ok(answer.ack)
}

/// An id is less than a hundred bytes.
const LONGEST_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert_eq, proptest};

    use super::{AckError, AckReader, LONGEST_LINE};

    fn read(reader: &mut AckReader, bytes: &[u8]) -> (Vec<String>, Result<(), AckError>) {
        let mut ids = Vec::new();
        let result = reader.read(bytes, |id| {
            ids.push(id.to_owned());
            Ok(())
        });
        (ids, result)
    }

    #[test]
    fn refuses_what_is_no_acknowledgement() {
        for line in [
            "\n",
            "{}\n",
            "ack\n",
            "[\"a-1\"]\n",
            "{\"ack\":1}\n",
            "{\"ack\":\"a-1\"\n",
        ] {
            let (ids, result) = read(&mut AckReader::default(), line.as_bytes());
            assert_eq!(ids, [""; 0]);
            let length = line.len() - 1;
            assert_eq!(result, Err(AckError::NotAnAck { length }));
        }
        let endless = vec![b' '; LONGEST_LINE + 1];
        let (_, result) = read(&mut AckReader::default(), &endless);
        assert_eq!(result, Err(AckError::TooLong));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_ids(sequences in vec(any::<u64>(), 0..20), cuts in vec(1_usize..40, 1..100)) {
            let text: String = sequences.iter().map(|n| format!("{{\"ack\":\"s-{n}\"}}\n")).collect();
            let mut reader = AckReader::default();
            let mut ids = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let (some, result) = read(&mut reader, now);
                prop_assert_eq!(result, Ok(()));
                ids.extend(some);
                rest = later;
            }
            let expected: Vec<_> = sequences.iter().map(|n| format!("s-{n}")).collect();
            prop_assert_eq!(ids, expected);
        }

        #[test]
        fn any_bytes_are_read_within_the_bound(pieces in vec(vec(any::<u8>(), 0..3000), 0..10)) {
            let mut reader = AckReader::default();
            for piece in pieces {
                if read(&mut reader, &piece).1.is_err() {
                    break;
                }
                assert!(reader.begun.len() <= LONGEST_LINE);
            }
        }
    }
}
