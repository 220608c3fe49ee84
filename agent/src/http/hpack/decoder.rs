//! Header blocks into fields: RFC 7541 sections 3, 5.2 and 6.

use std::ops::Range;

use super::{
    huffman, integer,
    table::{DEFAULT_SIZE, Name, Table},
};

/// Decodes the header blocks of one direction of a connection, in the order in which they are sent.
///
/// # Examples
///
/// ```
/// use meshwitness::http::hpack::Decoder;
///
/// let mut decoder = Decoder::new();
/// let mut names = Vec::new();
/// // Index 2 of the static table.
/// let extent = decoder.decode(&[0x82], |field| names.push(field.name.map(<[u8]>::to_vec)));
/// assert!(extent.is_ok());
/// assert_eq!(names, [Some(b":method".to_vec())]);
/// ```
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest maximum size that the encoder may choose.
    allowed: u32,
    /// Strings of the field in progress that were coded.
    strings: Vec<u8>,
}

/// A field as far as it is known: what is none stands in a part of the dynamic table that was not
/// seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, as sent.
    pub name: Option<&'a [u8]>,
    /// Its value, as sent.
    pub value: Option<&'a [u8]>,
}

/// How much of a block was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every field.
    Whole,
    /// The fields before [`LIST_LIMIT`] was reached.
    Cut,
}

/// Why a block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends within a field.
    #[error("expected the rest of a header field (RFC 7541 section 6), the block ended")]
    Truncated,
    /// An integer of more than 32 bits.
    #[error("expected an integer of 32 bits (RFC 7541 section 5.1), got a larger one")]
    Integer,
    /// A string that is none in the Huffman code.
    #[error("expected the Huffman code of RFC 7541 appendix B, got something else")]
    Huffman,
    /// An index of nothing.
    #[error("expected the index of an entry (RFC 7541 section 2.3.3), got {0}")]
    Index(u32),
    /// A table larger than the peer allows.
    #[error("expected a table of at most {allowed} bytes (RFC 7541 section 6.3), got {size}")]
    TableSize {
        /// The size that was chosen.
        size: u32,
        /// The largest that may be.
        allowed: u32,
    },
    /// A change of the table's size behind a field.
    #[error("expected a table size update in front of all fields (RFC 7541 section 4.2)")]
    LateUpdate,
}

/// What the fields of one block may come to, counted as SETTINGS_MAX_HEADER_LIST_SIZE counts
/// (RFC 9113 section 6.5.2), in bytes. A block of one byte a field may stand for any amount.
pub const LIST_LIMIT: usize = 256 << 10;

impl Decoder {
    /// A decoder that sees the first block of the connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            allowed: DEFAULT_SIZE,
            strings: Vec::new(),
        }
    }

    /// A block was missed, or a part of one, or all blocks up to now.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// The decoding end allowed a table of up to `size` bytes in its SETTINGS. The encoder learns
    /// of a smaller one later than this decoder, so the largest counts.
    pub fn allow(&mut self, size: u32) {
        self.allowed = self.allowed.max(size);
    }

    /// Decodes a block and shows its fields in order.
    ///
    /// # Errors
    ///
    /// What is no header block. What follows it in its direction is decoded as after
    /// [`Decoder::forget`].
    pub fn decode(&mut self, block: &[u8], show: impl FnMut(Field<'_>)) -> Result<Extent, Error> {
        /// What is kept of the room for one field's strings.
        const KEPT: usize = 4096;
        let result = self.fields(block, show);
        self.strings.clear();
        self.strings.shrink_to(KEPT);
        if result.is_err() {
            self.forget();
        }
        result
    }

    /// Bytes that it takes up.
    #[must_use]
    pub fn held(&self) -> usize {
        self.table.held() + self.strings.capacity()
    }

    fn fields(&mut self, mut block: &[u8], show: impl FnMut(Field<'_>)) -> Result<Extent, Error> {
        let mut list = List { show, size: 0 };
        let mut begun = false;
        while let Some(first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer::read(7, &mut block)?;
                    let entry = self.table.at(index).ok_or(Error::Index(index))?;
                    list.push(entry.name, entry.value);
                }
                0x40.. => self.literal(6, &mut block, &mut list)?,
                0x20.. if begun => return Err(Error::LateUpdate),
                0x20.. => {
                    self.resize(integer::read(5, &mut block)?)?;
                    continue;
                }
                // Never indexed or just not now, which is the same to a decoder.
                _ => self.literal(4, &mut block, &mut list)?,
            }
            begun = true;
        }
        Ok(if list.size > LIST_LIMIT {
            Extent::Cut
        } else {
            Extent::Whole
        })
    }

    /// A literal field (section 6.2), whose index has a prefix of so many bits: six if it is
    /// inserted.
    fn literal(
        &mut self,
        prefix: u32,
        block: &mut &[u8],
        list: &mut List<impl FnMut(Field<'_>)>,
    ) -> Result<(), Error> {
        let index = integer::read(prefix, block)?;
        self.strings.clear();
        let name = match index {
            0 => Some(Text::read(block, &mut self.strings)?),
            _ => None,
        };
        let value = Text::read(block, &mut self.strings)?.bytes(&self.strings);
        let name = name.as_ref().map(|name| name.bytes(&self.strings));
        let shown = match name {
            Some(name) => Some(name),
            None => self.table.at(index).ok_or(Error::Index(index))?.name,
        };
        list.push(shown, Some(value));
        if prefix == 6 {
            self.table
                .insert(name.map_or(Name::Of(index), Name::New), value);
        }
        Ok(())
    }

    fn resize(&mut self, size: u32) -> Result<(), Error> {
        let allowed = self.allowed;
        if size > allowed {
            return Err(Error::TableSize { size, allowed });
        }
        self.table.resize(size);
        Ok(())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields of a block, told as long as there is room.
struct List<S> {
    show: S,
    size: usize,
}

impl<S: FnMut(Field<'_>)> List<S> {
    fn push(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let length = |text: Option<&[u8]>| text.map_or(0, <[u8]>::len);
        // At most the length of the block times that of an entry.
        self.size = self.size.saturating_add(32 + length(name) + length(value));
        if self.size <= LIST_LIMIT {
            (self.show)(Field { name, value });
        }
    }
}

/// A string literal (section 5.2).
enum Text<'a> {
    Plain(&'a [u8]),
    /// It was coded, and lies there.
    Decoded(Range<usize>),
}

impl<'a> Text<'a> {
    fn read(block: &mut &'a [u8], strings: &mut Vec<u8>) -> Result<Self, Error> {
        let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
        let length = integer::read(7, block)? as usize;
        let (text, rest) = block.split_at_checked(length).ok_or(Error::Truncated)?;
        *block = rest;
        if !is_coded {
            return Ok(Self::Plain(text));
        }
        let start = strings.len();
        huffman::decode(text, strings)?;
        Ok(Self::Decoded(start..strings.len()))
    }

    fn bytes<'b>(&self, strings: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Plain(text) => text,
            Self::Decoded(range) => &strings[range.clone()],
        }
    }
}
