//! How far a message body reaches: RFC 9112 section 6.

use super::chunked::Chunked;

/// A body of which a part may have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are still to come; 0 of a message without a body.
    Length(u64),
    /// The chunked transfer coding (RFC 9112 section 7.1).
    Chunked(Chunked),
    /// Everything until the sender closes.
    UntilClose,
}

/// The bytes are no chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the chunked coding of RFC 9112 section 7.1, got something else")]
pub(super) struct BrokenChunk;

/// What [`Body::read`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of the stream.
    pub(super) bytes: usize,
    /// Those of them that are content, not framing.
    pub(super) content: u64,
}

impl Body {
    /// A message that ends with its head.
    pub(super) const NONE: Self = Self::Length(0);

    /// Takes what belongs to the body from the front of `input`.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Taken, BrokenChunk> {
        let available = input.len() as u64;
        match self {
            Self::Length(remaining) => {
                let content = available.min(*remaining);
                *remaining -= content;
                // At most the length of the slice.
                let bytes = usize::try_from(content).unwrap_or(input.len());
                Ok(Taken { bytes, content })
            }
            Self::Chunked(chunked) => chunked.read(input),
            Self::UntilClose => Ok(Taken {
                bytes: input.len(),
                content: available,
            }),
        }
    }

    /// Passes over `bytes` of content that nobody read. False, and nothing done, where that many
    /// cannot all be content.
    #[must_use]
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        match self {
            Self::Length(remaining) if *remaining >= bytes => {
                *remaining -= bytes;
                true
            }
            Self::Length(_) => false,
            Self::Chunked(chunked) => chunked.skip(bytes),
            Self::UntilClose => true,
        }
    }

    /// Nothing more belongs to it.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(remaining) => *remaining == 0,
            Self::Chunked(chunked) => chunked.is_over(),
            Self::UntilClose => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Taken};

    #[test]
    fn a_length_takes_no_more_than_its_own() {
        let mut body = Body::Length(5);
        assert_eq!(
            body.read(b"abc"),
            Ok(Taken {
                bytes: 3,
                content: 3
            })
        );
        assert!(!body.is_over());
        assert_eq!(body.read(b"defgh").unwrap().bytes, 2);
        assert!(body.is_over());
    }

    #[test]
    fn only_content_can_be_skipped() {
        let mut body = Body::Length(5);
        assert!(!body.skip(6));
        assert!(body.skip(5));
        assert!(body.is_over());
        assert!(Body::UntilClose.skip(u64::MAX));
    }
}
