//! The CRI log format: how a container runtime frames what a container writes.
//!
//! `<time of RFC 3339> <stdout|stderr> <tags> <content>`; the first tag is `F` for a whole line
//! or its last part, and `P` for a part that more follow (containerd and CRI-O cut at 16 KiB).
//! Parts of the two streams interleave.

use crate::{envoy::time::parse_rfc3339, timestamp::Timestamp};

/// The most bytes of a line that are put together. The rest of a longer one is left out.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// A buffer of up to this size is kept for the next line.
const KEPT_BYTES: usize = 64 << 10;

/// Which of its two outputs a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A framed line, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CriLine<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: Stream,
    /// More of the line follows.
    pub(super) partial: bool,
    pub(super) content: &'a [u8],
}

/// Takes the framing off a line without its line break; none if it has no such framing.
pub(super) fn parse(line: &[u8]) -> Option<CriLine<'_>> {
    let (time, rest) = split_once(line)?;
    let (stream, rest) = split_once(rest)?;
    // A runtime may leave out the blank before nothing.
    let (tags, content) = split_once(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match tags.split(|byte| *byte == b':').next() {
        Some(b"P") => true,
        Some(b"F") => false,
        _ => return None,
    };
    Some(CriLine {
        time: parse_rfc3339(time)?,
        stream,
        partial,
        content,
    })
}

fn split_once(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

/// A line as the container wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<'a> {
    /// Where its first part begins.
    pub(super) offset: u64,
    /// The bytes of all its parts, framing included.
    pub(super) length: u64,
    /// When the runtime read its last part.
    pub(super) time: Timestamp,
    pub(super) content: &'a [u8],
    /// Only its beginning is here: it is longer than [`MAX_LINE_BYTES`], or never ended.
    pub(super) cut: bool,
}

/// Puts the parts of one stream's lines together.
///
/// ```text
///            P                   F
///   Idle ─────────▶ Pending ───────────▶ Idle, a whole line
///    │ ▲             │  longer than the bound: its beginning is handed out
///    │ │ F           ▼
///    │ └────────── Skipping ◀──── a reader that begins within a line
///    └─ F: a whole line
/// ```
#[derive(Debug, Default)]
pub(super) struct Assembler {
    state: State,
    /// The parts so far, or those of the last line.
    parts: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The next part begins a line.
    #[default]
    Idle,
    /// Parts of a line have come, the last one with this stamp.
    Pending {
        offset: u64,
        length: u64,
        time: Timestamp,
    },
    /// The rest of a line that was handed out, or whose beginning was never seen.
    Skipping,
}

impl Assembler {
    /// Takes a line or a part that was found at `offset` and is `length` bytes long.
    pub(super) fn push<'a>(
        &'a mut self,
        line: &CriLine<'a>,
        offset: u64,
        length: u64,
    ) -> Option<Whole<'a>> {
        let time = line.time;
        let (offset, length) = match self.state {
            State::Idle if !line.partial => {
                return Some(Whole {
                    offset,
                    length,
                    time,
                    content: line.content,
                    cut: false,
                });
            }
            State::Idle => {
                if self.parts.capacity() > KEPT_BYTES {
                    self.parts = Vec::new();
                }
                self.parts.clear();
                (offset, length)
            }
            State::Pending {
                offset,
                length: before,
                ..
            } => (offset, before + length),
            State::Skipping => {
                if !line.partial {
                    self.state = State::Idle;
                }
                return None;
            }
        };
        let room = MAX_LINE_BYTES - self.parts.len();
        let cut = line.content.len() > room;
        self.parts
            .extend_from_slice(&line.content[..line.content.len().min(room)]);
        self.state = match (line.partial, cut) {
            (false, _) => State::Idle,
            (true, true) => State::Skipping,
            (true, false) => State::Pending {
                offset,
                length,
                time,
            },
        };
        if line.partial && !cut {
            return None;
        }
        Some(Whole {
            offset,
            length,
            time,
            content: &self.parts,
            cut,
        })
    }

    /// Where the line begins of which parts have come.
    pub(super) fn pending_offset(&self) -> Option<u64> {
        match self.state {
            State::Pending { offset, .. } => Some(offset),
            State::Idle | State::Skipping => None,
        }
    }

    /// Ends the line of which parts have come: its container ended. A line begins next.
    pub(super) fn end(&mut self) -> Option<Whole<'_>> {
        match std::mem::take(&mut self.state) {
            State::Pending {
                offset,
                length,
                time,
            } => Some(Whole {
                offset,
                length,
                time,
                content: &self.parts,
                cut: true,
            }),
            State::Idle | State::Skipping => None,
        }
    }

    /// Whether the rest of a line is being left out.
    pub(super) fn is_skipping(&self) -> bool {
        self.state == State::Skipping
    }

    /// Forgets the parts so far. With `skip` the next parts, up to the end of their line, are
    /// left out too.
    pub(super) fn reset(&mut self, skip: bool) {
        self.state = if skip { State::Skipping } else { State::Idle };
        self.parts = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{any, prop},
        proptest,
    };

    use super::{Assembler, CriLine, MAX_LINE_BYTES, Stream, Whole, parse};
    use crate::timestamp::Timestamp;

    const TIME: &str = "2026-11-22T08:08:17.919038000Z";

    #[test]
    fn takes_the_framing_off() {
        let line = format!("{TIME} stdout F [x] y");
        let expected = CriLine {
            time: Timestamp(1_795_334_897_919_038_000),
            stream: Stream::Stdout,
            partial: false,
            content: b"[x] y",
        };
        assert_eq!(parse(line.as_bytes()), Some(expected));
        let content = |line: String| parse(line.as_bytes()).map(|line| line.content.to_vec());
        assert_eq!(
            content(format!("{TIME} stderr P:x  a")),
            Some(b" a".to_vec())
        );
        assert_eq!(content(format!("{TIME} stdout F ")), Some(Vec::new()));
        assert_eq!(content(format!("{TIME} stdout F")), Some(Vec::new()));
    }

    #[test]
    fn other_lines_have_none() {
        for line in [
            "",
            "x",
            "2026-11-22 stdout F x",
            "2026-11-22T08:08:17.919038000Z stdin F x",
            "2026-11-22T08:08:17.919038000Z stdout X x",
            "2026-11-22T08:08:17.919038000Z stdout",
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T08:08:17Z\"}",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    fn part(partial: bool, content: &[u8]) -> CriLine<'_> {
        CriLine {
            time: Timestamp(7),
            stream: Stream::Stdout,
            partial,
            content,
        }
    }

    #[test]
    fn puts_parts_together() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(&part(true, b"ab"), 10, 30), None);
        assert_eq!(assembler.pending_offset(), Some(10));
        assert_eq!(assembler.push(&part(true, b"cd"), 90, 30), None);
        let whole = Whole {
            offset: 10,
            length: 80,
            time: Timestamp(7),
            content: b"abcde",
            cut: false,
        };
        assert_eq!(assembler.push(&part(false, b"e"), 120, 20), Some(whole));
        assert_eq!(assembler.pending_offset(), None);
        let whole = assembler.push(&part(false, b"next"), 140, 20).unwrap();
        assert_eq!((whole.offset, whole.content), (140, b"next".as_slice()));
    }

    #[test]
    fn an_endless_line_is_handed_out_once_and_then_left_out() {
        let mut assembler = Assembler::default();
        let content = vec![b'x'; 16 << 10];
        let mut handed_out = 0;
        for index in 0..200 {
            if let Some(whole) = assembler.push(&part(true, &content), index, 1) {
                assert!(whole.cut);
                assert_eq!(whole.content.len(), MAX_LINE_BYTES);
                handed_out += 1;
            }
        }
        assert_eq!(handed_out, 1);
        assert!(assembler.is_skipping());
        assert_eq!(assembler.push(&part(false, b"end"), 200, 1), None);
        assert!(assembler.push(&part(false, b"next"), 201, 1).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }
    }
}
