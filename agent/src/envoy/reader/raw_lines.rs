//! A stream of bytes into lines, by line breaks alone.

use memchr::memchr;

use super::cri::MAX_LINE_BYTES;

/// The longest raw line: the most content that is put together, and framing.
const MAX_RAW_BYTES: usize = MAX_LINE_BYTES + 256;

/// A line as it stands in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawLine<'a> {
    pub(super) offset: u64,
    /// With its line break.
    pub(super) length: u64,
    /// Without its line break (`\n` or `\r\n`).
    pub(super) bytes: &'a [u8],
    /// It has no end within the bound; only its beginning is here, and the rest is left out.
    pub(super) cut: bool,
}

/// Cuts a file's bytes into lines.
#[derive(Debug, Default)]
pub(super) struct RawLines {
    /// The beginning of a line whose end was not read yet.
    carry: Vec<u8>,
    /// How many bytes of the file were fed: where the next chunk begins.
    fed: u64,
    /// Everything up to the next line break is left out.
    skipping: bool,
}

impl RawLines {
    /// Begins at an offset; within a line of which nothing is wanted, if `skip`.
    pub(super) fn starting_at(offset: u64, skip: bool) -> Self {
        Self {
            carry: Vec::new(),
            fed: offset,
            skipping: skip,
        }
    }

    /// Where the next chunk must begin.
    pub(super) fn fed(&self) -> u64 {
        self.fed
    }

    /// Where the first byte is that belongs to no line yet.
    pub(super) fn rest_offset(&self) -> u64 {
        self.fed - self.carry.len() as u64
    }

    /// Bytes without a line break are waiting.
    pub(super) fn has_rest(&self) -> bool {
        !self.carry.is_empty()
    }

    /// The next bytes belong to a line that is left out.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Takes the next bytes of the file and hands out the lines that end in them.
    pub(super) fn feed(&mut self, chunk: &[u8], mut emit: impl FnMut(RawLine<'_>)) {
        let mut rest = chunk;
        while let Some(position) = memchr(b'\n', rest) {
            let (head, tail) = (&rest[..position], &rest[position + 1..]);
            let end = self.fed + position as u64 + 1;
            if self.skipping {
                self.skipping = false;
            } else {
                let offset = self.rest_offset();
                let bytes = if self.carry.is_empty() {
                    head
                } else {
                    self.carry.extend_from_slice(head);
                    &self.carry
                };
                let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
                emit(RawLine {
                    offset,
                    length: end - offset,
                    bytes,
                    cut: false,
                });
                self.carry.clear();
            }
            self.fed = end;
            rest = tail;
        }
        if !self.skipping {
            let room = MAX_RAW_BYTES - self.carry.len();
            if rest.len() <= room {
                self.carry.extend_from_slice(rest);
            } else {
                let offset = self.rest_offset();
                self.carry.extend_from_slice(&rest[..room]);
                let length = self.carry.len() as u64;
                emit(RawLine {
                    offset,
                    length,
                    bytes: &self.carry,
                    cut: true,
                });
                self.carry = Vec::new();
                self.skipping = true;
            }
        }
        self.fed += rest.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{any, prop},
        prop_assert_eq, proptest,
    };

    use super::{MAX_RAW_BYTES, RawLines};

    fn lines(lines: &mut RawLines, chunk: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
        let mut out = Vec::new();
        lines.feed(chunk, |line| {
            out.push((line.offset, line.length, line.bytes.to_vec()));
        });
        out
    }

    #[test]
    fn lines_end_at_breaks_wherever_chunks_end() {
        let mut cutter = RawLines::starting_at(100, false);
        assert_eq!(
            lines(&mut cutter, b"a\nbb\r\nc"),
            [(100, 2, b"a".to_vec()), (102, 4, b"bb".to_vec()),]
        );
        assert_eq!(
            (cutter.fed(), cutter.rest_offset(), cutter.has_rest()),
            (107, 106, true)
        );
        assert_eq!(
            lines(&mut cutter, b"c\n\n"),
            [(106, 3, b"cc".to_vec()), (109, 1, Vec::new())]
        );
    }

    #[test]
    fn a_line_in_the_middle_is_left_out() {
        let mut cutter = RawLines::starting_at(5, true);
        assert_eq!(lines(&mut cutter, b"tail"), []);
        assert!(cutter.is_skipping());
        assert_eq!(lines(&mut cutter, b"\nx\n"), [(10, 2, b"x".to_vec())]);
    }

    #[test]
    fn an_endless_line_takes_no_more_room() {
        let mut cutter = RawLines::default();
        let chunk = vec![b'x'; 64 << 10];
        let mut cut = 0;
        for _ in 0..64 {
            cutter.feed(&chunk, |line| {
                assert!(line.cut && line.bytes.len() == MAX_RAW_BYTES);
                cut += 1;
            });
            assert!(cutter.carry.capacity() <= 2 * MAX_RAW_BYTES);
        }
        assert_eq!(cut, 1);
        assert_eq!(lines(&mut cutter, b"\nnext\n").len(), 1);
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            bytes in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..100),
            size in 1..20_usize,
            skip in any::<bool>(),
        ) {
            let whole = lines(&mut RawLines::starting_at(3, skip), &bytes);
            let mut cutter = RawLines::starting_at(3, skip);
            let pieces: Vec<_> = bytes.chunks(size).flat_map(|chunk| lines(&mut cutter, chunk)).collect();
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(cutter.fed(), 3 + bytes.len() as u64);
        }
    }
}
